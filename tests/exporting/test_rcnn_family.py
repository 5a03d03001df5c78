"""R-CNN, SPPNet, Fast R-CNN and Faster R-CNN: their answers, their graphs, torchvision's form."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from export.models import build
from export.models.detection.box_coding import decode_boxes, encode_boxes
from export.models.detection.fast_rcnn import FastRCNN, head_loss
from export.models.detection.faster_rcnn import (
    FasterRCNN,
    faster_rcnn_resnet18,
    fasterrcnn_resnet50_fpn,
)
from export.models.detection.feature_pyramid import FeaturePyramid, FrozenBatchNorm2d
from export.models.detection.rcnn import RCNN, warp
from export.models.detection.region_proposals import RPNHead
from export.models.detection.region_svm import RegionSVM
from export.models.detection.regions import sample_regions
from export.models.detection.sppnet import SPPNet
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.graph import write_graph
from export.train.detection.fit_regions import (
    RegionFeatures,
    decide,
    fit_head,
    mine,
    platt,
    svm_examples,
)
from service.artifact.manifest import TensorSpec
from tests.support.torchvision_form import torchvision_state_dicts

HEIGHT, WIDTH, REGIONS, CLASSES = 64, 96, 10, 2


def small_networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    networks = {
        "rcnn": RCNN(CLASSES, width=2, crop_px=16),
        "sppnet": SPPNet(CLASSES, width=4, channels=4, levels=(2, 1), representation_size=8),
        "fast_rcnn": FastRCNN(CLASSES, width=4, channels=4, representation_size=8),
        "faster_rcnn": faster_rcnn_resnet18(
            CLASSES, 4, 4, 8, anchor_sizes_px=(16, 32), looked_at=60, proposals=REGIONS
        ),
    }
    for network in networks.values():  # scores that differ, as after training
        for name, parameter in network.named_parameters():
            if re.search(r"cls_logits|bbox_pred|cls_score|head\.(svm|regression)", name):
                nn.init.normal_(parameter, std=0.5)
        network.eval()
    return networks


NETWORKS = small_networks()


def inputs(batch: int) -> tuple[Tensor, Tensor]:
    """Normalised images and proposals, the last of which is an unused row."""
    generator = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, 3, HEIGHT, WIDTH, generator=generator)
    corners = torch.rand(batch, REGIONS, 2, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    proposals = torch.cat([corners.amin(2), corners.amax(2)], 2)
    proposals[:, -1] = 0
    return images, proposals


def detect(name: str, images: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
    network: Any = NETWORKS[name]
    rest = () if name == "faster_rcnn" else (proposals,)
    with torch.inference_mode():
        return network.detect(images, *rest)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_class_has_a_box_of_its_own_for_each_region(name: str) -> None:
    boxes, scores = detect(name, *inputs(3))
    assert boxes.shape == (3, REGIONS * CLASSES, 4)
    assert scores.shape == (3, REGIONS * CLASSES, CLASSES)
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    own = torch.arange(REGIONS * CLASSES) % CLASSES
    others = scores[:, torch.arange(REGIONS * CLASSES), 1 - own]
    assert not others.any()
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([WIDTH, HEIGHT] * 2)).all()


@pytest.mark.parametrize("name", ["rcnn", "sppnet", "fast_rcnn"])
def test_unused_rows_score_nothing_and_used_ones_do(name: str) -> None:
    boxes, scores = detect(name, *inputs(2))
    assert not scores[:, -CLASSES:].any()
    assert not boxes[:, -CLASSES:].any()
    assert (scores[:, :-CLASSES].sum(2) > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    images, proposals = inputs(3)
    together = detect(name, images, proposals)
    alone = detect(name, images[1:2], proposals[1:2])
    for one, of_many in zip(alone, together, strict=True):
        torch.testing.assert_close(one[0], of_many[1], rtol=1e-4, atol=1e-4)


class Detect(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        network = NETWORKS["faster_rcnn"]
        assert isinstance(network, FasterRCNN)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.detect(images)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    """Of the one that picks its regions; what the others have is in other tests, and they are all
    exported with the shipped weights."""
    path: Path = tmp_path_factory.mktemp("graph") / "faster.onnx"
    specs = [TensorSpec(name="images", dtype="float32", axes=("batch", 3, HEIGHT, WIDTH))]
    outputs = [
        TensorSpec(name=name, dtype="float32", axes=("batch", REGIONS * CLASSES, size))
        for name, size in (("boxes", 4), ("scores", CLASSES))
    ]
    write_graph(Detect(), inputs(2)[:1], path, specs, outputs)
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_gives_the_answers_of_pytorch(
    session: onnxruntime.InferenceSession, batch: int
) -> None:
    images, _ = inputs(batch)
    with torch.inference_mode():
        expected = Detect()(images)
    actual = session.run(None, {"images": images.numpy()})
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-3, atol=1e-3)


def test_a_warped_crop_is_the_region_and_a_little_around_it() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    image = torch.stack([x, y])[None]  # every pixel says where it is
    crop = warp(image, torch.tensor([[[20.0, 10.0, 60.0, 40.0]]]), 32)[0, 0]
    width, height = 40 / (1 - 32 / 227), 30 / (1 - 32 / 227)
    columns, rows = (torch.arange(32) + 0.5) / 32 * width, (torch.arange(32) + 0.5) / 32 * height
    torch.testing.assert_close(crop[0, 0], 40 - width / 2 + columns - 0.5)
    torch.testing.assert_close(crop[1, :, 0], 25 - height / 2 + rows - 0.5)


@pytest.mark.parametrize("name", ["fast_rcnn", "faster_rcnn"])
def test_a_few_steps_on_one_image_lower_the_loss(name: str) -> None:
    network = small_networks()[name].train()
    image = torch.zeros(2, 3, HEIGHT, WIDTH)
    boxes, targets = torch.tensor([[[16.0, 16.0, 40.0, 40.0]]]).expand(2, 1, 4), torch.ones(2, 1)
    image[:, :, 16:40, 16:40] = 1.0

    def loss() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        if isinstance(network, FasterRCNN):
            return network.loss(image, boxes, targets.long(), generator)
        assert isinstance(network, FastRCNN)
        drawn = [
            sample_regions(inputs(1)[1][0], each, target.long(), generator)
            for each, target in zip(boxes, targets, strict=True)
        ]
        logits, offsets = network(image, torch.stack([each.regions for each in drawn]))
        return head_loss(logits, offsets, drawn)

    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    before = float(loss().detach())
    for _ in range(20):
        optimizer.zero_grad()
        step = loss()
        step.backward()
        optimizer.step()
    assert float(loss().detach()) < 0.7 * before


def features_of_three_images() -> list[RegionFeatures]:
    """Two classes that two of the features tell apart, and boxes that the others betray."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(3):
        boxes = rng.uniform(0, 60, (8, 2)).astype(np.float32)
        boxes = np.concatenate([boxes, boxes + 20], axis=1)
        targets = np.arange(8) % 2
        near = boxes.repeat(4, axis=0) + rng.uniform(-3, 3, (32, 4)).astype(np.float32)
        far = np.tile(np.array([[300, 300, 330, 330]], np.float32), (60, 1))
        regions = np.concatenate([boxes, near, far])
        wanted = torch.from_numpy(np.concatenate([boxes, boxes.repeat(4, axis=0), far]))
        offsets = encode_boxes(wanted, torch.from_numpy(regions)).numpy()
        kind = np.zeros((100, 2), np.float32)
        kind[np.arange(40), np.concatenate([targets, targets.repeat(4)])] = 1
        noise = rng.normal(0, 0.05, (100, 2)).astype(np.float32)
        images.append(RegionFeatures(regions, np.hstack([kind + noise, offsets]), targets))
    return images


