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
"""The mean length of scaled features; the constants below depend on it."""
SVM_COST = 1e-3
THING_WEIGHT = 2.0
"""The weight of a missed object, relative to background that is taken for one."""
BACKGROUND_IOU = 0.3
"""A region with at most this overlap with objects of a class is background for its machine. Other
regions that are no true box are not used (appendix B)."""
FIRST_BACKGROUND = 5000
MINING_ROUNDS = 4
REGRESSION_IOU = 0.5
"""The regression uses regions that overlap an object more than this (appendix C)."""
REGRESSION_PENALTY = 10.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RegionFeatures:
    """One image: its regions and their features."""

    regions: Floats
    """``[R, 4]`` in px, each with some area; the first M are the true boxes."""
    features: Floats
    """``[R, F]``."""
    targets: NDArray[np.int64]
    """``[M]``, classes of the true boxes."""

    def overlaps(self, label: int) -> tuple[NDArray[np.intp], Floats]:
        """The indices ``[K]`` of a class's boxes, and their overlap with regions ``[R, K]``."""
        places = np.flatnonzero(self.targets == label)
        regions = torch.from_numpy(self.regions)
        return places, box_iou(regions, regions[places]).numpy()


def fit_head(head: RegionSVM, images: Sequence[RegionFeatures], seed: int) -> None:
    """Fit the machines, the scaling of their scores and the regression, in place.

    Args:
        head: of the network that gave the features.
        images: the training images.
        seed: for the choice of the first background.

    Raises:
        ValueError: no image has an object of some class.
    """
    lengths = np.concatenate([np.linalg.norm(image.features, axis=1) for image in images])
    scale = FEATURE_NORM / float(lengths.mean())
    for label in range(head.svm.out_features):
        things, background = svm_examples(images, label, scale)
        if not len(things):
            raise ValueError(f"class {label} has no object in the training images")
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
    """Scaled features of the objects of a class ``[P, F]``, and of its background ``[Q, F]``."""
    things: list[Floats] = []
    background: list[Floats] = []
    for image in images:
        places, overlaps = image.overlaps(label)
        things.append(image.features[places] * scale)
        is_background = (overlaps < BACKGROUND_IOU).all(axis=1)
        background.append(image.features[is_background] * scale)
    return np.concatenate(things), np.concatenate(background)


def mine(things: Floats, background: Floats, rng: np.random.Generator) -> LinearSVC:
    """Fit a machine with hard negative mining.

    It begins with some of the background. Background within its margin or beyond is added, until
    there is almost nothing new.
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

    Only then can the machines' scores be compared between classes and with a threshold.
    """
    decisions = np.concatenate([things, background])[:, None]
    labels = np.repeat([1, 0], [len(things), len(background)])
    fitted = LogisticRegression(C=1e6).fit(decisions, labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def regression_examples(
    images: Sequence[RegionFeatures], label: int, scale: float
) -> tuple[Floats, Floats]:
    """Scaled features ``[P, F]`` of regions near a class's objects, and offsets ``[P, 4]``."""
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
