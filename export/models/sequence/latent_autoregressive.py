"""Latent autoregressive models: a hidden state summarises the past, the prediction comes from it.

``h_t = g(h_{t-1}, x_t)`` and ``P(x_{t+1} | x_1 .. x_t) = P(x_{t+1} | h_t)``: Zhang et al., "Dive
into Deep Learning", section 9.1. Here g is the simplest that forgets: an exponentially fading
memory of features, the exponential trace memory of Mozer, "Neural Net Architectures for Temporal
Sequence Processing" (1993). Because g is linear in h, all time steps are computed at once.
"""

import torch
from torch import Tensor, nn

from export.models.sequence.sequence import SequenceNetwork, State, StateTensor, make_codec

__all__ = ["LatentAutoregressiveModel"]


class FadingMemory(nn.Module):
    """``h_t = decay * h_{t-1} + (1 - decay) * x_t``, with a learned decay for each trace.

    ``x [N, T, width], h [N, traces, width] -> [N, T, traces, width]``, h at each time step.
    """

    def __init__(self, traces: int) -> None:
        super().__init__()
        # A trace with decay d remembers about 1 / (1 - d) steps: from one step to 2 ** 6.
        steps = 2 ** torch.linspace(0.5, 6, traces)
        self.decay_logit = nn.Parameter(torch.logit(1 - 1 / steps))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """The memory after each time step."""
        decay = torch.sigmoid(self.decay_logit)[:, None]
        time = torch.arange(x.shape[1], device=x.device)
        age = time[:, None] - time  # [T, T]: the steps from s to t
        weights = (age >= 0) * decay[..., None] ** age.clamp(min=0)  # [traces, T, T]
        read = (1 - decay[..., None]) * weights @ x[:, None]  # [N, traces, T, width]
        kept = decay ** (time + 1)  # [traces, T]
        return (read + kept[..., None] * h[:, :, None]).transpose(1, 2)


class LatentAutoregressiveModel(SequenceNetwork):
    """Features of each element fade in memory at several rates; a perceptron reads the memory.

    Args:
        traces: rates of fading.
        features: length of an element's feature vector.
        hidden_size: units of the layer that reads the memory.
        vocabulary_size: of tokens; 0 for values.
        series: of values; 0 for tokens.
        dropout: of hidden units, in training.
    """

    def __init__(
        self,
        traces: int,
        features: int,
        hidden_size: int,
        vocabulary_size: int = 0,
        series: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.codec = make_codec(vocabulary_size, series, features, hidden_size)
        self.features = nn.Linear(self.codec.width, features)
        self.memory = FadingMemory(traces)
        self.readout = nn.Linear((traces + 1) * features, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.state_tensors = (StateTensor("memory", (traces, features)),)

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Let the memory fade, add each element, and predict from the memory."""
        x = torch.tanh(self.features(self.codec.encode(inputs)))
        memory = self.memory(x, *state)  # [N, T, traces, features]
        latent = torch.cat([memory.flatten(2), x], dim=2)
        hidden = torch.relu(self.readout(latent))
        return self.codec.decode(self.dropout(hidden), inputs), (memory[:, -1],)
