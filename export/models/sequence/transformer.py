"""Decoder-only Transformer: Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762).

It has only the decoder's self-attention (Liu et al., arXiv 1801.10198, section 4.2.3), and layer
normalisation before each sublayer instead of after it (Xiong et al., arXiv 2002.04745).
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from export.models.sequence.sequence import SequenceNetwork, State, StateTensor

__all__ = ["Attention", "Block", "Transformer", "positional_encoding"]

Positions = Literal["sinusoidal", "rotary", "none"]

NEVER = -1e9
"""Added to the score of a masked element; its weight is 0 after the softmax."""


def positional_encoding(context: int, width: int) -> Tensor:
    """Sines and cosines of the position, ``[context, width]`` (section 3.5)."""
    angles = position_angles(context, width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def position_angles(context: int, width: int) -> Tensor:
    """Angles that grow with the position at ``width / 2`` rates: ``[context, width / 2]``."""
    frequency = 10_000 ** (-torch.arange(0, width, 2) / width)
    return torch.arange(context)[:, None] * frequency


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of coordinates by the position's angles (Su et al., arXiv 2104.09864, sect. 3).

    The product of a rotated query and a rotated key depends on their distance and not on their
    positions.

    Args:
        x: queries or keys, ``[N, heads, T, head_size]``; coordinates i and ``head_size / 2 + i``
            are a pair.
        angles: ``[N, T, head_size / 2]``.
    """
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    first, second = x.chunk(2, dim=3)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=3)


class Past:
    """The KV cache of one layer, filled up to the position."""

    def __init__(self, keys: Tensor, values: Tensor, mask: Tensor) -> None:
        self.keys, self.values = keys, values  # [N, kv_heads, past, head_size]
        self.mask = mask  # [N, 1, 1, 1, past], 0 or NEVER


