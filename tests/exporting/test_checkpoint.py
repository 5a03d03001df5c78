import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.errors import WeightsError
from export.models import build
from export.pytorch.checkpoint import load_weights, read_checkpoint, save_half


class Code:
    """Not a tensor: unpickling it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def network() -> nn.Linear:
    return nn.Linear(3, 2)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth"])
def test_weights_come_back_as_they_were_saved(name: str, tmp_path: Path) -> None:
    saved, loaded, path = network(), network(), tmp_path / name
    if path.suffix == ".safetensors":
        save_file(saved.state_dict(), path)
    else:
        torch.save(saved.state_dict(), path)
    load_weights(loaded, read_checkpoint(path))
    assert all(map(torch.equal, loaded.parameters(), saved.parameters()))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    saved, path = network(), tmp_path / "half.safetensors"
    save_half(saved, path, {"of": "a test"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.metadata["of"] == "a test"
    assert checkpoint.state["weight"].dtype == torch.float32
    torch.testing.assert_close(checkpoint.state["weight"], saved.weight.data, atol=1e-3, rtol=1e-3)
    assert [file.name for file in tmp_path.iterdir()] == ["half.safetensors"]


def test_a_state_dict_is_found_inside_a_training_checkpoint(tmp_path: Path) -> None:
    state = {f"module.{key}": tensor for key, tensor in network().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "last.pt")
    load_weights(network(), read_checkpoint(tmp_path / "last.pt"))


def test_a_public_densenet_loads_under_its_old_names(tmp_path: Path) -> None:
    saved, loaded = (build("densenet121", width=4, num_classes=2) for _ in range(2))
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    state = {old.sub(r"\1.\2", key): tensor for key, tensor in saved.state_dict().items()}
    assert "features.denseblock4.denselayer16.norm.2.running_var" in state
    torch.save(state, tmp_path / "densenet121.pth")
    load_weights(loaded, read_checkpoint(tmp_path / "densenet121.pth"))
    assert all(map(torch.equal, loaded.parameters(), saved.parameters()))


def test_pickled_code_is_refused_and_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": Code()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="holds pickled code"):
        read_checkpoint(tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    torch.save({"weight": torch.tensor([0.0, value])}, tmp_path / "diverged.pt")
    with pytest.raises(WeightsError, match=r"weight in .* holds NaN or infinity"):
        read_checkpoint(tmp_path / "diverged.pt")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "broken.bin"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_a_file_that_holds_no_weights_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=str(path)):
        read_checkpoint(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        read_checkpoint(tmp_path / "absent.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"weight": torch.zeros(2, 3)}, "1 missing .such as bias., none left over"),
        ({"w": torch.zeros(1), "weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, "1 left over"),
        ({"weight": torch.zeros(4, 3), "bias": torch.zeros(4)}, r"\[4, 3\] in .* and \[2, 3\]"),
    ],
    ids=("missing", "left over", "other shape"),
)
def test_weights_of_another_network_are_refused(
    state: dict[str, torch.Tensor], says: str, tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=says):
        load_weights(network(), read_checkpoint(tmp_path / "other.pt"))
