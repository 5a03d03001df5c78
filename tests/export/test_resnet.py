import pytest
import torch

from export.errors import FactoryError
from export.models import BUILDERS, build

# As published with torchvision's weights.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size_networks_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


def torchvision_keys(depths: tuple[int, ...], convolutions: int, projects_first: bool) -> set[str]:
    """The keys of torchvision's state dict, written down from its naming rule."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = {"conv1.weight", "fc.weight", "fc.bias"} | {f"bn1.{part}" for part in norm}
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            prefix = f"layer{stage}.{block}"
            for index in range(1, convolutions + 1):
                keys |= {f"{prefix}.conv{index}.weight"}
                keys |= {f"{prefix}.bn{index}.{part}" for part in norm}
            if block == 0 and (stage > 1 or projects_first):
                keys |= {f"{prefix}.downsample.0.weight"}
                keys |= {f"{prefix}.downsample.1.{part}" for part in norm}
    return keys


@pytest.mark.parametrize(
    ("name", "depths", "convolutions", "projects_first"),
    [
        ("resnet18", (2, 2, 2, 2), 2, False),
        ("resnet34", (3, 4, 6, 3), 2, False),
        ("resnet50", (3, 4, 6, 3), 3, True),
        ("resnet101", (3, 4, 23, 3), 3, True),
        ("resnet152", (3, 8, 36, 3), 3, True),
    ],
)
def test_state_dict_has_torchvisions_keys(
    name: str, depths: tuple[int, ...], convolutions: int, projects_first: bool
) -> None:
    with torch.device("meta"):
        keys = set(build(name).state_dict())
    assert keys == torchvision_keys(depths, convolutions, projects_first)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("small_images", [False, True])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 65)])
def test_any_input_size_gives_logits(
    name: str, small_images: bool, height: int, width: int
) -> None:
    network = build(name, width=4, num_classes=7, in_channels=1, small_images=small_images).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 1, height, width))
    assert logits.shape == (2, 7)


def test_unknown_network_suggests_the_nearest_name() -> None:
    with pytest.raises(FactoryError, match="did you mean 'resnet50'"):
        build("resnet05")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(FactoryError, match="widht"):
        build("resnet18", widht=4)


def test_registry_names_are_lower_case() -> None:
    assert all(name == name.lower() for name in BUILDERS)
