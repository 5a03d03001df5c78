"""The state dicts of torchvision's networks, written down in a fixture."""

from pathlib import Path

import torch
from torch import Tensor

FIXTURE = Path(__file__).parents[1] / "exporting" / "fixtures" / "torchvision_state_dicts.txt"


def torchvision_state_dicts() -> dict[str, dict[str, Tensor]]:
    """Network -> key -> a tensor without storage."""
    networks: dict[str, dict[str, Tensor]] = {}
    state: dict[str, Tensor] = {}
    for line in FIXTURE.read_text().splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("["):
            state = networks[line.strip("[]")] = {}
            continue
        module, axes, *kind = line.split()
        shape = tuple(map(int, axes.split("x")))
        state[f"{module}.weight"] = torch.empty(shape, device="meta")
        if kind:
            state[f"{module}.bias"] = torch.empty(shape[:1], device="meta")
        if kind in (["norm"], ["frozen"]):
            state[f"{module}.running_mean"] = torch.empty(shape, device="meta")
            state[f"{module}.running_var"] = torch.empty(shape, device="meta")
        if kind == ["norm"]:
            state[f"{module}.num_batches_tracked"] = torch.empty((), device="meta")
    return networks
