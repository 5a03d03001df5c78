"""The registry of networks: names are the papers' usual lower-case ones, such as ``resnet50``."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from export.errors import FactoryError
from export.models import alexnet, densenet, googlenet, resnet, vgg
from export.models.detection import fast_rcnn, faster_rcnn, rcnn, sppnet, yolo, yolo_v1
from export.models.segmentation import fcn, fcn_resnet
from export.models.sequence import (
    autoregressive,
    gru,
    latent_autoregressive,
    lstm,
    markov,
    rnn,
    transformer,
)

Builder = Callable[..., nn.Module]


def fcn_on(
    finest: int, backbone: str = "vgg16", num_classes: int = 21, **options: Any
) -> nn.Module:
    """A fully convolutional network on a classifier of the registry, built with the options."""
    return fcn.FCN(build(backbone, **options), num_classes, finest)


BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        "alexnet": alexnet.AlexNet,
        "vgg11": vgg.vgg11,
        "vgg11_bn": vgg.vgg11_bn,
        "vgg13": vgg.vgg13,
        "vgg13_bn": vgg.vgg13_bn,
        "vgg16": vgg.vgg16,
        "vgg16_bn": vgg.vgg16_bn,
        "vgg19": vgg.vgg19,
        "vgg19_bn": vgg.vgg19_bn,
        "googlenet": googlenet.GoogLeNet,
        "resnet18": resnet.resnet18,
        "resnet34": resnet.resnet34,
        "resnet50": resnet.resnet50,
        "resnet101": resnet.resnet101,
        "resnet152": resnet.resnet152,
        "densenet40": densenet.densenet40,
        "densenet121": densenet.densenet121,
        "densenet161": densenet.densenet161,
        "densenet169": densenet.densenet169,
        "densenet201": densenet.densenet201,
        "fcn32s": partial(fcn_on, 32),
        "fcn16s": partial(fcn_on, 16),
        "fcn8s": partial(fcn_on, 8),
        "fcn_resnet50": fcn_resnet.fcn_resnet50,
        "fcn_resnet101": fcn_resnet.fcn_resnet101,
        "rcnn_resnet18": rcnn.RCNN,
        "sppnet_resnet18": sppnet.SPPNet,
        "fast_rcnn_resnet18": fast_rcnn.FastRCNN,
        "faster_rcnn_resnet18": faster_rcnn.faster_rcnn_resnet18,
        "fasterrcnn_resnet50_fpn": faster_rcnn.fasterrcnn_resnet50_fpn,
        "yolo_v1": yolo_v1.YoloV1,
        "yolo_v2": yolo.YoloV2,
        "yolo_v3": yolo.YoloV3,
        "markov": markov.MarkovModel,
        "binned_markov": markov.BinnedMarkovModel,
        "autoregressive": autoregressive.AutoregressiveModel,
        "latent_autoregressive": latent_autoregressive.LatentAutoregressiveModel,
        "rnn": rnn.rnn,
        "lstm": lstm.lstm,
        "gru": gru.gru,
        "transformer": transformer.Transformer,
    }
)


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: a key of ``BUILDERS``.
        options: the constructor's parameters, such as ``width`` and ``num_classes``.

    Raises:
        FactoryError: the network or an option is unknown.
    """
    if name not in BUILDERS:
        raise FactoryError(f"there is no network {name!r}{suggestion(name, BUILDERS)}")
    try:
        return BUILDERS[name](**options)
    except (TypeError, ValueError) as err:
        raise FactoryError(f"{name} cannot be built with {options}: {err}") from err


def suggestion(name: str, known: Mapping[str, object] | list[str]) -> str:
    """The end of an error message: the known name nearest to ``name``, or else all names."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(known)}"
