"""Region pooling: against loops that say what it means, and in the graph."""

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from export.models.detection.roi_pool import roi_align, roi_max_pool, spatial_pyramid_pool
from export.pytorch.graph import write_graph
from service.artifact.manifest import TensorSpec

STRIDE_PX, HEIGHT, WIDTH = 8, 9, 13


def round_half_up(value: float) -> int:
    return math.floor(value + 0.5)


def max_pool_by_hand(features: Tensor, box: list[float], size: int) -> Tensor:
    """Fast R-CNN's pooling of one region, value by value; `features` is `[C, H, W]`."""
    x1, x2 = (min(round_half_up(v / STRIDE_PX), WIDTH - 1) for v in (box[0], box[2]))
    y1, y2 = (min(round_half_up(v / STRIDE_PX), HEIGHT - 1) for v in (box[1], box[3]))
    width, height = max(x2 - x1, 0) + 1, max(y2 - y1, 0) + 1
    pooled = torch.empty(features.shape[0], size, size)
    for row in range(size):
        for column in range(size):
            rows = range(y1 + row * height // size, y1 - (-(row + 1) * height // size))
            columns = range(x1 + column * width // size, x1 - (-(column + 1) * width // size))
            values = [features[:, y, x] for y in rows for x in columns]
            pooled[:, row, column] = torch.stack(values).amax(0)
    return pooled


def bilinear(features: Tensor, y: float, x: float) -> Tensor:
    """The value between four places, 0 beyond the map; `features` is `[C, H, W]`."""
    if y > HEIGHT or x > WIDTH:
        return torch.zeros(features.shape[0])
    y, x = min(max(y, 0.0), HEIGHT - 1.0), min(max(x, 0.0), WIDTH - 1.0)
    top, left = min(int(y), HEIGHT - 2), min(int(x), WIDTH - 2)
    down, right = y - top, x - left
    return (
        features[:, top, left] * (1 - down) * (1 - right)
        + features[:, top, left + 1] * (1 - down) * right
        + features[:, top + 1, left] * down * (1 - right)
        + features[:, top + 1, left + 1] * down * right
    )


def align_by_hand(features: Tensor, box: list[float], size: int, is_shifted: bool) -> Tensor:
    """RoIAlign of one region with four points a cell."""
    shift = 0.5 if is_shifted else 0.0
    x1, y1, x2, y2 = (value / STRIDE_PX - shift for value in box)
    width, height = x2 - x1, y2 - y1
    if not is_shifted:
        width, height = max(width, 1.0), max(height, 1.0)
    pooled = torch.zeros(features.shape[0], size, size)
    for row in range(2 * size):
        for column in range(2 * size):
            y = y1 + (row + 0.5) * height / (2 * size)
            x = x1 + (column + 0.5) * width / (2 * size)
            pooled[:, row // 2, column // 2] += bilinear(features, y, x) / 4
    return pooled


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    """A box inside the image, perhaps without area."""
    x1, x2 = sorted(draw(st.floats(0, WIDTH * STRIDE_PX, width=32)) for _ in range(2))
    y1, y2 = sorted(draw(st.floats(0, HEIGHT * STRIDE_PX, width=32)) for _ in range(2))
    return [x1, y1, x2, y2]


@pytest.fixture(scope="module")
def features() -> Tensor:
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


@settings(max_examples=25, deadline=None)
@given(box=boxes(), size=st.sampled_from([1, 2, 3, 7]))
def test_max_pooling_takes_the_largest_value_of_each_cell(
    features: Tensor, box: list[float], size: int
) -> None:
    pooled = roi_max_pool(features, torch.tensor([[box], [box]]), size, STRIDE_PX)
    expected = torch.stack([max_pool_by_hand(each, box, size)[None] for each in features])
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(box=boxes(), is_shifted=st.booleans())
def test_roi_align_interpolates_bilinearly(
    features: Tensor, box: list[float], is_shifted: bool
) -> None:
    pooled = roi_align(features, torch.tensor([[box], [box]]), 3, STRIDE_PX, is_shifted)
    expected = torch.stack([align_by_hand(each, box, 3, is_shifted)[None] for each in features])
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-4)


@given(box=boxes())
@settings(max_examples=20, deadline=None)
def test_a_pyramid_has_one_length_whatever_the_region(features: Tensor, box: list[float]) -> None:
    pyramid = spatial_pyramid_pool(features, torch.tensor([[box], [box]]), (4, 2, 1), STRIDE_PX)
    assert pyramid.shape == (2, 1, 3 * (16 + 4 + 1))


def test_the_top_of_a_pyramid_is_the_largest_value_of_the_region(features: Tensor) -> None:
    whole = torch.tensor([[[0.0, 0.0, WIDTH * STRIDE_PX, HEIGHT * STRIDE_PX]]]).expand(2, 1, 4)
    pyramid = spatial_pyramid_pool(features, whole, (3, 1), STRIDE_PX)
    assert torch.equal(pyramid[:, 0, -3:], features.amax((2, 3)))


@pytest.mark.parametrize("pool", [roi_max_pool, roi_align])
def test_gradients_reach_the_map(features: Tensor, pool) -> None:
    map_ = features.clone().requires_grad_()
    pool(
        map_, torch.tensor([[[8.0, 8.0, 60.0, 60.0]]]).expand(2, 1, 4), 2, STRIDE_PX
    ).sum().backward()
    assert map_.grad is not None
    assert map_.grad[:, :, 1:7, 1:7].abs().sum() > 0
    assert map_.grad[:, :, :, 9:].abs().sum() == 0


class AllPools(nn.Module):
    def forward(self, map_: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            roi_max_pool(map_, regions, 7, STRIDE_PX),
            spatial_pyramid_pool(map_, regions, (4, 2, 1), STRIDE_PX),
            roi_align(map_, regions, 7, STRIDE_PX),
            roi_align(map_, regions, 4, STRIDE_PX, is_shifted=True),
        )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path: Path = tmp_path_factory.mktemp("graph") / "pools.onnx"
    shapes = [(40, 3, 7, 7), (40, 3 * 21), (40, 3, 7, 7), (40, 3, 4, 4)]
    inputs = [
        TensorSpec(name="map", dtype="float32", axes=("batch", 3, HEIGHT, WIDTH)),
        TensorSpec(name="regions", dtype="float32", axes=("batch", 40, 4)),
    ]
    outputs = [
        TensorSpec(name=f"pool{index}", dtype="float32", axes=("batch", *shape))
        for index, shape in enumerate(shapes)
    ]
    examples = [torch.zeros(2, 3, HEIGHT, WIDTH), torch.zeros(2, 40, 4)]
    write_graph(AllPools(), examples, path, inputs, outputs)
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_operators_of_the_graph_give_the_same_numbers(
    session: onnxruntime.InferenceSession, batch: int
) -> None:
    generator = torch.Generator().manual_seed(batch)
    map_ = torch.randn(batch, 3, HEIGHT, WIDTH, generator=generator)
    edges = torch.tensor([WIDTH * STRIDE_PX, HEIGHT * STRIDE_PX])
    corners = torch.rand(batch, 40, 2, 2, generator=generator) * edges
    regions = torch.cat([corners.amin(2), corners.amax(2)], 2)
    regions[:, -1] = 0  # an unused row
    regions[:, -2] = torch.tensor([0.0, 0.0, *edges.tolist()])
    expected = AllPools()(map_, regions)
    actual = session.run(None, {"map": map_.numpy(), "regions": regions.numpy()})
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-4, atol=1e-4)
