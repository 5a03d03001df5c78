"""Claims on attention."""

import math
import time
from pathlib import Path
from statistics import median

import torch

from bench.claims.claim import Claim, Curve, draw_curves
from export.models.sequence.transformer import Attention, Transformer

LENGTHS = (128, 256, 512, 1024, 2048)
WIDTH, HEADS = 32, 4


def seconds_of(run: object, repeats: int = 7) -> float:
    """The median time of a call."""
    assert callable(run)
    run()
    times: list[float] = []
    for _ in range(repeats):
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return median(times)


def slope(x: list[float], y: list[float]) -> float:
    """The exponent p of ``y ~ x ** p``, by least squares on logarithms."""
    a, b = torch.tensor(x).log(), torch.tensor(y).log()
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / a.square().sum())


def quadratic(pictures: Path) -> Claim:
    """Time of an attention layer over sequence length."""
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS, num_kv_heads=HEADS).eval()
    seconds: list[float] = []
    with torch.inference_mode():
        for length in LENGTHS:
            x = torch.randn(1, length, WIDTH)
            seconds.append(seconds_of(lambda x=x: attention(x, None)))
    exponent = slope([float(length) for length in LENGTHS[1:]], seconds[1:])
    products = [HEADS * length**2 for length in LENGTHS]
    picture = draw_curves(
        pictures / "attention.png",
        [Curve("measured", LENGTHS, [1e3 * each for each in seconds])],
        title="One attention layer",
        x_label="N, elements in the sequence",
        y_label="milliseconds",
        log="xy",
    )
    return Claim(
        "attention",
        "Attention over N elements costs N squared",
        f"Measured exponent from {LENGTHS[1]} to {LENGTHS[-1]} elements: {exponent:.2f} (width"
        f" {WIDTH}, {HEADS} heads, one batch). The scores alone are {HEADS} x N x N numbers.",
        exponent > 1.6,
        ("N", "scores", "ms"),
        [
            (f"{length:,}", f"{count:,}", f"{1e3 * each:.2f}")
            for length, count, each in zip(LENGTHS, products, seconds, strict=True)
        ],
        picture,
    )


def at_once(length: int = 128) -> Claim:
    """All positions in one pass, equal to one after the other."""
    torch.manual_seed(0)
    network = Transformer(50, width=WIDTH, num_layers=2, num_heads=HEADS, context=length).eval()
    tokens = torch.randint(50, (1, length))

    def one_by_one() -> torch.Tensor:
        state, said = network.initial_state(1), []
        for position in range(length):
            logits, state = network.step(tokens[:, position : position + 1], state)
            said.append(logits)
        return torch.cat(said, dim=1)

    with torch.inference_mode():
        apart = float((network(tokens) - one_by_one()).abs().max())
        together = seconds_of(lambda: network(tokens), 3)
        apart_s = seconds_of(one_by_one, 3)
    return Claim(
        "at-once",
        "A Transformer computes all N positions at once, without recurrence",
        f"One pass over {length} elements gives the predictions of {length} single steps (largest"
        f" difference {apart:.0e}) in {apart_s / together:.0f} times less time"
        f" ({1e3 * together:.1f} against {1e3 * apart_s:.0f} ms).",
        apart < 1e-3 and together < apart_s,
    )


def order_blindness(encode_positions: bool) -> float:
    """How far the last prediction moves when the elements before it are reversed."""
    torch.manual_seed(0)
    # One block: in a second block, each element has seen its own past, which shows the order.
    network = Transformer(
        50,
        width=WIDTH,
        num_layers=1,
        num_heads=HEADS,
        positions="sinusoidal" if encode_positions else "none",
    ).eval()
    tokens = torch.randint(50, (8, 24))
    permuted = torch.cat((tokens[:, :-1].flip(1), tokens[:, -1:]), dim=1)
    with torch.inference_mode():
        return float((network(tokens)[:, -1] - network(permuted)[:, -1]).abs().max())


def positions() -> Claim:
    """With and without positional encoding."""
    blind, seeing = order_blindness(False), order_blindness(True)
    return Claim(
        "positions",
        "Without positional encoding attention does not know the order",
        f"When the past of the last element is reversed, its logits move by at most {blind:.0e}"
        f" without positional encoding and by {seeing:.0e} with it (one block, 24 elements).",
        blind < 1e-4 < seeing and not math.isnan(seeing),
    )
