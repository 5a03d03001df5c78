"""Claims on recurrent networks."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bench.claims.claim import Claim, Curve, draw_curves, parameters
from export.errors import WeightsError
from export.models.sequence.gru import GRU
from export.models.sequence.lstm import LSTM
from export.models.sequence.recurrent import RecurrentLayers
from export.models.sequence.rnn import RNN
from export.pytorch.checkpoint import read_checkpoint
from export.pytorch.description import read_description, shipped_models

CELLS: dict[str, type[RecurrentLayers]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
HIDDEN = 64
DISTANCES = (1, 2, 4, 8, 16, 32, 64, 96)


def as_feed_forward(layers: RNN, x: Tensor) -> Tensor:
    """An RNN's last state, written as one deep network: a dense layer for each time step.

    Each has its own copy of the weights, which start equal; the layer at depth t reads the layer
    below and the t-th element.
    """
    weights = layers.weights(0)
    hidden = x.new_zeros(len(x), layers.hidden_size)
    for element in x.unbind(1):
        both = torch.cat((element, hidden), dim=1)
        matrix = torch.cat((weights.weight_ih, weights.weight_hh), dim=1)
        hidden = torch.tanh(functional.linear(both, matrix, weights.bias_ih + weights.bias_hh))
    return hidden


def unrolled(time: int = 12) -> Claim:
    """The same output and the same gradient, recurrent or unrolled."""
    torch.manual_seed(0)
    layers = RNN(8, 16).double()
    x = torch.randn(4, time, 8, dtype=torch.float64)
    outputs = layers(x)[0][:, -1], as_feed_forward(layers, x)
    weights = list(layers.parameters())
    gradients = [torch.autograd.grad(each.square().sum(), weights) for each in outputs]
    apart = float((outputs[0] - outputs[1]).detach().abs().max())
    gradient_apart = max(
        float((one - other).abs().max()) for one, other in zip(*gradients, strict=True)
    )
    return Claim(
        "unrolled",
        "Unrolled in time, a recurrent network is one deep feed-forward network",
        f"An RNN over {time} steps is compared with {time} dense layers that share its weights:"
        f" outputs differ by at most {apart:.0e}, gradients of all weights by"
        f" {gradient_apart:.0e} (float64).",
        max(apart, gradient_apart) < 1e-12,
    )


def gradient_norms(cell: type[RecurrentLayers], seeds: int = 8) -> list[float]:
    """Norm of d(last output) / d(element), for each of ``DISTANCES``, relative to the nearest."""
    norms = torch.zeros(len(DISTANCES), dtype=torch.float64)
    length = max(DISTANCES)
    for seed in range(seeds):
        torch.manual_seed(seed)
        layers = cell(HIDDEN, HIDDEN).double()
        if cell is LSTM:  # the forget gates start open, as they are usually set
            with torch.no_grad():
                layers.get_parameter("bias_hh_l0")[HIDDEN : 2 * HIDDEN] += 1
        x = torch.randn(1, length, HIDDEN, dtype=torch.float64, requires_grad=True)
        last = layers(x)[0][:, -1]
        (gradient,) = torch.autograd.grad(last, x, torch.randn_like(last))
        by_distance = gradient[0].norm(dim=1).flip(0)
        norms += by_distance[[distance - 1 for distance in DISTANCES]]
    return (norms / norms[0]).tolist()


def vanishing(pictures: Path) -> Claim:
    """How much of the gradient is left after a number of steps."""
    norms = {name: gradient_norms(cell) for name, cell in CELLS.items()}
    rows = [(name, *(f"{norm:.1e}" for norm in its)) for name, its in norms.items()]
    far = {name: its[DISTANCES.index(32)] for name, its in norms.items()}
    picture = draw_curves(
        pictures / "vanishing.png",
        [Curve(name, DISTANCES, its) for name, its in norms.items()],
        title="What is left of the gradient, going back in time",
        x_label="steps back",
        y_label="gradient norm, nearest step = 1",
        log="xy",
    )
    return Claim(
        "vanishing",
        "The gradient of an RNN vanishes over time; LSTM and GRU keep it longer",
        f"Fresh weights, {HIDDEN} units, mean of 8 seeds; the LSTM's forget bias starts at 1."
        f" After 32 steps an RNN has {far['RNN']:.0e} of the nearest step's gradient left, an LSTM"
        f" {far['LSTM']:.0e}, a GRU {far['GRU']:.0e}.",
        far["RNN"] < far["LSTM"] and far["RNN"] < far["GRU"],
        ("cell", *(f"{distance} back" for distance in DISTANCES)),
        rows,
        picture,
    )


def shipped_score(name: str, metric: str) -> float:
    """A shipped model's score, as its weights declare it.

    Raises:
        WeightsError: the model does not ship.
    """
    if name not in shipped_models():
        raise WeightsError(f"{name} does not ship yet; train it with `sightline train {name}`")
    description = read_description(read_checkpoint(shipped_models()[name]))
    assert description is not None
    return description.metrics[metric]


def gru_is_smaller() -> Claim:
    """Parameters at equal width, and the shipped models' scores."""
    counts = {name: parameters(cell(HIDDEN, HIDDEN)) for name, cell in CELLS.items()}
    metric = "bits_per_character"
    scores = {
        name: shipped_score(f"shakespeare-{name.lower()}", metric) for name in ("LSTM", "GRU")
    }
    ratio = counts["GRU"] / counts["LSTM"]
    return Claim(
        "gru",
        "GRU has two gates and fewer parameters than LSTM, and does about as well",
        f"At equal width {ratio:.0%} of the parameters. On tinyshakespeare's held-out tenth the"
        f" shipped models reach {scores['GRU']:.3f} (GRU) and {scores['LSTM']:.3f} (LSTM) bits a"
        " character.",
        ratio == 0.75 and scores["GRU"] < 1.05 * scores["LSTM"],
        ("cell", f"parameters, {HIDDEN} units"),
        [(name, f"{count:,}") for name, count in counts.items()],
    )
