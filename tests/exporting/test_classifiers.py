from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from export.errors import FactoryError
from export.models import BUILDERS, build
from export.models.alexnet import AlexNet
from export.models.densenet import DenseNet
from export.models.googlenet import GoogLeNet
from export.models.pooling import pool_to_grid
from export.models.vgg import VGG
from export.pytorch.graph import write_graph
from service.artifact.manifest import TensorSpec
from tests.support.networks import build_meta, count_parameters
from tests.support.torchvision_form import torchvision_state_dicts

# As published: torchvision's model pages, and Caffe's model zoo for the two towers of 2012.
PARAMETERS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "googlenet": 13_004_888,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}
ONE_OF_EACH = ["alexnet", "vgg11", "vgg11_bn", "googlenet", "resnet18", "resnet50", "densenet121"]


TORCHVISION = torchvision_state_dicts()


@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size_networks_have_the_published_number_of_parameters(name: str) -> None:
    assert count_parameters(build_meta(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_state_dicts_in_the_form_of_torchvision_load_strictly(name: str) -> None:
    network = build_meta(name)
    network.load_state_dict(TORCHVISION[name], strict=True, assign=True)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in TORCHVISION[name].items()}


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("alexnet", {"groups": 2}, 60_965_224),
        ("googlenet", {"auxiliary_heads": False}, 6_624_904),
    ],
)
def test_other_published_forms_have_their_number_of_parameters(
    name: str, options: dict[str, object], parameters: int
) -> None:
    assert count_parameters(build_meta(name, **options)) == parameters


def test_googlenet_has_fewer_parameters_than_alexnet_and_vgg() -> None:
    smallest = min(PARAMETERS[name] for name in PARAMETERS if name.startswith(("alex", "vgg")))
    assert count_parameters(build_meta("googlenet")) * 4 < smallest


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (75, 97)])
def test_any_input_size_gives_logits(name: str, height: int, width: int) -> None:
    network = build(name, width=12, num_classes=7, in_channels=1).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 1, height, width))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 65)])
def test_the_form_for_small_images_gives_logits(name: str, height: int, width: int) -> None:
    network = build(name, width=8, num_classes=7, in_channels=1, small_images=True).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 1, height, width))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_width_scales_every_layer(name: str) -> None:
    full, half = build_meta(name), build_meta(name, width=32)
    for (key, wide), narrow in zip(full.named_parameters(), half.parameters(), strict=True):
        outputs = (1000, 1000) if wide.shape[0] == 1000 else (wide.shape[0], wide.shape[0] // 2)
        assert (wide.shape[0], narrow.shape[0]) == outputs, key


def test_each_tower_of_the_two_gpus_sees_its_own_half() -> None:
    network = build("alexnet", groups=2, width=12, small_images=True).eval()
    second, images = network.get_submodule("features.3"), torch.rand(1, 12, 6, 6)
    with torch.inference_mode():
        before = second(images)
        images[:, 6:] = 0  # what the second GPU holds
        after = second(images)
    assert torch.equal(after[:, :16], before[:, :16])
    assert not torch.equal(after[:, 16:], before[:, 16:])


def test_only_the_paper_and_the_single_tower_can_be_built() -> None:
    with pytest.raises(FactoryError, match=r"groups must be one of \[1, 2\], not 3"):
        build("alexnet", groups=3)


@pytest.mark.parametrize("auxiliary_heads", [True, False])
def test_auxiliary_heads_answer_in_training_only(auxiliary_heads: bool) -> None:
    options = {"width": 8, "num_classes": 7, "small_images": True}
    network = build("googlenet", **options, auxiliary_heads=auxiliary_heads)
    images = torch.rand(2, 3, 32, 32)
    answer = network(images)
    if auxiliary_heads:
        assert [logits.shape for logits in answer] == [(2, 7)] * 3
        torch.stack(list(answer)).sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
    else:
        assert answer.shape == (2, 7)
    assert network.eval()(images).shape == (2, 7)


def test_a_dense_layer_sees_all_features_before_it() -> None:
    block = build("densenet121", width=8).get_submodule("features.denseblock2").eval()
    images = torch.rand(1, 16, 4, 4)
    with torch.inference_mode():
        answer = block(images)
    assert answer.shape == (1, 16 + 12 * 4, 4, 4)
    assert torch.equal(answer[:, :16], images)
    layers = [layer.get_submodule("norm1").num_features for layer in block.children()]
    assert layers == [16 + 4 * index for index in range(12)]


@pytest.mark.parametrize(("size", "side"), [(1, 7), (3, 3), (3, 7), (6, 4)])
def test_a_feature_map_is_averaged_over_the_cells_of_a_grid(size: int, side: int) -> None:
    x = torch.rand(2, 3, side, side + (side != size))
    torch.testing.assert_close(pool_to_grid(x, size), nn.AdaptiveAvgPool2d(size)(x))


OPERATORS = {"Conv", "Relu", "MaxPool", "ReduceMean", "Gemm"}


@pytest.mark.parametrize(
    ("construct", "operators"),
    [
        (partial(AlexNet, 8), {"Reshape"}),
        (partial(VGG, (1, 1, 1, 1, 1), True, 8), {"Reshape"}),
        (partial(GoogLeNet, 8), {"Concat"}),
        (partial(DenseNet, (2, 2), 8), {"Concat", "BatchNormalization", "AveragePool"}),
    ],
    ids=("alexnet", "vgg", "googlenet", "densenet"),
)
def test_the_graph_is_only_what_the_paper_draws(
    construct: Callable[..., nn.Module], operators: set[str], tmp_path: Path
) -> None:
    network = construct(num_classes=7)
    images = TensorSpec(name="images", dtype="float32", axes=("batch", 3, 224, 224))
    logits = TensorSpec(name="logits", dtype="float32", axes=("batch", 7))
    example = torch.zeros(2, *images.row_shape())
    write_graph(network.eval(), [example], tmp_path / "model.onnx", [images], [logits])
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert {node.op_type for node in graph.node} <= OPERATORS | operators
    assert not any("aux" in weights.name for weights in graph.initializer)


def test_unknown_network_suggests_the_nearest_name() -> None:
    with pytest.raises(FactoryError, match="did you mean 'resnet50'"):
        build("resnet05")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(FactoryError, match="widht"):
        build("resnet18", widht=4)


def test_registry_names_are_lower_case() -> None:
    assert all(name == name.lower() for name in BUILDERS)
