"""The first YOLO: Redmon et al., "You Only Look Once" (arXiv 1506.02640).

One network looks at the whole image once. Each cell of an S x S grid gives B boxes, each with a
confidence, and one distribution over the classes. Later versions are in ``yolo.py``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.models.detection.anchors import cell_corners
from export.models.detection.box_coding import paired_iou, to_centres, to_corners

__all__ = ["YoloV1", "yolo_v1_loss"]

NEGATIVE_SLOPE = 0.1
LAMBDA_COORD = 5.0
"""How much more than a class the place of a box counts (section 2.2)."""
LAMBDA_NOOBJ = 0.5
"""How much less the confidence of a box counts that marks nothing: most do."""

# Figure 3, divided by 64: channels and kernel size of each convolution; M is 2x2 max pooling.
# The first convolution and the one before the last four have stride 2.
Layer = tuple[float, int, int]
LAYERS: Sequence[Layer | str] = (
    (1, 7, 2),
    "M",
    (3, 3, 1),
    "M",
    *((2, 1, 1), (4, 3, 1), (4, 1, 1), (8, 3, 1)),
    "M",
    *((4, 1, 1), (8, 3, 1)) * 4,
    *((8, 1, 1), (16, 3, 1)),
    "M",
    *((8, 1, 1), (16, 3, 1)) * 2,
    *((16, 3, 1), (16, 3, 2), (16, 3, 1), (16, 3, 1)),
)
STRIDE_PX = 64


class YoloV1(nn.Module):
    """Twenty-four convolutions and two dense layers (figure 3).

    ``[N, 3, size, size] -> [N, S, S, B * 5 + num_classes]`` with ``S = size / 64``. A box is
    ``x, y, sqrt(w), sqrt(h), confidence``: the centre in units of its cell, the roots of the sizes
    in units of the image (section 2.2). The last layer is linear: only training keeps it in 0..1.

    Args:
        num_classes: how many classes a cell's thing can have.
        width: channels of the first convolution.
        size_px: side of the image, a multiple of 64; the dense layers fix it.
        boxes_per_cell: B.
        hidden_size: of the first dense layer.
    """

    def __init__(
        self,
        num_classes: int = 20,
        width: int = 64,
        size_px: int = 448,
        boxes_per_cell: int = 2,
        hidden_size: int = 4096,
    ) -> None:
        super().__init__()
        if size_px % STRIDE_PX:
            raise ValueError(f"size_px {size_px} is no multiple of {STRIDE_PX}")
        self.num_classes, self.boxes_per_cell = num_classes, boxes_per_cell
        self.grid_size = size_px // STRIDE_PX
        self.features = nn.Sequential(*layers(width))
        cells, depth = self.grid_size**2, 5 * boxes_per_cell + num_classes
        self.fc1 = nn.Linear(cells * 16 * width, hidden_size)
        self.act = nn.LeakyReLU(NEGATIVE_SLOPE)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(hidden_size, cells * depth)

    def forward(self, x: Tensor) -> Tensor:
        """The grid of normalised images."""
        x = self.act(self.fc1(self.features(x).flatten(1)))
        x = self.fc2(self.dropout(x))
        return x.unflatten(1, (self.grid_size, self.grid_size, -1))

    def detect(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Every candidate of normalised images ``[N, 3, H, W]``.

        Returns:
            Boxes ``[N, S * S * B, 4]``, ``x1, y1, x2, y2`` in px of the input, cut at its edges,
            and scores ``[N, S * S * B, num_classes]``, 0..1: confidence times the class's
            probability (equation 1).
        """
        grid = self(x).float()
        boxes, confidence = decode_cells(grid, self.boxes_per_cell, STRIDE_PX)
        classes = grid[..., None, 5 * self.boxes_per_cell :]
        scores = (confidence[..., None] * classes).clamp(0, 1)
        return boxes.clamp(0, x.shape[2]).flatten(1, 3), scores.flatten(1, 3)


