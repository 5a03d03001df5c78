"""Pooling to a grid of fixed size, so that dense layers can follow a feature map of any size."""

from torch import Tensor
from torch.nn import functional


def pool_to_grid(x: Tensor, size: int) -> Tensor:
    """Average ``[N, C, H, W]`` over a grid of cells: ``[N, C, size, size]``.

    A map of that size is returned unchanged. The networks' usual input needs no pooling, and
    `torch.nn.AdaptiveAvgPool2d` would leave nodes in the ONNX graph that do nothing.
    """
    if x.shape[2] == size and x.shape[3] == size:
        return x
    if size == 1:
        return x.mean((2, 3), keepdim=True)
    return functional.adaptive_avg_pool2d(x, size)
