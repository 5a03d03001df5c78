"""Fully convolutional networks: convolutionalised classifiers, upsampling, torchvision's form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from export.errors import FactoryError
from export.models import build
from export.models.alexnet import AlexNet
from export.models.segmentation.fcn import FCN, refine, upsampling
from export.models.segmentation.fcn_resnet import FCNResNet
from export.models.segmentation.fully_convolutional import Features, convolutionalise
from export.models.vgg import VGG
from tests.support.networks import build_meta, count_parameters
from tests.support.torchvision_form import torchvision_state_dicts

CLASSIFIERS = ["alexnet", "vgg11", "vgg11_bn", "googlenet", "resnet18", "resnet50", "densenet121"]
CROP_PX = 224


def randomise_scores(network: FCN) -> None:
    for layer in (network.score, *network.skip_scores):
        nn.init.normal_(layer.get_parameter("weight"), std=0.1)


@pytest.fixture(scope="module")
def vgg() -> VGG:
    torch.manual_seed(0)
    network = build("vgg11", width=4, num_classes=5).eval()
    assert isinstance(network, VGG)
    return network


@pytest.fixture(scope="module")
def fcn8s() -> FCN:
    return FCN(build("resnet18", width=2), num_classes=3, finest=8).eval()


@given(
    channels=st.integers(1, 4),
    size=st.integers(1, 5),
    more=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
@settings(max_examples=30, deadline=None)
def test_a_convolutionalised_head_answers_for_every_window_as_the_head_does(
    channels: int, size: int, more: tuple[int, int]
) -> None:
    head = nn.Sequential(
        nn.Linear(channels * size**2, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)
    ).eval()
    features = torch.randn(2, channels, size + more[0], size + more[1])
    with torch.inference_mode():
        answers = convolutionalise(head, channels)(features)
        assert answers.shape == (2, 3, more[0] + 1, more[1] + 1)
        for top in range(more[0] + 1):
            for left in range(more[1] + 1):
                window = features[:, :, top : top + size, left : left + size]
                torch.testing.assert_close(answers[:, :, top, left], head(window.flatten(1)))


@pytest.mark.parametrize(("name", "channels"), [("vgg11", 32), ("alexnet", 16)])
def test_a_convolutionalised_classifier_gives_the_same_answer_for_one_crop(
    name: str, channels: int
) -> None:
    classifier = build(name, width=4, num_classes=5).eval()
    assert isinstance(classifier, VGG | AlexNet)
    convolutional = nn.Sequential(
        classifier.features, convolutionalise(classifier.classifier, channels)
    )
    crop = torch.randn(2, 3, CROP_PX, CROP_PX)
    with torch.inference_mode():
        expected, actual = classifier(crop), convolutional(crop)
    assert actual.shape == (2, 5, 1, 1)
    torch.testing.assert_close(actual[:, :, 0, 0], expected)
    assert count_parameters(convolutional) == count_parameters(classifier)


@given(height=st.integers(CROP_PX, 320), width=st.integers(CROP_PX, 320))
@settings(max_examples=5, deadline=None)
def test_a_convolutionalised_classifier_takes_any_larger_image(
    vgg: VGG, height: int, width: int
) -> None:
    convolutional = nn.Sequential(vgg.features, convolutionalise(vgg.classifier, 32))
    with torch.inference_mode():
        answers = convolutional(torch.zeros(1, 3, height, width))
    assert answers.shape == (1, 5, height // 32 - 6, width // 32 - 6)


def test_a_head_of_other_channels_is_refused(vgg: VGG) -> None:
    with pytest.raises(ValueError, match="no square map of 30 channels"):
        convolutionalise(vgg.classifier, 30)


@given(
    factor=st.sampled_from([2, 8, 16, 32]),
    height=st.integers(2, 5),
    width=st.integers(2, 5),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=30, deadline=None)
def test_upsampling_starts_as_bilinear_interpolation(
    factor: int, height: int, width: int, seed: int
) -> None:
    layer = upsampling(3, factor, cells=height, wanted=factor * height)
    scores = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        enlarged = layer(scores)
    expected = functional.interpolate(scores, scale_factor=factor, mode="bilinear")
    assert enlarged.shape == expected.shape
    inner = (..., slice(factor // 2, -factor // 2), slice(factor // 2, -factor // 2))
    torch.testing.assert_close(enlarged[inner], expected[inner])


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("finest", [8, 16, 32])
def test_every_classifier_becomes_a_network_of_images_of_any_size(name: str, finest: int) -> None:
    network = build(f"fcn{finest}s", backbone=name, width=8, num_classes=5).eval()
    for size in [(64, 96), (65, 33), (97, 50)]:
        with torch.inference_mode():
            assert network(torch.randn(2, 3, *size)).shape == (2, 5, *size)


@given(height=st.integers(1, 100), width=st.integers(1, 100))
@settings(max_examples=25, deadline=None)
def test_logits_have_the_size_of_the_image(fcn8s: FCN, height: int, width: int) -> None:
    with torch.inference_mode():
        assert fcn8s(torch.zeros(1, 3, height, width)).shape == (1, 3, height, width)


def test_a_subject_is_scored_where_it_is() -> None:
    network = FCN(build("resnet18", width=8), num_classes=1, finest=32).eval()
    network.add_module("features", Brightness())  # of each cell of 32 px
    nn.init.ones_(network.score.weight)
    image = torch.zeros(1, 1, 150, 224)
    image[:, :, 64:96, 128:160] = 1
    with torch.inference_mode():
        logits = network(image)[0, 0]
    brightest = (logits == logits.max()).nonzero().tolist()
    assert brightest == [[79, 143], [79, 144], [80, 143], [80, 144]]


class Brightness(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x, x, functional.avg_pool2d(x, 32).expand(-1, 64, -1, -1)


@pytest.mark.parametrize(("coarse", "fine"), [(32, 16), (16, 8)])
def test_a_finer_network_starts_with_the_weights_of_the_coarser_one(coarse: int, fine: int) -> None:
    torch.manual_seed(0)
    trained = FCN(build("resnet18", width=4), num_classes=3, finest=coarse).eval()
    randomise_scores(trained)
    finer = FCN(build("resnet18", width=4), num_classes=3, finest=fine).eval()
    refine(trained, finer)
    images = torch.randn(2, 3, 128, 160)
    with torch.inference_mode():
        expected, actual = trained(images), finer(images)
    # Nearly the same: twice bilinear is not quite once bilinear.
    assert torch.stack([actual, expected]).flatten(1).corrcoef()[0, 1] > 0.99
    assert not finer.skip_scores[-1].get_parameter("weight").any()


def test_a_network_with_other_layers_is_not_refined() -> None:
    fine, coarse = (FCN(build("resnet18", width=4), 3, finest) for finest in (16, 8))
    with pytest.raises(ValueError, match=r"finer network has no skip_scores\.1\.weight"):
        refine(coarse, fine)


def test_a_fresh_network_scores_all_classes_the_same() -> None:
    network = FCN(build("resnet18", width=2), num_classes=3).eval()
    with torch.inference_mode():
        assert not network(torch.randn(1, 3, 64, 64)).any()


def test_what_cannot_be_cut_at_its_strides_is_refused() -> None:
    with pytest.raises(ValueError, match="without small_images"):
        Features(build("resnet18", width=2, small_images=True))
    with pytest.raises(ValueError, match="Linear is no classifier"):
        Features(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="finest must be one of"):
        FCN(build("resnet18", width=2), finest=4)
    with pytest.raises(FactoryError, match="did you mean 'resnet18'"):
        build("fcn8s", backbone="resnet81")


# Millions, table 1 of the paper.
@pytest.mark.parametrize(("name", "millions"), [("vgg16", 134), ("alexnet", 57), ("googlenet", 6)])
def test_full_size_networks_have_the_number_of_parameters_in_the_paper(
    name: str, millions: int
) -> None:
    assert round(count_parameters(build_meta("fcn32s", backbone=name)) / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "parameters"), [("fcn_resnet50", 35_322_218), ("fcn_resnet101", 54_314_346)]
)
def test_state_dicts_in_the_form_of_torchvision_load_strictly(name: str, parameters: int) -> None:
    network, published = build_meta(name), torchvision_state_dicts()[name]
    assert count_parameters(network) == parameters
    network.load_state_dict(published, strict=True, assign=True)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in published.items()}


def test_dilated_stages_keep_a_stride_of_8_and_the_dilations_of_torchvision() -> None:
    network = build("fcn_resnet50", width=2, num_classes=3).eval()
    assert isinstance(network, FCNResNet)
    x = torch.zeros(1, 3, 64, 96)
    with torch.inference_mode():
        for layer in network.backbone.values():
            x = layer(x)
    assert x.shape == (1, 64, 8, 12)
    dilations = [
        [
            layer.dilation[0]
            for name, layer in network.backbone[stage].named_modules()
            if isinstance(layer, nn.Conv2d) and name.endswith("conv2")
        ]
        for stage in ("layer3", "layer4")
    ]
    assert dilations == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]


@pytest.mark.parametrize("size", [(65, 97), (40, 33)])
def test_the_auxiliary_head_answers_in_training_only(size: tuple[int, int]) -> None:
    network, images = build("fcn_resnet50", width=2, num_classes=3), torch.randn(2, 3, *size)
    logits, auxiliary = network(images)
    assert logits.shape == auxiliary.shape == (2, 3, *size)
    with torch.inference_mode():
        assert network.eval()(images).shape == (2, 3, *size)