def layers(width: int) -> list[nn.Module]:
    """The convolutions of figure 3, each followed by leaky ReLU (equation 2), and the pooling."""
    made: list[nn.Module] = []
    channels = 3
    for layer in LAYERS:
        if isinstance(layer, str):
            made.append(nn.MaxPool2d(2))
            continue
        share, kernel_size, stride = layer
        out_channels = int(share * width)
        made.append(nn.Conv2d(channels, out_channels, kernel_size, stride, kernel_size // 2))
        made.append(nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
        channels = out_channels
    return made


def decode_cells(grid: Tensor, boxes_per_cell: int, stride_px: int) -> tuple[Tensor, Tensor]:
    """The boxes of a square grid, and how sure each is.

    Args:
        grid: ``[N, S, S, B * 5 + num_classes]``.
        boxes_per_cell: B.
        stride_px: side of a cell.

    Returns:
        ``[N, S, S, B, 4]`` in px, and ``[N, S, S, B]``.
    """
    size = grid.shape[1]
    said = grid[..., : 5 * boxes_per_cell].unflatten(-1, (boxes_per_cell, 5))
    corners = cell_corners(size, size, stride_px)[:, :, None].to(grid.device)
    centres = corners + said[..., :2] * stride_px
    sizes = said[..., 2:4].clamp(min=0).square() * (size * stride_px)
    return to_corners(centres, sizes), said[..., 4]


def yolo_v1_loss(grid: Tensor, boxes: Tensor, targets: Tensor, boxes_per_cell: int = 2) -> Tensor:
    """The sum of squared errors (equation 3), for each image.

    Of a cell's boxes the one that overlaps the true box most is responsible for it; its confidence
    shall be that overlap.

    Args:
        grid: ``[N, S, S, B * 5 + num_classes]``, the network's answer.
        boxes: ``[N, M, 4]``, ``x1, y1, x2, y2`` in px of the input.
        targets: ``[N, M]``, classes; -1 marks unused rows.
        boxes_per_cell: B.

    Returns:
        A scalar.
    """
    grid = grid.float()
    cells, boxes, targets = assign_cells(boxes, targets, grid.shape[1])
    confidences = grid[..., 4 : 5 * boxes_per_cell : 5]
    decoded, _ = decode_cells(grid.detach(), boxes_per_cell, STRIDE_PX)
    overlap, responsible = paired_iou(decoded[cells], boxes[:, None]).max(dim=1)

    said = grid[cells]  # [P, B * 5 + num_classes]
    answers = said[:, : 5 * boxes_per_cell].unflatten(1, (boxes_per_cell, 5))
    answers = answers[torch.arange(len(said), device=said.device), responsible]  # [P, 5]
    centres, sizes = to_centres(boxes)
    corners = torch.stack([cells[2], cells[1]], 1) * STRIDE_PX
    place = torch.cat(
        [(centres - corners) / STRIDE_PX, (sizes / (grid.shape[1] * STRIDE_PX)).sqrt()], 1
    )
    classes = said[:, 5 * boxes_per_cell :]
    truth = functional.one_hot(targets, classes.shape[1])

    coordinates = squared_error(answers[:, :4], place)
    objects = squared_error(answers[:, 4], overlap)
    nothing = confidences.square().sum() - answers[:, 4].square().sum()
    total = LAMBDA_COORD * coordinates + objects + LAMBDA_NOOBJ * nothing
    return (total + squared_error(classes, truth)) / len(grid)


def assign_cells(
    boxes: Tensor, targets: Tensor, grid_size: int
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """The cells that hold the centre of a true box; each knows one, so the last one counts.

    Args:
        boxes: ``[N, M, 4]`` in px.
        targets: ``[N, M]``; -1 marks unused rows.
        grid_size: S.

    Returns:
        Images, rows and columns ``[P]``, and the boxes ``[P, 4]`` and classes ``[P]`` that belong
        to them.
    """
    images, places = (targets >= 0).nonzero(as_tuple=True)
    centres, _ = to_centres(boxes[images, places])
    cells = (centres / STRIDE_PX).long().clamp(0, grid_size - 1)
    owner = torch.full((len(boxes), grid_size, grid_size), -1)
    for number, (image, (column, row)) in enumerate(
        zip(images.tolist(), cells.tolist(), strict=True)
    ):
        owner[image, row, column] = number
    where = (owner >= 0).nonzero(as_tuple=True)
    chosen = owner[where]
    on_device = tuple(index.to(boxes.device) for index in where)
    return on_device, boxes[images, places][chosen], targets[images, places][chosen]


def squared_error(answer: Tensor, truth: Tensor) -> Tensor:
    """The sum of squared differences."""
    return (answer - truth).square().sum()
