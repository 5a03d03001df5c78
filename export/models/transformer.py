"""Decoder-only Transformer: Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762).

Only the decoder's self-attention is left (Liu et al., arXiv 1801.10198, section 4.2.3), and layer
normalisation comes before each part instead of behind it (Xiong et al., arXiv 2002.04745).
"""

import math

import torch
from torch import Tensor, nn

from export.models.sequence import SequenceNetwork, State, StateTensor

__all__ = ["Attention", "Block", "Transformer", "positional_encoding"]

NEVER = -1e9
"""Added to the score of what must not be seen; its weight is 0 after the softmax."""


def positional_encoding(context: int, width: int) -> Tensor:
    """Sines and cosines of the position, ``[context, width]`` (section 3.5)."""
    position = torch.arange(context)[:, None]
    frequency = 10_000 ** (-torch.arange(0, width, 2) / width)
    angles = position * frequency
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Past:
    """What earlier runs left of one layer: keys and values, of which only some are filled."""

    def __init__(self, keys: Tensor, values: Tensor, mask: Tensor) -> None:
        self.keys, self.values = keys, values  # [N, heads, context, head_size]
        self.mask = mask  # [N, 1, 1, context], 0 or NEVER


class Attention(nn.Module):
    """Causal multi-head attention (section 3.2).

    ``x [N, T, width] -> [N, T, width]``, and the keys and values of x
    ``[N, heads, T, head_size]``.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def heads(self, x: Tensor) -> Tensor:
        """``[N, T, width] -> [N, heads, T, head_size]``."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mix what the past and the elements up to each one offer, by how well they match."""
        query, keys, values = map(self.heads, self.query_key_value(x).chunk(3, dim=2))
        query = query / math.sqrt(query.shape[-1])
        time = torch.arange(x.shape[1], device=x.device)
        causal = torch.where(time <= time[:, None], 0.0, NEVER)  # [T, T]
        scores = query @ keys.transpose(2, 3) + causal
        if past is None:
            mixed = scores.softmax(-1) @ values
        else:
            # Scores are joined, not keys and values: the cache is read where it lies.
            of_past = query @ past.keys.transpose(2, 3) + past.mask
            weights = torch.cat([of_past, scores], dim=3).softmax(-1)
            context = past.keys.shape[2]
            mixed = weights[..., :context] @ past.values + weights[..., context:] @ values
        return self.output(mixed.transpose(1, 2).flatten(2)), keys, values


class Block(nn.Module):
    """Attention and a position-wise perceptron (section 3.3), each added to its input."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Tensor, Tensor]:
        """``[N, T, width] -> [N, T, width]``, and the attention's keys and values."""
        mixed, keys, values = self.attention(self.norm1(x), past)
        x = x + self.dropout(mixed)
        hidden = torch.relu(self.fc1(self.norm2(x)))
        return x + self.dropout(self.fc2(hidden)), keys, values


class Transformer(SequenceNetwork):
    """Blocks over embedded tokens; ``[N, T] -> [N, T, vocabulary_size]``.

    Its state is ``position [N]``, how many tokens were read, and the keys and values of each layer
    ``[N, heads, context, head_size]``, filled up to the position.

    Args:
        vocabulary_size: how many tokens there are.
        width: length of a token's vector; a multiple of ``2 * num_heads``.
        num_layers: blocks.
        num_heads: heads of each attention.
        context: the longest sequence.
        dropout: behind each part of a block, in training.
        encode_positions: without it, attention cannot tell in which order the past came.
    """

    encoding: Tensor

    def __init__(
        self,
        vocabulary_size: int,
        width: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        context: int = 256,
        dropout: float = 0.0,
        encode_positions: bool = True,
    ) -> None:
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary_size, width)
        # Scaled up in `embed`, it is of the encoding's size; larger, it would drown positions.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        encoding = positional_encoding(context, width) * encode_positions
        self.register_buffer("encoding", encoding, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(num_layers))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, vocabulary_size)
        cache = (num_heads, context, width // num_heads)
        self.state_tensors = (
            StateTensor("position", (), torch.int64),
            *(
                StateTensor(f"{kind}_{layer}", cache, grows_along=1)
                for layer in range(num_layers)
                for kind in ("keys", "values")
            ),
        )

    def embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """``[N, T]`` from each sequence's ``position [N]`` on ``-> [N, T, width]``."""
        time = position[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        # section 3.4: the embedding is scaled up to the encoding
        scaled = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(scaled + self.encoding[time])

    def graph_step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """``step``, but of the state what is new: keys and values ``[N, heads, T, head_size]``.

        Rows may be at different positions. What a cache holds at the position and beyond is not
        seen, as long as it is finite.
        """
        position, *caches = state
        x = self.embed(inputs, position)
        is_filled = torch.arange(self.context, device=x.device) < position[:, None]
        mask = torch.where(is_filled, 0.0, NEVER)[:, None, None]
        new: list[Tensor] = []
        for block, keys, values in zip(self.blocks, caches[::2], caches[1::2], strict=True):
            x, *entries = block(x, Past(keys, values, mask))
            new += entries
        return self.fc(self.norm(x)), tuple(new)

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens.

        Raises:
            ValueError: a sequence would become longer than the context.
        """
        position, *caches = state
        steps = inputs.shape[1]
        if int(position.max()) + steps > self.context:
            raise ValueError(f"a sequence of more than {self.context} tokens")
        logits, new = self.graph_step(inputs, state)
        time = position[:, None, None, None] + torch.arange(steps, device=inputs.device)[:, None]
        written = (
            cache.scatter(2, time.expand_as(entry), entry)
            for cache, entry in zip(caches, new, strict=True)
        )
        return logits, (position + steps, *written)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits over whole sequences from their beginning: no cache is needed."""
        if inputs.shape[1] > self.context:
            raise ValueError(f"a sequence of more than {self.context} tokens")
        x = self.embed(inputs, inputs.new_zeros(len(inputs)))
        for block in self.blocks:
            x, _, _ = block(x, None)
        return self.fc(self.norm(x))
