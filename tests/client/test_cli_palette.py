"""Colours can be told apart: by how far they lie from each other in CIELAB (CIE 1976)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.demo_picture import STREET_COLORS
from sightline.cli.palette import PALETTE, color_of, ink_on

# Machado, Oliveira and Fernandes 2009, on linear light: no red cones, no green cones.
WITHOUT_RED = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
WITHOUT_GREEN = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
EVERYONE = (np.eye(3), WITHOUT_RED, WITHOUT_GREEN)
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = TO_XYZ.sum(axis=1)


def lab(colors: NDArray, cones: NDArray) -> NDArray:
    """``[N, 3]`` sRGB 0..255 -> ``[N, 3]`` L, a, b as seen with these cones."""
    levels = np.asarray(colors) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ cones.T).clip(0, 1) @ TO_XYZ.T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def smallest_distance(colors: NDArray, cones: NDArray) -> float:
    seen = lab(colors, cones)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return distances[np.triu_indices(len(seen), 1)].min()


def test_the_measure_knows_black_from_white_and_red_from_green():
    assert smallest_distance(np.array([(0, 0, 0), (255, 255, 255)]), np.eye(3)) == pytest.approx(
        100, abs=0.1
    )
    red_and_green = np.array([(178, 80, 0), (100, 120, 0)])
    distances = [smallest_distance(red_and_green, cones) for cones in EVERYONE]
    assert distances[0] > 2 * distances[2]


@pytest.mark.parametrize(("number", "bounds"), [(12, (26, 14, 10)), (24, (13, 8, 4))])
def test_the_colours_of_classes_can_be_told_apart(number, bounds):
    for cones, bound in zip(EVERYONE, bounds, strict=True):
        assert smallest_distance(np.array(PALETTE[:number]), cones) > bound


def test_the_colours_of_streets_can_be_told_apart_on_a_photo():
    blended = (np.array(list(STREET_COLORS.values())) + 110) / 2
    for cones, bound in zip(EVERYONE, (30, 14, 14), strict=True):
        assert smallest_distance(blended, cones) > bound


def test_lines_are_bright_enough_for_a_dark_photo():
    assert lab(np.array(PALETTE), np.eye(3))[:, 0].min() > 44


def test_every_class_has_a_colour_and_a_name_that_can_be_read_on_it():
    assert color_of(255) in PALETTE
    for color in PALETTE:
        light = lab(np.array([color, ink_on(color)]), np.eye(3))[:, 0]
        assert abs(light[0] - light[1]) > 40
