import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from export.errors import FactoryError
from export.models import build
from export.models.sequence.autoregressive import AutoregressiveModel
from export.models.sequence.gru import GRU
from export.models.sequence.latent_autoregressive import FadingMemory
from export.models.sequence.lstm import LSTM
from export.models.sequence.markov import BinnedMarkovModel, MarkovModel
from export.models.sequence.recurrent import RecurrentLayers, RecurrentNetwork
from export.models.sequence.rnn import RNN
from export.models.sequence.sequence import SequenceNetwork, State
from export.models.sequence.transformer import (
    Attention,
    Positions,
    Transformer,
    position_angles,
    positional_encoding,
    rotate,
)

VOCABULARY = 11
LENGTH = 24
TOKENS = {"vocabulary_size": VOCABULARY}
VALUES = {"series": 2}
NETWORKS = {
    "markov": ("markov", TOKENS),
    "ar": ("autoregressive", {"order": 4, "hidden_size": 8, **TOKENS}),
    "ar-values": ("autoregressive", {"order": 3, "hidden_size": 8, **VALUES}),
    "latent-ar": (
        "latent_autoregressive",
        {"traces": 3, "features": 4, "hidden_size": 8, **TOKENS},
    ),
    "latent-ar-values": (
        "latent_autoregressive",
        {"traces": 3, "features": 4, "hidden_size": 8, **VALUES},
    ),
    "rnn": ("rnn", {"hidden_size": 8, "num_layers": 2, **TOKENS}),
    "lstm": ("lstm", {"hidden_size": 8, "num_layers": 2, **TOKENS}),
    "gru": ("gru", {"hidden_size": 8, **TOKENS}),
    "gru-values": ("gru", {"hidden_size": 8, "num_layers": 2, **VALUES}),
    "transformer": (
        "transformer",
        {"width": 16, "num_layers": 2, "num_heads": 2, "context": LENGTH, **TOKENS},
    ),
    "transformer-grouped": (
        "transformer",
        {
            "width": 24,
            "num_layers": 2,
            "num_heads": 6,
            "num_kv_heads": 2,
            "positions": "rotary",
            "context": LENGTH,
            **TOKENS,
        },
    ),
}


def make(name: str) -> SequenceNetwork:
    torch.manual_seed(0)
    architecture, options = NETWORKS[name]
    network = build(architecture, **options)
    assert isinstance(network, SequenceNetwork)
    if isinstance(network, MarkovModel):
        network.count(torch.randint(VOCABULARY, (200,)))
    if network.scaler is not None:
        network.scaler.fit(torch.tensor([[3.0, -10.0], [5.0, 30.0]]))
    return network.eval()


MADE = {name: make(name) for name in NETWORKS}
every_network = pytest.mark.parametrize("network", MADE.values(), ids=MADE.keys())


