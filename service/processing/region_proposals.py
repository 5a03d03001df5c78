"""Where in an image something may be: the proposals that R-CNN, SPPNet and Fast R-CNN look at.

Uijlings et al., "Selective Search for Object Recognition" (IJCV 2013), as OpenCV has it: pixels are
grouped by likeness (Felzenszwalb and Huttenlocher), neighbouring groups are merged, the most alike
first, and the box around every group that ever was is a proposal. "Fast" mode: two colour spaces,
two grains, two sets of likenesses. A server needs this beside the graph, so it uses no torch.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import ArtifactError
from service.artifact.sections import ProposalSearch
from service.processing.nms import greedy, pairwise_iou

THINNING_IOUS = tuple(percent / 100 for percent in range(95, 0, -5))
"""What overlaps more than that is thinned out; the next one is tried while too many are left."""


def propose_regions(
    image: NDArray[np.uint8], max_proposals: int, search: ProposalSearch
) -> NDArray[np.float32]:
    """Propose boxes for one image, the same ones whenever it is asked.

    Args:
        image: ``[H, W, 3]``, RGB, of the size of the network's input.
        max_proposals: rows of the answer, at least 1.
        search: what is looked for.

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
    """Every box ``[N, 4]`` that selective search finds, in an order that is always the same.

    Raises:
        ArtifactError: another package's OpenCV, without it, has been installed over ours.
    """
    if not hasattr(cv2, "ximgproc"):
        raise ArtifactError(
            "this OpenCV has no selective search; remove all opencv packages and install"
            " opencv-contrib-python-headless"
        )
    finder = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    finder.setBaseImage(np.ascontiguousarray(image[:, :, ::-1]))  # OpenCV counts blue first
    finder.switchToSelectiveSearchFast(search.grain, search.grain_step, search.blur_px)
    corners_and_sizes = np.asarray(finder.process(), np.float32).reshape(-1, 4)
    boxes = corners_and_sizes.copy()
    boxes[:, 2:] += boxes[:, :2]
    # OpenCV shuffles them (with rand()) and may name a box twice; sorting undoes both.
    return np.unique(boxes, axis=0)


def plausible(
    boxes: NDArray[np.float32], image_area: int, search: ProposalSearch
) -> NDArray[np.float32]:
    """Those of the boxes ``[N, 4]`` whose size and shape can be a thing's."""
    sides = boxes[:, 2:] - boxes[:, :2]
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    is_plausible = (
        (shorter >= search.min_side_px)
        & (longer <= search.max_aspect_ratio * shorter)
        & (shorter * longer <= search.max_area_share * image_area)
    )
    return boxes[is_plausible]


def thin_out(boxes: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Leave out boxes that are much like a larger one, until ``most`` are left.

    So the places left over are spread over the image: cutting the list off would lose all small
    things at once.

    Args:
        boxes: ``[N, 4]``, each of some area.
        most: how many may stay.

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
