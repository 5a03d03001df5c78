import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from export.models import build
from export.models.detection.box_coding import box_iou
from export.models.detection.darknet import Darknet19, Darknet53
from export.models.detection.yolo import GridDetector, YoloV2, YoloV3, decode_grid
from export.models.detection.yolo_loss import assign, yolo_loss
from export.models.detection.yolo_v1 import STRIDE_PX, YoloV1, yolo_v1_loss

ANCHORS = (((12.0, 12.0),), ((40.0, 30.0), (60.0, 90.0)))
CERTAIN = 30.0  # a logit


def tiny(num_classes: int = 3) -> YoloV3:
    """Two grids, of 8 and 16 px."""
    torch.manual_seed(0)
    return YoloV3(num_classes, width=4, depths=(1, 1, 1, 1), anchors=ANCHORS, head_depth=1).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def statistics(module: nn.Module) -> int:
    """Means and variances, which Darknet's files hold, too."""
    return sum(
        2 * each.num_features for each in module.modules() if isinstance(each, nn.BatchNorm2d)
    )


# Size and shape


def test_full_size_networks_have_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        v2, v3, darknet53 = build("yolo_v2"), build("yolo_v3"), Darknet53()
    # yolov2.weights and yolov3.weights, trained on COCO: 4 bytes a number after the header.
    assert parameters(v2) + statistics(v2) == 50_983_561
    assert parameters(v3) + statistics(v3) == 62_001_757
    assert parameters(v3) == 61_949_149
    assert parameters(darknet53) == 41_609_928


