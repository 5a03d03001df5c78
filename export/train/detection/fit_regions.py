"""Fits the machines of R-CNN and SPPNet to features that no longer change.

Girshick et al., "Rich feature hierarchies" (arXiv 1311.2524, section 2.3, appendices B and C);
Platt, "Probabilistic Outputs for Support Vector Machines" (1999).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from export.models.detection.box_coding import box_iou, encode_boxes
from export.models.detection.region_svm import RegionSVM

FEATURE_NORM = 20.0
"""The mean length that features are scaled to; the constants below belong to it."""
SVM_COST = 1e-3
THING_WEIGHT = 2.0
"""A missed thing costs that much more than background that is taken for one."""
BACKGROUND_IOU = 0.3
"""A region that overlaps no thing of the class more than that is background to its machine. What
lies between that and a true box teaches it nothing (appendix B)."""
FIRST_BACKGROUND = 5000
MINING_ROUNDS = 4
REGRESSION_IOU = 0.5
"""Regions that overlap a thing more than that teach how to move a box (appendix C)."""
REGRESSION_PENALTY = 10.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RegionFeatures:
    """One image: its regions, and what the network says of them."""

    regions: Floats
    """``[R, 4]`` in px, all of some area; the first M are the true boxes."""
    features: Floats
    """``[R, F]``."""
    targets: NDArray[np.int64]
    """``[M]``, classes of the true boxes."""

    def overlaps(self, label: int) -> tuple[NDArray[np.intp], Floats]:
        """The places ``[K]`` of the true boxes of a class, and ``[R, K]`` how regions overlap."""
        places = np.flatnonzero(self.targets == label)
        regions = torch.from_numpy(self.regions)
        return places, box_iou(regions, regions[places]).numpy()


def fit_head(head: RegionSVM, images: Sequence[RegionFeatures], seed: int) -> None:
    """Fit the machines, the scaling of their scores and the regression, in place.

    Args:
        head: of the network that gave the features.
        images: the training images.
        seed: draws the first background.

    Raises:
        ValueError: a class has no thing in any of the images.
    """
    lengths = np.concatenate([np.linalg.norm(image.features, axis=1) for image in images])
    scale = FEATURE_NORM / float(lengths.mean())
    for label in range(head.svm.out_features):
        things, background = svm_examples(images, label, scale)
        if not len(things):
            raise ValueError(f"class {label} has no thing in the training images")
        machine = mine(things, background, np.random.default_rng(seed))
        slope, shift = platt(decide(machine, things), decide(machine, background))
        ridge = Ridge(alpha=REGRESSION_PENALTY).fit(*regression_examples(images, label, scale))
        rows = slice(4 * label, 4 * label + 4)
        with torch.no_grad():
            head.svm.weight[label] = torch.tensor(machine.coef_.ravel() * scale)
            head.svm.bias[label] = torch.tensor(machine.intercept_).squeeze()
            head.slope[label], head.shift[label] = slope, shift
            head.regression.weight[rows] = torch.tensor(ridge.coef_ * scale)
            head.regression.bias[rows] = torch.tensor(ridge.intercept_)


def svm_examples(
    images: Sequence[RegionFeatures], label: int, scale: float
) -> tuple[Floats, Floats]:
    """Scaled features of the things of a class ``[P, F]``, and of its background ``[Q, F]``."""
    things: list[Floats] = []
    background: list[Floats] = []
    for image in images:
        places, overlaps = image.overlaps(label)
        things.append(image.features[places] * scale)
        is_background = (overlaps < BACKGROUND_IOU).all(axis=1)
        background.append(image.features[is_background] * scale)
    return np.concatenate(things), np.concatenate(background)


def mine(things: Floats, background: Floats, rng: np.random.Generator) -> LinearSVC:
    """A machine that has seen all background that it would get wrong (hard negative mining).

    It begins with some of the background. What then lies within its margin, or beyond, joins, until
    there is next to nothing new.
    """
    is_used = np.zeros(len(background), bool)
    is_used[rng.permutation(len(background))[:FIRST_BACKGROUND]] = True
    machine = LinearSVC(C=SVM_COST, class_weight={0: 1.0, 1: THING_WEIGHT}, random_state=0)
    for _ in range(MINING_ROUNDS):
        examples = np.concatenate([things, background[is_used]])
        labels = np.repeat([1, 0], [len(things), int(is_used.sum())])
        machine.fit(examples, labels)
        is_new = (decide(machine, background) > -1) & ~is_used
        if is_new.sum() <= 0.01 * is_used.sum():
            break
        is_used |= is_new
    return machine


def decide(machine: LinearSVC, features: Floats) -> NDArray[np.float64]:
    """Decision values ``[P]``."""
    return np.asarray(machine.decision_function(features))


def platt(things: NDArray[np.float64], background: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and shift that turn decision values into probabilities (Platt 1999).

    Without them the machines' scores could not be compared over classes, nor with a threshold.
    """
    decisions = np.concatenate([things, background])[:, None]
    labels = np.repeat([1, 0], [len(things), len(background)])
    fitted = LogisticRegression(C=1e6).fit(decisions, labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def regression_examples(
    images: Sequence[RegionFeatures], label: int, scale: float
) -> tuple[Floats, Floats]:
    """Scaled features ``[P, F]`` of regions near a class's things, and their offsets ``[P, 4]``."""
    features: list[Floats] = []
    offsets: list[Floats] = []
    for image in images:
        places, overlaps = image.overlaps(label)
        if not len(places):
            continue
        is_near = overlaps.max(axis=1) > REGRESSION_IOU
        boxes = image.regions[places[overlaps[is_near].argmax(axis=1)]]
        near = torch.from_numpy(image.regions[is_near])
        features.append(image.features[is_near] * scale)
        offsets.append(encode_boxes(torch.from_numpy(boxes), near).numpy())
    return np.concatenate(features), np.concatenate(offsets)
