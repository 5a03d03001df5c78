"""Which regions and anchors learn what, and what a region proposal network proposes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from export.models.detection.box_coding import box_iou, encode_boxes
from export.models.detection.nms import non_max_suppression
from export.models.detection.region_proposals import (
    ProposalRules,
    RegionProposalNetwork,
    suppression_mask,
)
from export.models.detection.regions import BACKGROUND, IGNORED, draw, match_regions, sample_regions


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 70.0, 70.0]])


def test_overlap_decides_what_a_region_is() -> None:
    regions = torch.tensor(
        [
            [0.0, 0.0, 10.0, 9.0],  # IoU 0.9 with the first
            [0.0, 0.0, 10.0, 5.0],  # 0.5
            [0.0, 0.0, 10.0, 2.0],  # 0.2
            [50.0, 50.0, 70.0, 69.0],  # 0.95 with the second
            [0.0, 0.0, 0.0, 0.0],  # unused
        ]
    )
    matches = match_regions(regions, BOXES, high=0.7, low=0.3)
    assert matches.tolist() == [0, IGNORED, BACKGROUND, 1, IGNORED]


def test_without_boxes_all_is_background() -> None:
    regions = torch.tensor([[0.0, 0.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    assert match_regions(regions, BOXES[:0], 0.7, 0.3).tolist() == [BACKGROUND, IGNORED]


def test_every_box_has_an_anchor_however_little_it_overlaps() -> None:
    anchors = torch.tensor([[0.0, 0.0, 40.0, 40.0], [45.0, 45.0, 85.0, 85.0], [200, 200, 240, 240]])
    assert match_regions(anchors, BOXES, 0.7, 0.3).tolist() == [BACKGROUND] * 3
    assert match_regions(anchors, BOXES, 0.7, 0.3, has_best=True).tolist() == [0, 1, BACKGROUND]


def test_a_draw_has_no_more_objects_than_its_share_and_fills_up_with_background() -> None:
    matches = torch.tensor([0] * 30 + [BACKGROUND] * 50 + [IGNORED] * 20)
    chosen = draw(matches, 40, 0.25, generator())
    assert (matches[chosen] >= 0).sum() == 10
    assert (matches[chosen] == BACKGROUND).sum() == 30
    assert len(chosen.unique()) == 40
    few = draw(torch.tensor([0, BACKGROUND, IGNORED]), 40, 0.5, generator())
    assert few.tolist() == [0, 1]


def test_sampled_regions_carry_their_boxes_and_classes() -> None:
    proposals = torch.tensor([[0.0, 0.0, 10.0, 9.0], [100.0, 100.0, 120.0, 120.0], [0, 0, 0, 0]])
    sample = sample_regions(proposals, BOXES, torch.tensor([2, 0]), generator(), count=12)
    assert sorted(sample.labels.tolist()) == [IGNORED] * 8 + [0] + [1, 3, 3]
    for region, label, box in zip(*sample, strict=True):
        if label > 0:
            assert box_iou(region[None], box[None]) >= 0.5
    assert not sample.regions[sample.labels == IGNORED].any()


def by_hand(boxes: Tensor, iou_threshold: float) -> list[bool]:
    scores = torch.arange(len(boxes), 0, -1).float()
    kept = set(non_max_suppression(boxes, scores, iou_threshold).tolist())
    return [index in kept for index in range(len(boxes))]


corner = st.floats(0, 60, width=32)
side = st.floats(5, 40, width=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=25))
def test_suppression_without_loops_equals_greedy_suppression(rows: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor([[x, y, x + width, y + height] for x, y, width, height in rows])
    greedy = by_hand(boxes, 0.5)
    assert suppression_mask(boxes[None], 0.5, rounds=26)[0].tolist() == greedy
    few_rounds = suppression_mask(boxes[None], 0.5, rounds=2)[0].tolist()
    assert all(kept for kept, wanted in zip(few_rounds, greedy, strict=True) if wanted)


@pytest.fixture
def network() -> RegionProposalNetwork:
    torch.manual_seed(0)
    rules = ProposalRules(looked_at=50, proposals=20)
    return RegionProposalNetwork(4, [[16.0, 32.0]], (0.5, 1.0, 2.0), rules)


SIZE = (48, 64)


def test_each_size_of_anchors_is_a_level(network: RegionProposalNetwork) -> None:
    logits, offsets, anchors = network([torch.zeros(3, 4, 6, 8)], SIZE)
    assert [each.shape for each in logits] == [(3, 144), (3, 144)]
    assert [each.shape for each in offsets] == [(3, 144, 4), (3, 144, 4)]
    sides = [(each[:, 2:] - each[:, :2]).prod(1).sqrt().mean() for each in anchors]
    assert sides == [pytest.approx(16, abs=1), pytest.approx(32, abs=1)]


def test_proposals_lie_in_the_image_apart_from_each_other() -> None:
    torch.manual_seed(0)
    rules = ProposalRules(looked_at=50, proposals=20)
    network = RegionProposalNetwork(4, [[24.0]], (0.5, 1.0, 2.0), rules)
    maps = [torch.randn(3, 4, 6, 8, generator=generator())]
    with torch.inference_mode():
        logits, offsets, anchors = network(maps, SIZE)
        proposals = network.propose(logits, offsets, anchors, SIZE)
    assert proposals.shape == (3, 20, 4)
    for boxes in proposals:
        used = boxes[boxes[:, 2] > 0]
        assert len(used) > 5
        assert used.min() >= 0
        assert (used[:, 2] <= 64).all()
        assert (used[:, 3] <= 48).all()
        assert box_iou(used, used).triu(1).max() <= 0.7 + 1e-6


def test_offsets_and_logits_belong_to_the_anchor_of_their_place(
    network: RegionProposalNetwork,
) -> None:
    """A head that fires at one place for one shape proposes that anchor first."""
    head, place, shape = network.head, (3, 5), 4
    map_ = torch.zeros(1, 4, 6, 8)
    map_[0, 0, place[0], place[1]] = 1.0
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.get_parameter("conv.0.0.weight")[0, 0, 1, 1] = 1.0
        head.cls_logits.weight[shape, 0] = 5.0
        logits, offsets, anchors = network([map_], SIZE)
        first = network.propose(logits, offsets, anchors, SIZE)[0, 0]
    level, index = shape % 2, ((place[0] * 8 + place[1]) * 6 + shape) // 2
    expected = anchors[level][index].clamp(min=0).minimum(torch.tensor([64.0, 48.0, 64.0, 48.0]))
    assert logits[level].argmax() == index
    torch.testing.assert_close(first, expected)


def test_the_loss_of_a_perfect_proposal_network_is_next_to_nothing(
    network: RegionProposalNetwork,
) -> None:
    anchors = torch.cat(network([torch.zeros(1, 4, 6, 8)], SIZE)[2])
    boxes = torch.tensor([[10.0, 10.0, 28.0, 25.0], [30.0, 8.0, 60.0, 40.0]])
    matches = match_regions(anchors, boxes, 0.7, 0.3, has_best=True)
    logits = torch.where(matches >= 0, 20.0, -20.0)[None]
    offsets = encode_boxes(boxes[matches.clamp(min=0)], anchors)[None]
    assert network.loss(logits, offsets, anchors, [boxes], generator()) < 1e-6
    assert network.loss(-logits, offsets, anchors, [boxes], generator()) > 10
    assert network.loss(logits, offsets + 1, anchors, [boxes], generator()) > 0.01
