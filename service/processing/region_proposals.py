"""Region proposals for R-CNN, SPPNet and Fast R-CNN: selective search.

Uijlings et al., "Selective Search for Object Recognition" (IJCV 2013), as OpenCV implements it.
Similar pixels are grouped (Felzenszwalb and Huttenlocher); neighbouring groups are merged, the most
similar first; the box around every group on the way is a proposal. "Fast" mode uses two colour
spaces, two scales and two similarity measures. The server runs this, so it uses no torch.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import ArtifactError
from service.artifact.sections import ProposalSearch
from service.processing.nms import greedy, pairwise_iou

THINNING_IOUS = tuple(percent / 100 for percent in range(95, 0, -5))
"""Thresholds on overlap for `thin_out`; the next one is tried while too many boxes are left."""


def propose_regions(
    image: NDArray[np.uint8], max_proposals: int, search: ProposalSearch
) -> NDArray[np.float32]:
    """Propose boxes for one image; the same image always gets the same boxes.

    Args:
        image: ``[H, W, 3]``, RGB, of the size of the network's input.
        max_proposals: rows of the result, at least 1.
        search: parameters of the search.

    Returns:
        ``[max_proposals, 4]``, ``x1, y1, x2, y2`` in px, inside the image, the largest area first;
        unused rows are zero.
    """
    found = plausible(all_regions(image, search), image.shape[0] * image.shape[1], search)
    kept = thin_out(found, max_proposals)
    proposals = np.zeros((max_proposals, 4), np.float32)
    proposals[: len(kept)] = kept
    return proposals


def all_regions(image: NDArray[np.uint8], search: ProposalSearch) -> NDArray[np.float32]:
    """Every box ``[N, 4]`` that selective search finds, in a fixed order.

    Raises:
        ArtifactError: the installed OpenCV has no selective search.
    """
    if not hasattr(cv2, "ximgproc"):
        raise ArtifactError(
            "this OpenCV has no selective search; remove all opencv packages and install"
            " opencv-contrib-python-headless"
        )
    finder = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    finder.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))  # OpenCV wants BGR
    finder.switchToSelectiveSearchFast(search.grain, search.grain_step, search.blur_px)
    corners_and_sizes = np.asarray(finder.process(), np.float32).reshape(-1, 4)
    boxes = corners_and_sizes.copy()
    boxes[:, 2:] += boxes[:, :2]
    # OpenCV shuffles them (with rand()) and may name a box twice; sorting undoes both.
    return np.unique(boxes, axis=0)


def plausible(
    boxes: NDArray[np.float32], image_area: int, search: ProposalSearch
) -> NDArray[np.float32]:
    """The boxes of ``[N, 4]`` whose size and shape an object can have."""
    sides = boxes[:, 2:] - boxes[:, :2]
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    is_plausible = (
        (shorter >= search.min_side_px)
        & (longer <= search.max_aspect_ratio * shorter)
        & (shorter * longer <= search.max_area_share * image_area)
    )
    return boxes[is_plausible]


def thin_out(boxes: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Drop boxes that overlap much with a larger box, until ``most`` are left.

    The remaining boxes are spread over the image. Cutting the list off instead would lose all small
    objects.

    Args:
        boxes: ``[N, 4]`` boxes with an area.
        most: most boxes to keep.

    Returns:
        ``[K, 4]``, K at most ``most``, the largest area first.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[np.argsort(-sides.prod(axis=1), kind="stable")]
    overlaps = pairwise_iou(boxes, boxes)
    kept = np.arange(len(boxes))
    for iou in THINNING_IOUS:
        if len(kept) <= most:
            break
        kept = greedy(overlaps > iou)
    return boxes[kept[:most]]