def elements(network: SequenceNetwork, batch: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if network.scaler is None:
        return torch.randint(VOCABULARY, (batch, length), generator=generator)
    return 10 * torch.randn(batch, length, 2, generator=generator)


def assert_same_state(actual: State, expected: State) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("ours", [RNN, LSTM, GRU])
def test_written_cells_equal_those_of_torch(ours: type[RecurrentLayers], num_layers: int) -> None:
    torch.manual_seed(1)
    layers = ours(5, 7, num_layers)
    theirs = ours.fused_type(5, 7, num_layers, batch_first=True)
    theirs.load_state_dict(layers.state_dict(), strict=True)
    x = torch.randn(3, 9, 5, requires_grad=True)
    state = tuple(torch.randn(3, num_layers, 7) for _ in ours.state_names)
    said, after = layers(x, state)
    of_torch = tuple(part.transpose(0, 1).contiguous() for part in state)
    is_pair = len(ours.state_names) == 2
    wanted, wanted_after = theirs(x, of_torch if is_pair else of_torch[0])
    wanted_after = wanted_after if is_pair else (wanted_after,)
    assert_close(said, wanted)
    assert_same_state(after, tuple(part.transpose(0, 1) for part in wanted_after))
    (gradient,) = torch.autograd.grad(said.square().sum(), x)
    (wanted_gradient,) = torch.autograd.grad(wanted.square().sum(), x)
    assert_close(gradient, wanted_gradient)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru-values"])
def test_fused_layers_share_the_parameters_and_give_the_same_answers(name: str) -> None:
    network = make(name)
    assert isinstance(network, RecurrentNetwork)
    assert isinstance(network.layers, RecurrentLayers)
    inputs, keys = elements(network, 3, 10), list(network.state_dict())
    expected, written = network(inputs), network.layers
    network.layers = written.fused()
    assert_close(network(inputs), expected)
    assert list(network.state_dict()) == keys
    assert all(
        ours is theirs
        for ours, theirs in zip(written.parameters(), network.layers.parameters(), strict=True)
    )


@every_network
@settings(deadline=None, max_examples=15)
@given(cuts=st.sets(st.integers(1, LENGTH - 1)), chunk=st.integers(1, LENGTH))
def test_a_sequence_may_be_cut_anywhere(
    network: SequenceNetwork, cuts: set[int], chunk: int
) -> None:
    inputs = elements(network, 2, LENGTH)
    whole, end = network.step(inputs, network.initial_state(2))
    assert_close(network(inputs), whole)
    state, parts = network.initial_state(2), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), LENGTH], strict=True):
        predictions, state = network.step(inputs[:, start:stop], state)
        parts.append(predictions)
    assert_close(torch.cat(parts, dim=1), whole)
    assert_same_state(state, end)
    last, filled = network.prefill(inputs, chunk=chunk)
    assert_close(last, whole[:, -1])
    assert_same_state(filled, end)


@every_network
@settings(deadline=None, max_examples=10)
@given(lengths=st.lists(st.integers(0, LENGTH - 1), min_size=2, max_size=4), mine=st.integers(0, 3))
def test_neighbours_at_other_positions_do_not_matter(
    network: SequenceNetwork, lengths: list[int], mine: int
) -> None:
    mine %= len(lengths)
    states, nexts = [], []
    for row, length in enumerate(lengths):
        inputs = elements(network, 1, length + 1, seed=row)
        state = network.initial_state(1)
        states.append(network.prefill(inputs[:, :-1])[1] if length else state)
        nexts.append(inputs[:, -1:])
    joined = tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    together, after = network.step(torch.cat(nexts), joined)
    alone, after_alone = network.step(nexts[mine], states[mine])
    assert_close(together[mine : mine + 1], alone)
    assert_same_state(tuple(part[mine : mine + 1] for part in after), after_alone)


@every_network
@settings(deadline=None, max_examples=10)
@given(changed=st.integers(0, LENGTH - 1))
def test_no_prediction_sees_the_future(network: SequenceNetwork, changed: int) -> None:
    inputs, others = elements(network, 1, LENGTH), elements(network, 1, LENGTH, seed=7)
    other = torch.cat([inputs[:, :changed], others[:, changed:]], dim=1)
    assert_close(network(other)[:, :changed], network(inputs)[:, :changed])


@every_network
def test_a_state_has_the_declared_shape(network: SequenceNetwork) -> None:
    initial = network.initial_state(3)
    _, after = network.step(elements(network, 3, 2), initial)
    for declared, before, now in zip(network.state_tensors, initial, after, strict=True):
        assert not before.any()
        assert before.shape == now.shape == (3, *declared.shape)
        assert before.dtype == now.dtype == declared.dtype


def test_a_markov_model_equals_its_counts() -> None:
    network = MarkovModel(3)
    network.count(torch.tensor([0, 1, 0, 1, 0, 2]), smoothing=0.5)
    expected = torch.tensor([[0.5, 2.5, 1.5], [2.5, 0.5, 0.5], [0.5, 0.5, 0.5]])
    expected = (expected / expected.sum(1, keepdim=True)).log()
    assert_close(network.table, expected)
    logits, _ = network.step(torch.tensor([[1, 0]]), ())
    assert_close(logits, expected[None, [1, 0]])


