"""Networks whose shapes matter and whose weights do not."""

from typing import Any

import torch
from torch import nn

from export.models import build


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def build_meta(name: str, **options: Any) -> nn.Module:
    """Without memory for its weights."""
    with torch.device("meta"):
        return build(name, **options)