def test_yolo_v1_equals_the_network_of_the_paper() -> None:
    with torch.device("meta"):
        network = build("yolo_v1")
        grid = network(torch.zeros(2, 3, 448, 448))
    assert grid.shape == (2, 7, 7, 30)
    kinds = [type(module) for module in network.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (24, 2)


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_grids_cover_any_size(size: tuple[int, int]) -> None:
    height, width = size
    fine, coarse = tiny()(torch.zeros(2, 3, height, width))
    assert fine.shape == (2, height // 8, width // 8, 1, 8)
    assert coarse.shape == (2, height // 16, width // 16, 2, 8)


def test_candidates_lie_in_the_image_and_have_scores() -> None:
    networks = (tiny(), YoloV2(3, width=4), YoloV1(3, width=4, size_px=64, hidden_size=8))
    for network in networks:
        pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 50
        boxes, scores = network.eval().detect(pixels)
        assert boxes.shape[:2] == scores.shape[:2]
        assert (boxes.shape[0], boxes.shape[2], scores.shape[2]) == (2, 4, 3)
        assert boxes.min() >= 0
        assert boxes.max() <= 64
        assert bool((boxes[..., 2:] >= boxes[..., :2]).all())
        assert 0 <= scores.min() <= scores.max() <= 1


def test_darknets_classify() -> None:
    for network in (Darknet19(7, width=2), Darknet53(7, width=2, depths=(1, 1, 1))):
        assert network(torch.zeros(2, 3, 64, 32)).shape == (2, 7)


def test_a_darknet_without_a_classifier_says_so() -> None:
    with pytest.raises(RuntimeError, match="without a classifier"):
        Darknet53(0, width=2, depths=(1,))(torch.zeros(1, 3, 8, 8))


# Anchors (v2 and v3)


def test_an_empty_answer_is_the_anchor_in_the_middle_of_its_cell() -> None:
    boxes = decode_grid(torch.zeros(1, 2, 3, 1, 4), [(10, 20)], stride_px=16)
    assert boxes[0, 1, 2, 0].tolist() == [40 - 5, 24 - 10, 40 + 5, 24 + 10]


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_no_answer_leaves_its_cell(seed: int) -> None:
    said = torch.randn(1, 4, 4, 2, 4, generator=torch.Generator().manual_seed(seed)) * 20
    boxes = decode_grid(said, [(5, 5), (9, 3)], stride_px=8)
    cells = ((boxes[..., :2] + boxes[..., 2:]) / 2 / 8 - 1e-3).round(decimals=3).clamp(min=0)
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    expected = torch.stack([columns, rows], -1)[None, :, :, None].expand_as(cells)
    assert bool(((cells - expected) >= -0.01).all())
    assert bool(((cells - expected) <= 1.01).all())


def some_boxes() -> tuple[Tensor, Tensor]:
    boxes = torch.tensor(
        [
            [[3, 3, 14, 16], [30, 20, 72, 52], [30, 4, 90, 60]],
            [[50, 40, 63, 51], [0, 0, 0, 0], [0, 0, 0, 0]],
        ],
        dtype=torch.float32,
    )
    return boxes, torch.tensor([[0, 1, 2], [1, -1, -1]])


def perfect_grids(detector: GridDetector, boxes: Tensor, targets: Tensor) -> list[Tensor]:
    """What a network would say that knows."""
    shapes = [(8, 12), (4, 6)]
    grids = []
    for level, assignment in enumerate(assign(detector, shapes, boxes, targets)):
        count, stride_px = len(detector.anchors[level]), detector.strides_px[level]
        grid = torch.zeros(2, *shapes[level], count, 5 + detector.num_classes)
        grid[..., 4] = -CERTAIN
        where = (assignment.images, assignment.rows, assignment.columns, assignment.anchors)
        true = assignment.boxes
        centres, sizes = (true[:, :2] + true[:, 2:]) / 2, true[:, 2:] - true[:, :2]
        cells = torch.stack([assignment.columns, assignment.rows], 1)
        anchors = torch.tensor(detector.anchors[level])[assignment.anchors]
        answer = torch.full((len(true), 5 + detector.num_classes), -CERTAIN)
        answer[:, :2] = torch.logit(centres / stride_px - cells)
        answer[:, 2:4] = torch.log(sizes / anchors)
        answer[:, 4] = CERTAIN
        answer[torch.arange(len(true)), 5 + assignment.targets] = CERTAIN
        grid[where] = answer
        grids.append(grid)
    return grids


def test_a_box_belongs_to_the_anchor_of_its_shape_in_the_cell_of_its_centre() -> None:
    fine, coarse = assign(tiny(), [(8, 12), (4, 6)], *some_boxes())
    assert fine.images.tolist() == [0, 1]
    assert (fine.rows.tolist(), fine.columns.tolist()) == ([1, 5], [1, 7])
    assert coarse.anchors.tolist() == [0, 1]
    assert (coarse.rows.tolist(), coarse.columns.tolist()) == ([2, 2], [3, 3])
    assert coarse.targets.tolist() == [1, 2]


def test_perfect_grids_cost_nothing_and_decode_to_the_boxes() -> None:
    network, (boxes, targets) = tiny(), some_boxes()
    grids = perfect_grids(network, boxes, targets)
    assert float(yolo_loss(network, grids, boxes, targets)) == pytest.approx(0, abs=1e-3)
    found = torch.cat(
        [
            decode_grid(grid, anchors, stride_px)[grid[..., 4] > 0]
            for grid, anchors, stride_px in zip(
                grids, network.anchors, network.strides_px, strict=True
            )
        ]
    )
    overlap = box_iou(boxes[targets >= 0], found)
    assert overlap.amax(1).tolist() == pytest.approx([1] * 4, abs=1e-3)


def changed(grids: list[Tensor], level: int, channel: int, by: float) -> list[Tensor]:
    grids = [grid.clone() for grid in grids]
    is_sure = grids[level][..., 4] > 0
    grids[level][..., channel][is_sure] += by
    return grids


@pytest.mark.parametrize(
    ("channel", "by"), [(0, 1), (1, -1), (2, 0.5), (3, -0.5), (4, -60), (5, 60)]
)
def test_every_kind_of_mistake_costs(channel: int, by: float) -> None:
    network, (boxes, targets) = tiny(), some_boxes()
    grids = changed(perfect_grids(network, boxes, targets), level=1, channel=channel, by=by)
    assert float(yolo_loss(network, grids, boxes, targets)) > 0.1


def test_a_candidate_on_background_costs_but_not_one_beside_a_true_box() -> None:
    network, (boxes, targets) = tiny(), some_boxes()
    grids = perfect_grids(network, boxes, targets)
    perfect = float(yolo_loss(network, grids, boxes, targets))
    grids[1][0, 2, 3, 0, 4] = CERTAIN  # the right place of another box of that cell
    grids[0][1, 0, 0, 0, 4] = CERTAIN
    assert float(yolo_loss(network, grids, boxes, targets)) == pytest.approx(perfect + 30 / 4, 0.01)
    grids[0][1, 0, 0, 0, 4] = -CERTAIN
    beside = grids[1][0, 2, 2, 1]
    beside[:2] = torch.tensor([CERTAIN, 0.0])  # on the border of the cell of the large box
    beside[2:4] = grids[1][0, 2, 3, 1, 2:4]
    beside[4] = CERTAIN
    assert float(yolo_loss(network, grids, boxes, targets)) == pytest.approx(perfect, abs=1e-3)


def test_a_batch_without_boxes_still_trains_the_background() -> None:
    network = tiny()
    grids = network(torch.zeros(2, 3, 64, 96))
    loss = yolo_loss(network, grids, torch.zeros(2, 1, 4), torch.full((2, 1), -1))
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert loss.item() > 0
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_boxes_that_share_a_cell_and_an_anchor_do_not_break_the_loss() -> None:
    network, boxes = tiny(), torch.tensor([[[3, 3, 14, 16], [3.5, 3, 14, 16]]])
    loss = yolo_loss(network, network(torch.zeros(1, 3, 64, 96)), boxes, torch.tensor([[0, 1]]))
    assert bool(loss.isfinite())


# The first version


def perfect_cells() -> tuple[Tensor, Tensor, Tensor]:
    """Grid of 2 x 2 cells, two boxes each, three classes; boxes; targets."""
    boxes = torch.tensor([[[8, 16, 56, 48], [70, 70, 126, 110]], [[10, 80, 50, 120], [0, 0, 0, 0]]])
    boxes = boxes.float()
    targets = torch.tensor([[0, 2], [1, -1]])
    grid = torch.zeros(2, 2, 2, 13)
    for image, place in (targets >= 0).nonzero().tolist():
        x1, y1, x2, y2 = boxes[image, place].tolist()
        x, y = (x1 + x2) / 2 / STRIDE_PX, (y1 + y2) / 2 / STRIDE_PX
        column, row = int(x), int(y)
        roots = [((x2 - x1) / 128) ** 0.5, ((y2 - y1) / 128) ** 0.5]
        grid[image, row, column, 5:10] = torch.tensor([x - column, y - row, *roots, 1.0])
        grid[image, row, column, 10 + int(targets[image, place])] = 1.0
    return grid, boxes, targets


def test_perfect_cells_cost_nothing_and_decode_to_the_boxes() -> None:
    grid, boxes, targets = perfect_cells()
    assert float(yolo_v1_loss(grid, boxes, targets)) == pytest.approx(0, abs=1e-5)
    network = YoloV1(3, width=4, size_px=128, hidden_size=8).eval()
    network.forward = lambda x: grid  # what it says is given; how it is read is tested
    found, scores = network.detect(torch.zeros(2, 3, 128, 128))
    best = scores.amax(2) > 0.99
    torch.testing.assert_close(found[best], boxes[targets >= 0], rtol=0, atol=1e-3)
    assert scores[best].argmax(1).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("channel", "by", "costs"),
    [
        (5, 0.1, 5 * 0.01),  # a coordinate counts five times
        (4, 0.2, 0.5 * 0.04),  # the confidence of a box that marks nothing, half
        (9, 0.2, 0.04),
        (12, 0.3, 0.09),
    ],
)
def test_the_parts_of_the_loss_have_the_weights_of_the_paper(
    channel: int, by: float, costs: float
) -> None:
    grid, boxes, targets = perfect_cells()
    grid[1, 1, 0, channel] += by
    loss = float(yolo_v1_loss(grid, boxes, targets)) * len(grid)
    if channel == 5:  # the box is not where it was, so its confidence is too high
        moved = box_iou(torch.tensor([[10, 80, 50, 120.0]]), torch.tensor([[16.4, 80, 56.4, 120]]))
        costs += float((1 - moved) ** 2)
    assert loss == pytest.approx(costs, rel=1e-4)


def test_a_batch_without_boxes_costs_its_confidences_alone() -> None:
    grid = torch.ones(1, 2, 2, 13)
    loss = yolo_v1_loss(grid, torch.zeros(1, 1, 4), torch.full((1, 1), -1))
    assert float(loss) == pytest.approx(0.5 * 8)


def test_only_one_of_two_objects_in_a_cell_counts() -> None:
    grid, boxes, targets = perfect_cells()
    boxes[1, 1], targets[1, 1] = boxes[1, 0], 2
    assert bool(yolo_v1_loss(grid, boxes, targets).isfinite())


def test_an_image_that_the_cells_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of 64"):
        YoloV1(size_px=100)