def test_a_binned_markov_model_expects_the_mean_move_from_a_bin() -> None:
    series = torch.tensor([0.0, 10.0] * 50)[:, None]
    network = BinnedMarkovModel(2)
    network.count(series, smoothing=1e-6)
    assert_close(
        network(torch.tensor([[[0.0], [10.0], [-1.0]]])), torch.tensor([[[10.0], [0.0], [9.0]]])
    )
    network.count(series, smoothing=1e-6, stickiness=1.0)
    assert_close(network(torch.tensor([[[0.0], [10.0]]])), torch.tensor([[[5.0], [5.0]]]))


@settings(deadline=None, max_examples=15)
@given(order=st.integers(2, 6), extra=st.integers(0, 5))
def test_an_autoregressive_model_of_order_n_sees_n_elements(order: int, extra: int) -> None:
    torch.manual_seed(0)
    network = AutoregressiveModel(order, 8, VOCABULARY)
    inputs = torch.randint(VOCABULARY, (1, order + extra + 1))
    before, last = inputs.clone(), inputs.clone()
    before[:, : extra + 1] = (before[:, : extra + 1] + 1) % VOCABULARY
    last[:, extra + 1] = (last[:, extra + 1] + 1) % VOCABULARY
    assert_close(network(before)[:, -1], network(inputs)[:, -1])
    assert not torch.allclose(network(last)[:, -1], network(inputs)[:, -1])


@settings(deadline=None, max_examples=15)
@given(steps=st.integers(1, 12), seed=st.integers(0, 99))
def test_all_steps_of_a_fading_memory_at_once_equal_its_recurrence(steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    memory = FadingMemory(5)
    x = torch.randn(2, steps, 3, generator=generator)
    h = first = torch.randn(2, 5, 3, generator=generator)
    decay = torch.sigmoid(memory.decay_logit)[:, None]
    expected = []
    for x_t in x.unbind(1):
        h = decay * h + (1 - decay) * x_t[:, None]
        expected.append(h)
    assert_close(memory(x, first), torch.stack(expected, dim=1))


def test_positions_are_encoded_as_in_the_paper() -> None:
    encoding = positional_encoding(context=50, width=6)
    for position in (0, 1, 49):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            wanted = torch.tensor([math.sin(angle), math.cos(angle)])
            assert_close(encoding[position, 2 * pair : 2 * pair + 2], wanted)


def small_transformer(positions: Positions = "sinusoidal") -> Transformer:
    torch.manual_seed(0)
    # One layer: a second one could tell the order, for of its inputs each has seen another past.
    network = Transformer(
        VOCABULARY, 16, num_layers=1, num_heads=2, context=16, positions=positions
    )
    return network.eval()


@settings(deadline=None, max_examples=20)
@given(query=st.integers(0, 9), key=st.integers(0, 9), shift=st.integers(0, 10))
def test_rotary_positions_depend_on_distances_only(query: int, key: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(0)
    angles = position_angles(20, 8)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator)

    def product(query_at: int, key_at: int) -> Tensor:
        return (
            rotate(q, angles[None, query_at, None]) * rotate(k, angles[None, key_at, None])
        ).sum()

    assert_close(product(query, key), product(query + shift, key + shift))


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "none"])
def test_a_transformer_reads_piece_by_piece_what_it_reads_at_once(positions: Positions) -> None:
    network = small_transformer(positions)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    first, state = network.step(tokens[:, :2], network.initial_state(1))
    second, _ = network.step(tokens[:, 2:], state)
    assert_close(torch.cat([first, second], dim=1), network(tokens))


