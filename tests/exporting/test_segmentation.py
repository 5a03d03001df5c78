"""Segmentation: the deployment module, the score, CamVid, and its recipes."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from export.artifact import parity
from export.artifact.parity import open_session, run_session
from export.artifact.spec import Origin
from export.errors import DataError, GraphError, LabelsError
from export.models import build
from export.models.resnet import BasicBlock, ResNet
from export.models.segmentation.fcn import FCN
from export.models.segmentation.fcn_resnet import FCNResNet
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import read_description, shipped_models
from export.pytorch.heads import segmentation
from export.pytorch.heads.segmentation import Segmenter
from export.pytorch.network import ArtifactOptions, Network
from export.pytorch.resolve import NetworkSource, export_network, resolve
from export.train.data.camvid import CAMVID_FILE, CAMVID_LABELS, UNLABELLED, read_camvid
from export.train.normalisation import normalise
from export.train.registry import RECIPES
from export.train.segmentation.camvid_fcn import NETWORKS, initial_network
from export.train.segmentation.score import confusion, score_of
from export.train.segmentation.task import (
    RARITY_EXPONENT,
    MaskedImages,
    Views,
    class_weights,
    random_view,
    training_task,
)
from service.artifact.manifest import ImagePreprocessing, Task, read_manifest
from service.artifact.sections import SegmentationSection
from service.devices import Device
from service.worker.golden import replay_golden
from service.worker.session import ModelSession, SessionOptions

LABELS = ("sky", "road", "car")
SMALL = ImagePreprocessing(
    height=48, width=64, fit="stretch", mean=(105.0, 108.0, 110.0), std=(78.0, 79.0, 78.0)
)
COLOURS = ((128, 128, 128), (128, 64, 128), (64, 0, 128))


def network_of(module: nn.Module) -> Network:
    section = SegmentationSection(colours=COLOURS)
    return Network(
        module, SMALL, LABELS, "fcn8s", Origin(source="a test"), Task.SEGMENTATION, section
    )


def random_fcn() -> nn.Module:
    torch.manual_seed(0)
    module = FCN(ResNet(BasicBlock, (1, 1, 1, 1), width=4), len(LABELS), finest=8)
    for layer in (module.score, *module.skip_scores):
        nn.init.normal_(layer.get_parameter("weight"), std=0.1)
    return module.eval()


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "SIZES_PX", ((33, 45),))


def test_the_graph_gives_the_most_probable_class_and_its_probability() -> None:
    module = random_fcn()
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        mask, confidence, scores = Segmenter(module, SMALL)(torch.from_numpy(images))
        pixels = (images - np.array(SMALL.mean)) / np.array(SMALL.std)
        logits = module(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    probabilities = logits.softmax(1)
    assert (mask.dtype, confidence.dtype) == (torch.uint8, torch.uint8)
    assert (mask == logits.argmax(1)).float().mean() > 0.999
    torch.testing.assert_close(
        confidence.float(), 255 * probabilities.amax(1), atol=0.51, rtol=0, check_dtype=False
    )
    torch.testing.assert_close(scores.float(), 255 * probabilities, atol=0.51, rtol=0)


@pytest.mark.usefixtures("small_buckets")
@pytest.mark.parametrize("name", ["fcn8s", "fcn_resnet"])
def test_an_artifact_takes_images_of_any_size(name: str, tmp_path: Path) -> None:
    module = random_fcn() if name == "fcn8s" else FCNResNet((1, 1, 1, 1), 4, len(LABELS)).eval()
    artifact = export_network(network_of(module), ArtifactOptions("streets"), tmp_path)
    manifest, _ = read_manifest(artifact)
    assert manifest.buckets == ({"height": 33, "width": 45}, {"height": 48, "width": 64})
    assert manifest.outputs[0].axes == ("batch", "height", "width")
    assert manifest.segmentation is not None
    assert manifest.segmentation.colours == COLOURS
    session = ModelSession(artifact, manifest, SessionOptions(Device.parse("cpu")))
    assert replay_golden(session, artifact).agreement > 0.999
    graph = open_session(artifact / "model.onnx")
    for height, width in [(32, 32), (50, 97), (1, 70)]:
        images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        found, *_ = run_session(graph, [images])
        with torch.inference_mode():
            expected, *_ = Segmenter(module, SMALL)(torch.from_numpy(images))
        assert (found == expected.numpy()).mean() > 0.99


def test_a_public_checkpoint_is_taken_for_a_segmenter(tmp_path: Path) -> None:
    weights, labels = tmp_path / "fcn.pth", tmp_path / "labels.txt"
    torch.save(build("fcn_resnet50", width=2, num_classes=3).state_dict(), weights)
    labels.write_text("\n".join(LABELS))
    network = resolve(NetworkSource("fcn_resnet50", weights, labels, options={"width": 2}))
    assert (network.task, network.labels) == (Task.SEGMENTATION, LABELS)
    assert network.preprocessing is not None
    assert network.preprocessing.fit == "pad"


@pytest.mark.parametrize(
    ("module", "error", "reason"),
    [
        (nn.Conv2d(3, 4, 1), LabelsError, "has 4 classes and there are 3 labels"),
        (nn.Conv2d(3, 3, 3), GraphError, r"not \[N, num_classes, height, width\]"),
        (nn.Flatten(), GraphError, r"not \[N, num_classes, height, width\]"),
    ],
)
def test_networks_that_do_not_give_logits_for_each_pixel_and_label_are_refused(
    module: nn.Module, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason):
        export_network(network_of(module), ArtifactOptions("streets"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_scores_of_a_confusion_counted_by_hand() -> None:
    masks = np.array([[0, 0, 1, 1, 2, 9]])
    found = np.array([[0, 1, 1, 1, 1, 1]])
    counts = confusion(masks, found, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    score = score_of(counts, ("a", "b", "c", "d"), images=1)
    assert score.iou_by_label["a"] == 1 / 2
    assert score.iou_by_label["b"] == 2 / 4
    assert score.iou_by_label["c"] == 0
    assert np.isnan(score.iou_by_label["d"])  # neither there nor found: it does not count
    assert score.miou == pytest.approx(1 / 3)
    assert score.pixel_accuracy == 3 / 5


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n), st.integers(0, n - 1)), min_size=1, max_size=60),
        )
    )
)
@settings(deadline=None)
def test_scores_equal_a_count_class_by_class(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    num_classes, pixels = case
    masks, found = (np.array(column, np.uint8) for column in zip(*pixels, strict=True))
    labelled = [(truth, answer) for truth, answer in pixels if truth < num_classes]
    if not labelled:
        return
    expected = []
    for each in range(num_classes):
        both = sum(truth == each and answer == each for truth, answer in labelled)
        either = sum(each in pair for pair in labelled)
        if either:
            expected.append(both / either)
    score = score_of(confusion(masks, found, num_classes), [str(i) for i in range(num_classes)], 1)
    assert score.miou == pytest.approx(np.mean(expected))
    assert score.pixel_accuracy == pytest.approx(np.mean([a == b for a, b in labelled]))


def test_rare_classes_weigh_more_and_the_median_one_weighs_1() -> None:
    masks = torch.tensor([[[0] * 8 + [1] * 4 + [2] * 2 + [5] * 2], [[0] * 16]], dtype=torch.uint8)
    weights = class_weights(masks, num_classes=4)  # shares: 24/32, 4/16, 2/16; none has class 3
    expected = [(0.25 / share) ** RARITY_EXPONENT for share in (0.75, 0.25, 0.125, 0.25)]
    torch.testing.assert_close(weights, torch.tensor(expected))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_view_shows_pixels_and_classes_of_the_same_place(seed: int) -> None:
    mask = torch.arange(12, dtype=torch.uint8).reshape(3, 4).repeat_interleave(40, 0)
    mask = mask.repeat_interleave(40, 1)
    image = (20 * mask).expand(3, -1, -1)
    views = Views(60, 80, smallest_scale=0.55, largest_scale=2, contrast=0)
    generator = torch.Generator().manual_seed(seed)
    pixels, classes = random_view(image, mask, views, generator)
    assert (pixels.shape, classes.shape) == ((3, 60, 80), (60, 80))
    assert set(classes.unique().tolist()) <= set(range(12))
    # Only where classes meet are the pixels between them mixed.
    assert ((pixels.float() / 20 - classes).abs() > 0.05).float().mean() < 0.2


def test_a_view_at_scale_1_is_a_window_or_its_mirror_image() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 20, 30), generator=generator, dtype=torch.uint8)
    mask = torch.randint(0, 12, (20, 30), generator=generator, dtype=torch.uint8)
    windows = mask.unfold(0, 10, 1).unfold(1, 16, 1)
    mirrored = 0
    for _ in range(24):
        pixels, classes = random_view(image, mask, Views(10, 16, 1, 1, 0), generator)
        is_plain = (windows == classes).flatten(2).all(2)
        is_mirrored = (windows == classes.flip(-1)).flatten(2).all(2)
        (place,) = (is_plain | is_mirrored).nonzero().tolist()
        window = image[:, place[0] : place[0] + 10, place[1] : place[1] + 16]
        assert torch.equal(pixels, window if is_plain.any() else window.flip(-1))
        mirrored += bool(is_mirrored.any())
    assert 4 < mirrored < 20


def test_unlabelled_pixels_are_not_learned() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    masks = torch.full((2, 32, 32), 3, dtype=torch.uint8)
    masks[:, :, :16] = 1
    task = training_task(MaskedImages(images, masks), Views(32, 32, 1, 1, 0), SMALL, 3, 2)
    (batch,) = task.batches(torch.Generator().manual_seed(0))
    network = nn.Conv2d(3, 3, 1)
    with torch.inference_mode():
        loss = float(task.loss(network, batch))
        logits = network(normalise(batch[0], SMALL))
    expected = -logits.log_softmax(1)[:, 1][batch[1] == 1].mean()
    assert loss == pytest.approx(float(expected), rel=1e-4)


def encoded(pixels: NDArray[np.uint8], form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def write_camvid(
    folder: Path, size: tuple[int, int] = (360, 480), highest: int = UNLABELLED
) -> None:
    """Frames in which each class has a colour."""
    rng = np.random.default_rng(0)
    rows = []
    for split in ["train"] * 3 + ["test"] * 2:
        coarse = rng.integers(0, highest, (9, 12), dtype=np.uint8)
        coarse[0, 0] = highest
        mask = np.kron(coarse, np.ones((size[0] // 9, size[1] // 12), np.uint8))
        image = np.stack([mask * 20, 255 - mask * 20, mask * 5], axis=-1)
        rows.append((split, encoded(image, "JPEG"), encoded(mask, "PNG")))
    columns = dict(zip(("split", "image", "mask"), zip(*rows, strict=True), strict=True))
    pyarrow.parquet.write_table(pa.table(columns), folder / CAMVID_FILE)


def test_a_split_is_read_as_images_and_masks(tmp_path: Path) -> None:
    write_camvid(tmp_path)
    test = read_camvid(tmp_path, "test")
    assert (test.images.shape, test.images.dtype) == ((2, 3, 360, 480), torch.uint8)
    assert (test.masks.shape, test.masks.dtype) == ((2, 360, 480), torch.uint8)
    assert test.masks[0, 0, 0] == UNLABELLED


def test_a_missing_file_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"made from the CamVid folder of github\.com"):
        read_camvid(tmp_path, "train")


def test_what_is_not_camvid_is_refused(tmp_path: Path) -> None:
    write_camvid(tmp_path, size=(90, 120))
    with pytest.raises(DataError, match=r"\(90, 120\)"):
        read_camvid(tmp_path, "train")
    write_camvid(tmp_path, highest=12)
    with pytest.raises(DataError, match="holds class 12"):
        read_camvid(tmp_path, "train")
    write_camvid(tmp_path)
    with pytest.raises(DataError, match="no rows of the split val"):
        read_camvid(tmp_path, "val")


def test_the_real_validation_split_is_camvid(data_dir: Path) -> None:
    split = read_camvid(data_dir, "val")
    assert len(split) == 101
    assert set(split.masks.unique().tolist()) == set(range(UNLABELLED + 1))


def test_a_recipe_trains_the_coarser_network_first_and_starts_from_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "SIZES_PX", ())
    monkeypatch.setattr(parity, "BATCH_SIZES", (2,))
    write_camvid(tmp_path)
    fcn16s = next(step for step in NETWORKS if step.finest == 16)
    network = initial_network(fcn16s, tmp_path, tmp_path / "out", epochs=1)
    coarser = tmp_path / "out" / "camvid-fcn32s"
    checkpoint = read_checkpoint(coarser / "camvid-fcn32s.safetensors")
    for key, learned in checkpoint.state.items():
        if key != "upsampling.weight":
            assert torch.equal(network.state_dict()[key], learned), key
    report = json.loads((coarser / "report.json").read_text())
    description = read_description(checkpoint)
    assert description is not None
    assert description.metrics == {
        name: report["score"][name] for name in ("miou", "pixel_accuracy")
    }
    card = (coarser / "camvid-fcn32s.md").read_text()
    assert f"**{report['score']['miou']:.4f}**" in card
    (artifact,) = (coarser / "artifact" / "camvid-fcn32s").iterdir()
    assert RECIPES["camvid-fcn32s"].score(artifact, tmp_path) == description.metrics


def shipped_metrics(name: str) -> dict[str, float]:
    description = read_description(read_checkpoint(shipped_models()[name]))
    assert description is not None
    assert description.labels == CAMVID_LABELS
    return description.metrics


def test_finer_skips_score_higher_and_fcn8s_reached_what_it_had_to() -> None:
    fcn32s, fcn16s, fcn8s = (shipped_metrics(f"camvid-fcn{finest}s") for finest in (32, 16, 8))
    assert fcn32s["miou"] < fcn16s["miou"] < fcn8s["miou"]
    assert fcn8s["miou"] >= 0.42
    assert fcn8s["pixel_accuracy"] >= 0.82
