"""Weights on disk: safetensors, or PyTorch files that hold tensors and no code."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from export.errors import WeightsError
from service.artifact.manifest import sha256_of

# The keys under which training scripts keep the state dict in a larger file.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "network")

# Public files of DenseNet and Faster R-CNN have older names: they say
# ``denselayer1.norm.1.weight`` for ``denselayer1.norm1.weight``, ``rpn.head.conv.weight`` for
# ``rpn.head.conv.0.0.weight`` and ``inner_blocks.0.weight`` for ``inner_blocks.0.0.weight``.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"(rpn\.head\.conv)\.(?=weight|bias)"), r"\1.0.0."),
    (re.compile(r"(fpn\.(?:inner|layer)_blocks\.\d)\.(?=weight|bias)"), r"\1.0."),
)


@dataclass(frozen=True)
class Checkpoint:
    """Weights as read from a file: float32, finite."""

    path: Path
    state: Mapping[str, Tensor]
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The metadata of a safetensors file."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read ``.safetensors``, ``.pt`` or ``.pth``; half precision becomes float32.

    Raises:
        WeightsError: the file is missing, broken, holds code, or holds NaN or infinity.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
    elif path.suffix in (".pt", ".pth"):
        state, metadata = _read_pytorch(path), {}
    else:
        raise WeightsError(f"{path} is no .safetensors, .pt or .pth file; save the weights as one")
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }
    for key, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(
                f"{key} in {path} holds NaN or infinity; use a checkpoint from before the training"
                " diverged"
            )
    return Checkpoint(path, state, sha256_of(path), metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as err:
        raise WeightsError(f"{path} is no safetensors file ({err}); copy it again") from err


def _read_pytorch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        raise WeightsError(
            f"{path} holds pickled code and not only tensors, so it is not opened; save the weights"
            " alone: torch.save(network.state_dict(), FILE)"
        ) from err
    except (RuntimeError, EOFError, ValueError) as err:
        raise WeightsError(f"{path} is no PyTorch file ({err}); copy it again") from err
    return {_present_name(key): tensor for key, tensor in _unwrap(content, path).items()}


def _present_name(key: str) -> str:
    """The current name of a tensor, without the prefix of a wrapper."""
    key = key.removeprefix("module.")
    for old, present in _OLD_NAMES:
        key = old.sub(present, key)
    return key


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict itself, which may be one level deep."""
    if isinstance(content, dict):
        inner = next(
            (content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None
        )
        state = content if inner is None else inner
        if state and all(isinstance(tensor, Tensor) for tensor in state.values()):
            return state
    raise WeightsError(
        f"{path} holds no state dict; save one with torch.save(network.state_dict(), FILE)"
    )


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the weights into the network, all of them and nothing else.

    Raises:
        WeightsError: a tensor is missing, left over, or has another shape.
    """
    expected = network.state_dict()
    missing = [
        key
        for key in expected
        if key not in checkpoint.state and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in checkpoint.state if key not in expected]
    if missing or unexpected:
        raise WeightsError(
            f"{checkpoint.path} is of another network: {_count(missing, 'missing')},"
            f" {_count(unexpected, 'left over')}; check the network's name and options"
        )
    for key, tensor in checkpoint.state.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"{key} is {list(tensor.shape)} in {checkpoint.path}"
                f" and {list(expected[key].shape)} in the network; check --width and"
                " --small-images, and give one label per class"
            )
    network.load_state_dict({**expected, **checkpoint.state}, strict=True)


def _count(keys: list[str], what: str) -> str:
    return f"{len(keys)} {what} (such as {keys[0]})" if keys else f"none {what}"


def save_half(network: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network's weights in float16 safetensors, replacing the file in one step."""
    state = {
        key: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for key, tensor in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(state, partial, dict(metadata))
    partial.chmod(0o644)  # save_file allows only its owner; weights are no secret
    partial.replace(path)
