"""Parsers of option values that are more than a word or a number."""

import json
from typing import Any

import typer


def numbers(text: str) -> tuple[float, ...]:
    """``"123.7,116.3,103.5"`` -> a tuple."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as err:
        raise typer.BadParameter(f"{text!r} is no list of numbers such as 124,116,104") from err


def size(text: str) -> tuple[int, int]:
    """``"224"`` or ``"480x640"`` (height x width) -> height and width in pixels."""
    try:
        sides = [int(part) for part in text.split("x")]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError as err:
        raise typer.BadParameter(f"{text!r} is no size such as 224 or 480x640") from err
    return height, width


def network_option(text: str) -> tuple[str, Any]:
    """``"groups=2"`` -> name and value; a value that is not JSON is a word."""
    name, separator, value = text.partition("=")
    if not (name.isidentifier() and separator):
        raise typer.BadParameter(f"{text!r} is no option such as groups=2")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def metric(text: str) -> tuple[str, float]:
    """``"top1=0.76"`` -> name and value."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as err:
        raise typer.BadParameter(f"{text!r} is no score such as top1=0.76") from err


def frozen_input(text: str) -> tuple[str, tuple[float, ...]]:
    """``"sr=16000"`` or ``"scale_factor=1,1"`` -> name and values."""
    name, _, values = text.partition("=")
    try:
        return name, tuple(float(value) for value in values.split(","))
    except ValueError as err:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE,VALUE...") from err


def lengths_of(text: str) -> tuple[int, ...]:
    """``"16000,32000"`` -> a tuple."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as err:
        raise typer.BadParameter(f"{text!r} is no list of lengths such as 16000,32000") from err


def state_pair(text: str) -> tuple[str, str]:
    """``"h=hn"`` -> input and output."""
    name, separator, output = text.partition("=")
    if not (separator and name and output):
        raise typer.BadParameter(f"{text!r} is not INPUT=OUTPUT")
    return name, output
