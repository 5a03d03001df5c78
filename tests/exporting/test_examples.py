import pytest
import skimage.data
import torch
from PIL import Image

from examples.efficientnet_lite0 import factory, same_padding
from export.artifact.preprocess import preprocess_image
from export.pytorch.heads.classification import Classifier


def test_efficientnet_lite0_names_the_subjects_of_photos() -> None:
    network = factory()
    assert network.preprocessing is not None
    assert len(set(network.labels)) == 1000
    classifier = Classifier(network.module, network.preprocessing).eval()
    answers: dict[str, tuple[str, float]] = {}
    for name in ("coffee", "chelsea", "rocket"):
        photo = Image.fromarray(getattr(skimage.data, name)())
        pixels = torch.from_numpy(preprocess_image(photo, network.preprocessing).copy())
        with torch.inference_mode():
            scores = classifier(pixels[None])[0]
        answers[name] = (network.labels[int(scores.argmax())], float(scores.max()))
    assert answers["coffee"][0] == "espresso"
    assert answers["coffee"][1] == pytest.approx(0.95, abs=0.02)
    assert answers["chelsea"][0] in {"tabby, tabby cat", "tiger cat", "Egyptian cat"}
    assert answers["rocket"][0] == "missile"


@pytest.mark.parametrize(
    ("size_px", "kernel_size", "stride", "expected"),
    [(224, 3, 2, (0, 1)), (112, 3, 1, (1, 1)), (56, 5, 2, (1, 2)), (7, 1, 1, (0, 0))],
)
def test_same_padding_equals_that_of_tensorflow(
    size_px: int, kernel_size: int, stride: int, expected: tuple[int, int]
) -> None:
    assert same_padding(size_px, kernel_size, stride) == expected