def test_heads_that_share_keys_and_values_equal_heads_with_the_same_keys_and_values() -> None:
    """Grouped queries, section 2.2 of arXiv 2305.13245."""
    torch.manual_seed(0)
    grouped = Attention(width=24, num_heads=6, num_kv_heads=2)
    plain = Attention(width=24, num_heads=6, num_kv_heads=6)
    plain.output = grouped.output
    sizes = [24, 8, 8]
    weights = zip(
        grouped.query_key_value.parameters(), plain.query_key_value.parameters(), strict=True
    )
    with torch.no_grad():
        for shared, own in weights:
            query, *others = shared.split(sizes)
            repeated = [each.unflatten(0, (2, 4)).repeat_interleave(3, 0) for each in others]
            own.copy_(torch.cat([query, *(each.flatten(0, 1) for each in repeated)]))
    x, angles = torch.randn(2, 5, 24), position_angles(5, 4).expand(2, -1, -1)
    assert_close(grouped(x, None, angles)[0], plain(x, None, angles)[0])


def test_without_positions_attention_cannot_tell_the_order_of_the_past() -> None:
    tokens, shuffled = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[3, 1, 4, 2, 5]])
    blind, seeing = small_transformer(positions="none"), small_transformer()
    assert_close(blind(tokens)[:, -1], blind(shuffled)[:, -1])
    assert not torch.allclose(seeing(tokens)[:, -1], seeing(shuffled)[:, -1], atol=1e-3)


def test_what_lies_beyond_the_position_is_not_seen() -> None:
    network = small_transformer()
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    _, (position, *caches) = network.prefill(tokens)
    dirty = [cache.clone() for cache in caches]
    for cache in dirty:
        cache[:, :, 3:] = 1e4 * torch.randn_like(cache[:, :, 3:])
    new = torch.tensor([[7, 8], [9, 10]])
    expected, _ = network.step(new, (position, *caches))
    actual, _ = network.step(new, (position, *dirty))
    assert_close(actual, expected)


def test_a_graph_step_gives_what_a_step_writes() -> None:
    network = small_transformer()
    _, state = network.prefill(torch.tensor([[1, 2, 3]]))
    logits, new = network.graph_step(torch.tensor([[4, 5]]), state)
    wanted, (_, *caches) = network.step(torch.tensor([[4, 5]]), state)
    assert_close(logits, wanted)
    for entries, cache in zip(new, caches, strict=True):
        assert_close(cache[:, :, 3:5], entries)
        assert not cache[:, :, 5:].any()


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    network = small_transformer()
    with pytest.raises(ValueError, match="more than 16 tokens"):
        network.prefill(torch.zeros(1, 17, dtype=torch.int64))
    with pytest.raises(ValueError, match="more than 16 tokens"):
        network(torch.zeros(1, 17, dtype=torch.int64))


def test_values_come_and_go_in_their_own_units() -> None:
    torch.manual_seed(0)
    network = build("gru", series=2, hidden_size=4)
    assert isinstance(network, SequenceNetwork)
    assert network.scaler is not None
    values = torch.randn(1, 6, 2)
    expected = network(values)
    loc, scale = torch.tensor([100.0, -4.0]), torch.tensor([8.0, 0.25])
    network.scaler.loc.copy_(loc)
    network.scaler.scale.copy_(scale)
    assert_close(network(loc + scale * values), loc + scale * expected)


def test_a_network_is_for_tokens_or_for_values() -> None:
    for options in ({}, {"vocabulary_size": 5, "series": 1}):
        with pytest.raises(FactoryError, match="either vocabulary_size"):
            build("lstm", hidden_size=4, **options)
    with pytest.raises(FactoryError, match="order must be at least 2"):
        build("autoregressive", order=1, hidden_size=4, vocabulary_size=5)


def test_gru_has_three_quarters_of_the_weights_of_lstm() -> None:
    def size(layers: nn.Module) -> int:
        return sum(parameter.numel() for parameter in layers.parameters())

    assert size(GRU(64, 384)) * 4 == size(LSTM(64, 384)) * 3