def test_fitted_machines_equal_those_of_scikit_learn_in_the_graph_too(tmp_path: Path) -> None:
    images = features_of_three_images()
    head = RegionSVM(6, CLASSES)
    fit_head(head, images, seed=0)
    regions, features = images[0].regions[None], images[0].features[None]
    names = (("features", 6), ("regions", 4))
    specs = [TensorSpec(name=n, dtype="float32", axes=("batch", 100, size)) for n, size in names]
    outputs = [
        TensorSpec(name=n, dtype="float32", axes=("batch", 200, size))
        for n, size in (("boxes", 4), ("scores", CLASSES))
    ]

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, features: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
            return self.head(features, regions, (400, 400))

    examples = [torch.zeros(2, 100, 6), torch.zeros(2, 100, 4)]
    write_graph(Head(), examples, tmp_path / "head.onnx", specs, outputs)
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    scores = np.asarray(session.run(None, {"features": features, "regions": regions})[1])
    scale = 20.0 / np.concatenate([np.linalg.norm(i.features, axis=1) for i in images]).mean()
    for label in range(CLASSES):
        things, background = svm_examples(images, label, scale)
        machine = mine(things, background, np.random.default_rng(0))
        decisions = machine.decision_function(features[0] * scale)
        with torch.inference_mode():
            ours = head.svm(torch.from_numpy(features[0]))[:, label].numpy()
        np.testing.assert_allclose(ours, decisions, rtol=1e-4, atol=1e-4)
        by_class = np.repeat([1, 0], [len(things), len(background)])
        both = np.concatenate([decide(machine, things), decide(machine, background)])[:, None]
        calibration = LogisticRegression(C=1e6).fit(both, by_class)
        probabilities = calibration.predict_proba(decisions[:, None])[:, 1]
        np.testing.assert_allclose(scores[0, label::2, label], probabilities, atol=1e-4)