class Attention(nn.Module):
    """Causal multi-head attention (section 3.2).

    Groups of heads may share their keys and values (Ainslie et al., arXiv 2305.13245, section 2.2).
    The KV cache, and what each step reads of it, is smaller by the size of a group.

    ``x [N, T, width] -> [N, T, width]``, and the keys and values of x
    ``[N, kv_heads, T, head_size]``.
    """

    def __init__(self, width: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.num_kv_heads = num_kv_heads
        self.head_size = width // num_heads
        rows = width + 2 * num_kv_heads * self.head_size
        self.query_key_value = nn.Linear(width, rows)
        self.output = nn.Linear(width, width)

    def heads(self, x: Tensor) -> Tensor:
        """``[N, T, heads * head_size] -> [N, heads, T, head_size]``."""
        return x.unflatten(2, (-1, self.head_size)).transpose(1, 2)

    def forward(
        self, x: Tensor, past: Past | None, angles: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from each element to the past and to the elements up to itself.

        Queries and keys are rotated by ``angles [N, T, head_size / 2]`` if there are any.
        """
        shared = self.num_kv_heads * self.head_size
        sizes = [x.shape[2], shared, shared]
        query, keys, values = map(self.heads, self.query_key_value(x).split(sizes, dim=2))
        if angles is not None:
            query, keys = rotate(query, angles), rotate(keys, angles)
        query = query.unflatten(1, (self.num_kv_heads, -1))  # [N, kv_heads, group, T, head_size]
        # A vector of equal numbers. ONNX Runtime would fold a scalar into the product, and its
        # product of a single row with a matrix is slower with one.
        query = query * x.new_full((self.head_size,), self.head_size**-0.5)
        time = torch.arange(x.shape[1], device=x.device)
        causal = torch.where(time <= time[:, None], 0.0, NEVER)  # [T, T]
        scores = query @ keys[:, :, None].transpose(3, 4) + causal
        if past is None:
            mixed = scores.softmax(-1) @ values[:, :, None]
        else:
            # Scores are concatenated and not keys and values, so that the cache is not copied.
            of_past = query @ past.keys[:, :, None].transpose(3, 4) + past.mask
            weights = torch.cat([of_past, scores], dim=4).softmax(-1)
            context = past.keys.shape[2]
            mixed = weights[..., :context] @ past.values[:, :, None]
            mixed = mixed + weights[..., context:] @ values[:, :, None]
        mixed = mixed.flatten(1, 2)  # [N, heads, T, head_size]
        return self.output(mixed.transpose(1, 2).flatten(2)), keys, values


class Block(nn.Module):
    """Attention and a position-wise perceptron (section 3.3), each added to its input."""

    def __init__(self, width: int, num_heads: int, num_kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, num_kv_heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, past: Past | None, angles: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``[N, T, width] -> [N, T, width]``, and the attention's keys and values."""
        mixed, keys, values = self.attention(self.norm1(x), past, angles)
        x = x + self.dropout(mixed)
        hidden = torch.relu(self.fc1(self.norm2(x)))
        return x + self.dropout(self.fc2(hidden)), keys, values


class Transformer(SequenceNetwork):
    """Blocks over embedded tokens; ``[N, T] -> [N, T, vocabulary_size]``.

    Its state is ``position [N]``, the number of tokens so far, and the KV cache of each layer
    ``[N, kv_heads, context, head_size]``, filled up to the position.

    Args:
        vocabulary_size: the number of tokens.
        width: length of a token's vector; a multiple of ``2 * num_heads``.
        num_layers: the number of blocks.
        num_heads: heads of each attention.
        context: the longest sequence.
        dropout: after each sublayer of a block, in training.
        num_kv_heads: heads of the keys and values, a divisor of ``num_heads``; 0: ``num_heads``.
        positions: how attention knows the order of the past. ``sinusoidal``: an encoding is added
            to the embedding, as in the paper; ``rotary``: queries and keys are rotated; ``none``:
            it does not know the order.
    """

    encoding: Tensor
    angles: Tensor

    def __init__(
        self,
        vocabulary_size: int,
        width: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        context: int = 256,
        dropout: float = 0.0,
        num_kv_heads: int = 0,
        positions: Positions = "sinusoidal",
    ) -> None:
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary_size, width)
        # `embed` scales this up to the size of the encoding; more would hide the positions.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.positions = positions
        encoding = positional_encoding(context, width)
        self.register_buffer("encoding", encoding, persistent=False)
        angles = position_angles(context, width // num_heads)
        self.register_buffer("angles", angles, persistent=False)
        self.dropout = nn.Dropout(dropout)
        kv_heads = num_kv_heads or num_heads
        self.blocks = nn.ModuleList(
            Block(width, num_heads, kv_heads, dropout) for _ in range(num_layers)
        )
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, vocabulary_size)
        cache = (kv_heads, context, width // num_heads)
        self.state_tensors = (
            StateTensor("position", (), torch.int64),
            *(
                StateTensor(f"{kind}_{layer}", cache, grows_along=1)
                for layer in range(num_layers)
                for kind in ("keys", "values")
            ),
        )

    def embed(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens ``[N, T]`` from each sequence's ``position [N]`` on.

        Returns:
            ``[N, T, width]``, and the angles of the positions, ``[N, T, head_size / 2]``, for
            rotary positions.
        """
        time = position[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        time = time.clamp(max=self.context - 1)  # positions beyond are padding, which is masked
        x = self.embedding(tokens)
        if self.positions == "sinusoidal":  # section 3.4: the embedding is scaled up
            x = x * math.sqrt(self.embedding.embedding_dim) + self.encoding[time]
        return self.dropout(x), self.angles[time] if self.positions == "rotary" else None

    def graph_step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """``step``, with only the new keys and values ``[N, kv_heads, T, head_size]`` as the state.

        Rows may be at different positions. Cache entries at the position and beyond are masked, if
        they are finite; so a cache need not be longer than the largest position.
        """
        position, *caches = state
        x, angles = self.embed(inputs, position)
        is_filled = torch.arange(caches[0].shape[2], device=x.device) < position[:, None]
        mask = torch.where(is_filled, 0.0, NEVER)[:, None, None, None]
        new: list[Tensor] = []
        for block, keys, values in zip(self.blocks, caches[::2], caches[1::2], strict=True):
            x, *entries = block(x, Past(keys, values, mask), angles)
            new += entries
        return self.fc(self.norm(x)), tuple(new)

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run T tokens.

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
        x, angles = self.embed(inputs, inputs.new_zeros(len(inputs)))
        for block in self.blocks:
            x, _, _ = block(x, None, angles)
        return self.fc(self.norm(x))