def test_fitted_machines_know_their_class_and_move_boxes_to_it() -> None:
    images = features_of_three_images()
    head = RegionSVM(6, CLASSES)
    fit_head(head, images, seed=0)
    image = images[1]
    regions = torch.from_numpy(image.regions)
    with torch.inference_mode():
        claims = head.svm(torch.from_numpy(image.features)) > 0
        offsets = head.regression(torch.from_numpy(image.features)).unflatten(1, (CLASSES, 4))
    assert torch.equal(claims[:8].int().argmax(1), torch.from_numpy(image.targets))
    assert claims[:8].sum() == 8
    assert not claims[40:].any()
    near, truth = slice(8, 40), regions[:8].repeat_interleave(4, 0)
    own = offsets[near][torch.arange(32), torch.from_numpy(image.targets).repeat_interleave(4)]
    moved = decode_boxes(own, regions[near])
    assert (moved - truth).abs().mean() < 0.3 * (regions[near] - truth).abs().mean()


def test_a_class_without_an_object_cannot_be_fitted() -> None:
    images = features_of_three_images()
    with pytest.raises(ValueError, match="class 2"):
        fit_head(RegionSVM(6, 3), images, seed=0)


def test_mining_adds_the_background_that_is_hard() -> None:
    """Background that a machine of the first draw would claim is in the last machine's margin."""
    rng = np.random.default_rng(0)
    things = rng.normal((8, 0), 1, (50, 2)).astype(np.float32)
    easy = rng.normal((-8, 0), 1, (6000, 2)).astype(np.float32)
    hard = rng.normal((8, -8), 1, (20, 2)).astype(np.float32)
    machine = mine(things, np.concatenate([easy, hard]), np.random.default_rng(1))
    assert (decide(machine, hard) < decide(machine, things).min()).all()
    slope, _ = platt(decide(machine, things), decide(machine, hard))
    assert slope > 0


@pytest.fixture
def meta_fpn() -> FasterRCNN:
    with torch.device("meta"):
        return fasterrcnn_resnet50_fpn()


def test_faster_rcnn_of_torchvision_loads_strictly(meta_fpn: FasterRCNN) -> None:
    network, published = meta_fpn, torchvision_state_dicts()["fasterrcnn_resnet50_fpn"]
    assert sum(parameter.numel() for parameter in network.parameters()) == 41_755_286
    network.load_state_dict(published, strict=True, assign=True)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in published.items()}


def test_names_of_older_checkpoints_are_understood(tmp_path: Path) -> None:
    """The file that torchvision publishes was written by 0.3, with fewer containers."""
    pyramid = FeaturePyramid([4, 8], 2, outputs=2)
    head = RPNHead(2, anchors=3)
    state = {f"backbone.fpn.{key}": tensor for key, tensor in pyramid.state_dict().items()}
    state |= {f"rpn.head.{key}": tensor for key, tensor in head.state_dict().items()}
    old = {
        re.sub(r"(_blocks\.\d)\.0\.", r"\1.", key).replace("conv.0.0.", "conv."): tensor
        for key, tensor in state.items()
    }
    assert {"backbone.fpn.inner_blocks.1.weight", "rpn.head.conv.bias"} < old.keys()
    torch.save(old, tmp_path / "old.pth")
    assert read_checkpoint(tmp_path / "old.pth").state.keys() == state.keys()


def test_a_frozen_norm_equals_a_norm_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, eps=0.0).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)
    frozen = FrozenBatchNorm2d(3).train()
    state = {key: tensor for key, tensor in norm.state_dict().items() if "batches" not in key}
    frozen.load_state_dict(state)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(frozen(x), norm(x))
    assert not list(frozen.parameters())


def test_regions_are_pooled_from_the_map_of_their_size(meta_fpn: FasterRCNN) -> None:
    """By equation 1 of the paper on feature pyramids: 224 px from stride 16."""
    heads = meta_fpn.roi_heads
    sides = torch.tensor([10.0, 111.0, 113.0, 223.0, 225.0, 447.0, 449.0, 800.0])
    regions = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], 1)
    assert heads.levels(regions).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_builders_take_what_the_weights_describe() -> None:
    network = build("fasterrcnn_resnet50_fpn", num_classes=3, proposals=50)
    assert isinstance(network, FasterRCNN)
    assert network.rpn.rules.proposals == 50
    assert network.roi_heads.box_predictor.cls_score.out_features == 4
