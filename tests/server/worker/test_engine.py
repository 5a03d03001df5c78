"""The engine itself: sequences come and go at any step and do not affect each other."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.train.sequence.score import SequenceRunner
from service.artifact.manifest import read_manifest
from service.devices import Device
from service.ipc.arena import Arena
from service.ipc.doorbell import Outcome, Ticket, TicketStatus
from service.ipc.sequence_slot import FinishReason, SequenceLayout, SequencePlan, SequenceSlot
from service.worker.decoding.engine import Engine
from service.worker.entries import Entry
from service.worker.session import ModelSession, SessionOptions
from tests.support.sequences import CHUNK, CONTEXT, VOCABULARY, continue_greedily, encode

FAR = 10**18
TEXT = "the sun shines on all of us, the same every day.\n"


class Frontend:
    """A frontend whose slots lie one behind the other."""

    def __init__(self) -> None:
        self.arena = Arena.create(1 << 20)
        self._end = 0
        self._tickets = 0

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        raise AssertionError("the engine sends nothing itself")

    def ask(self, engine: Engine, text: str, deadline_ns: int = FAR, **plan: Any) -> "Asked":
        self._tickets += 1
        layout = SequenceLayout.of(engine.element_layout, SequencePlan(len(text), **plan))
        slot = SequenceSlot(self.arena.bytes, self._end, layout)
        slot.write_plan()
        slot.history[...] = encode(text)
        cache_rows = layout.plan.beams
        ticket = Ticket(self._tickets, 0, self._end, 1, 1, deadline_ns, 0, cache_rows=cache_rows)
        self._end += layout.size
        return Asked(slot, Entry(ticket, self))


class Asked:
    def __init__(self, slot: SequenceSlot, entry: Entry) -> None:
        self.slot, self.entry = slot, entry

    @property
    def text(self) -> str:
        return "".join(VOCABULARY[token] for token in self.slot.steps(0, self.slot.count)[:, 0])


class CountingSession(ModelSession):
    """Remembers the shape of the first input of each run."""

    def run(self, inputs: Any, rows: int, run_options: Any = None, **others: Any) -> Any:
        self.__dict__.setdefault("shapes", []).append(inputs[0].shape)
        if before_run := self.__dict__.get("before_run"):
            before_run(inputs[0].shape)
        return super().run(inputs, rows, run_options, **others)


class Bench:
    """An engine for one model, and a frontend."""

    def __init__(self, models: Path, model: str, rows: int = 8) -> None:
        self.artifact = models / model / "1"
        manifest, _ = read_manifest(self.artifact)
        self.session = CountingSession(self.artifact, manifest, SessionOptions(Device("cpu")))
        self.now_ns = 0
        self.engine = Engine(self.session, rows, lambda: self.now_ns)
        self.frontend = Frontend()

    def admit(self, text: str, **plan: Any) -> Asked:
        asked = self.frontend.ask(self.engine, text, **plan)
        self.engine.admit(asked.entry)
        return asked

    def iterate(self) -> dict[int, TicketStatus]:
        self.session.__dict__["shapes"] = []
        self.engine.iterate()
        return {entry.ticket.id: each.status for entry, each in self.engine.take_outcomes()}

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return self.session.__dict__["shapes"]

    def finish(self) -> None:
        while self.engine.table.sequences:
            self.iterate()


@pytest.fixture(params=["lstm", "transformer"])
def bench(sequence_models: Path, request: pytest.FixtureRequest) -> Bench:
    return Bench(sequence_models, request.param)


SCHEDULES = st.lists(
    st.tuples(
        st.integers(0, 12),  # iterations before it is admitted
        st.integers(1, 30),  # characters of its history
        st.integers(1, 14),  # steps
        st.booleans(),  # whether it leaves half way
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("model", ["lstm", "transformer", "autoregressive"])
@settings(deadline=None, max_examples=25)
@given(schedule=SCHEDULES)
def test_a_sequence_equals_the_same_sequence_decoded_alone(
    sequence_models: Path, model: str, schedule: list[tuple[int, int, int, bool]]
) -> None:
    it = Bench(sequence_models, model)
    waiting = sorted(enumerate(schedule), key=lambda each: each[1][0])
    asked: list[tuple[Asked, str, int, bool]] = []
    iteration = 0
    while waiting or it.engine.table.sequences:
        while waiting and waiting[0][1][0] <= iteration:
            index, (_, length, steps, leaves) = waiting.pop(0)
            text = TEXT[index : index + length]
            asked.append((it.admit(text, steps=steps), text, steps, leaves))
        for each, _, steps, leaves in asked:
            if leaves and each.slot.count >= steps // 2:
                each.entry.is_cancelled = True
        it.engine.end_stale()
        it.iterate()
        iteration += 1
    for each, text, steps, leaves in asked:
        alone = continue_greedily(it.artifact, text, steps)
        assert each.text == alone[: len(each.text)]
        assert leaves or (each.text, each.slot.finish_reason) == (alone, FinishReason.STEPS)
    assert it.engine.reserved_rows == 0


def test_a_cancelled_sequence_is_removed_before_the_next_decode_step(bench: Bench) -> None:
    staying, leaving = bench.admit("the sun", steps=30), bench.admit("the day", steps=30)
    bench.iterate()
    leaving.entry.is_cancelled = True
    bench.engine.end_stale()
    ((entry, outcome),) = bench.engine.take_outcomes()
    assert (entry, outcome.status) == (leaving.entry, TicketStatus.CANCELLED)
    assert len(bench.engine.table.sequences) == bench.engine.reserved_rows == 1
    count = leaving.slot.count
    bench.iterate()
    assert bench.shapes == [(1, 1)]
    assert (staying.slot.count, leaving.slot.count) == (count + 1, count)


def test_a_deadline_that_passes_ends_a_sequence(bench: Bench) -> None:
    late = bench.admit("the sun", steps=30, deadline_ns=100)
    while not late.slot.count:
        bench.iterate()
    assert bench.engine.table.next_deadline_ns == 100
    bench.now_ns = 101
    bench.engine.end_stale()
    assert [each.status for _, each in bench.engine.take_outcomes()] == [TicketStatus.EXPIRED]
    assert not bench.engine.table.sequences
    assert 1 <= late.slot.count < 30


def test_an_admitted_sequence_makes_its_first_step_in_its_first_iteration(bench: Bench) -> None:
    """It waits for the current iteration and its own history; the others wait only for it."""
    others = [bench.admit("the sun"[:length], steps=40) for length in range(1, 6)]
    while not all(each.slot.count for each in others):
        bench.iterate()
    bench.iterate()
    counts = [each.slot.count for each in others]
    admitted = bench.admit(TEXT[:CHUNK], steps=5)
    bench.iterate()
    assert admitted.slot.count == 1
    assert [each.slot.count for each in others] == counts
    bench.iterate()
    assert admitted.slot.count == 2
    assert [each.slot.count for each in others] == [count + 1 for count in counts]


def test_endless_admissions_do_not_stop_live_sequences(bench: Bench) -> None:
    first = bench.admit("a", steps=12)
    for _ in range(24):
        if bench.engine.reserved_rows < bench.engine.max_rows:
            bench.admit(TEXT[: 3 * CHUNK], steps=1)
        bench.iterate()
    assert first.slot.count == 12


@pytest.mark.parametrize("steps", [1, 4])
def test_endless_admissions_do_not_stop_the_prefill_of_a_long_history(
    bench: Bench, steps: int
) -> None:
    long = bench.admit(TEXT[: 4 * CHUNK + 1], steps=1)
    for _ in range(60):
        while bench.engine.reserved_rows < bench.engine.max_rows:
            bench.admit(TEXT[:CHUNK], steps=steps)
        bench.iterate()
    assert long.slot.count == 1


def test_a_long_history_is_prefilled_in_chunks_between_decode_steps(bench: Bench) -> None:
    other = bench.admit("a", steps=40)
    bench.iterate()
    long = bench.admit(TEXT[: 4 * CHUNK + 1], steps=5)
    for iteration in range(2, 5):
        bench.iterate()
        assert bench.shapes == [(1, CHUNK)]
        bench.iterate()
        assert bench.shapes == [(1, 1)]
        assert (other.slot.count, long.slot.count) == (iteration, 0)
    bench.finish()
    assert long.text == continue_greedily(bench.artifact, TEXT[: 4 * CHUNK + 1], 5)


def test_histories_of_equal_length_share_a_prefill_run(bench: Bench) -> None:
    for start in range(4):
        bench.admit(TEXT[start : start + CHUNK], steps=2)
    bench.iterate()
    assert bench.shapes == [(4, CHUNK)]
    bench.iterate()
    assert bench.shapes == [(4, 1)]


def test_steps_of_a_lost_worker_are_continued_and_not_repeated(
    bench: Bench, sequence_models: Path
) -> None:
    options = {"steps": 20, "temperature": 1.0, "seed": 9, "penalty": 1.5}
    undisturbed = bench.admit("the sun", **options)
    bench.finish()
    moved = bench.admit("the sun", **options)
    while moved.slot.count < 7:
        bench.iterate()
    other = Bench(sequence_models, bench.artifact.parent.name)
    other.engine.admit(moved.entry)
    other.finish()
    assert moved.text == undisturbed.text
    assert moved.slot.finish_reason is FinishReason.STEPS


@pytest.mark.parametrize(
    ("made", "plan", "end"),
    [
        (6, {"steps": 6}, FinishReason.STEPS),
        (3, {"steps": 6, "stop": ("abc",)}, FinishReason.STOP),
        (CONTEXT - 6, {"steps": CONTEXT}, FinishReason.CONTEXT),
    ],
)
def test_a_worker_lost_after_the_last_step_left_nothing_to_do(
    sequence_models: Path, made: int, plan: dict[str, Any], end: FinishReason
) -> None:
    it = Bench(sequence_models, "transformer")
    asked = it.frontend.ask(it.engine, "the sun", **plan)
    text = ("abc" * CONTEXT)[:made]
    asked.slot.steps(0, made)[:, 0] = encode(text)
    np.frombuffer(it.frontend.arena.bytes, np.int32)[asked.entry.ticket.slot // 4 + 1] = made
    it.engine.admit(asked.entry)
    ((_, outcome),) = it.engine.take_outcomes()
    assert (outcome.status, asked.slot.finish_reason, asked.text) == (TicketStatus.DONE, end, text)
    assert it.engine.reserved_rows == 0


def test_beams_share_the_rows_with_other_sequences_and_free_them(bench: Bench) -> None:
    alone = bench.admit("the day", steps=12)
    bench.finish()
    search = bench.admit("the sun", steps=12, beams=4)
    beside = bench.admit("the day", steps=12)
    assert bench.engine.reserved_rows == 5
    bench.iterate()
    bench.iterate()
    assert len(bench.engine.table.sequences) == 5
    bench.finish()
    assert beside.text == alone.text
    assert search.slot.count == 12
    assert bench.engine.reserved_rows == 0

    assert search.text == search_beams(bench.artifact, "the sun", 12, 4)


@pytest.mark.parametrize("stop", ["e", "th", ", "])
def test_a_beam_search_ends_for_the_reason_that_it_tells(bench: Bench, stop: str) -> None:
    section = bench.session.manifest.sequence
    assert section is not None
    for start in range(6):
        history = TEXT[start : start + 20]
        search = bench.admit(history, steps=32, beams=4, stop=(stop,))
        bench.finish()
        reason, count = search.slot.finish_reason, search.slot.count
        assert (reason is FinishReason.STOP) == search.text.endswith(stop)
        assert stop not in search.text[:-1]
        assert (reason is FinishReason.STEPS) == (count == 32 and not search.text.endswith(stop))
        if reason is FinishReason.CONTEXT:
            assert len(history) + count == section.context + 1


def test_beams_whose_logits_are_not_finite_fail_and_free_their_rows(bench: Bench) -> None:
    search, good = bench.admit("the day", steps=9, beams=3), bench.admit("the sun", steps=9)
    while not good.slot.count:
        bench.iterate()
    rows = [each.row for each in bench.engine.table.sequences if each.entry is search.entry]
    assert len(rows) == 3
    for array in bench.engine.table.cache.feeds(rows[-1], rows[-1] + 1):
        if array.dtype == np.float32:
            array[...] = np.nan
    assert bench.iterate() == {search.entry.ticket.id: TicketStatus.FAILED}
    bench.finish()
    assert good.text == continue_greedily(bench.artifact, "the sun", 9)
    assert bench.engine.reserved_rows == 0


def search_beams(artifact: Path, text: str, steps: int, beams: int) -> str:
    """The likeliest text when ``beams`` texts survive each step."""
    survivors = [(0.0, text)]
    for _ in range(steps):
        runner = SequenceRunner(artifact, len(survivors))
        logits = runner.read(np.stack([encode(each) for _, each in survivors]))[:, -1]
        grown = [
            (total + float(log_probability), each + character)
            for (total, each), row in zip(survivors, logits, strict=True)
            for log_probability, character in zip(
                row - np.logaddexp.reduce(row), VOCABULARY, strict=True
            )
        ]
        survivors = sorted(grown, reverse=True)[:beams]
    return survivors[0][1][len(text) :]


def test_a_failed_forward_run_fails_only_the_sequence_that_caused_it(bench: Bench) -> None:
    good, bad = bench.admit("the sun", steps=6), bench.admit("the day", steps=6)
    while not bad.slot.count:
        bench.iterate()
    bench.engine.table.elements[bench.engine.table.sequences.index(_live(bench, bad)), 0] = 10**6
    outcomes: dict[int, TicketStatus] = {}
    while bench.engine.table.sequences:
        outcomes |= bench.iterate()
    assert outcomes == {
        good.entry.ticket.id: TicketStatus.DONE,
        bad.entry.ticket.id: TicketStatus.FAILED,
    }
    assert good.text == continue_greedily(bench.artifact, "the sun", 6)


def _live(bench: Bench, asked: Asked) -> Any:
    return next(live for live in bench.engine.table.sequences if live.entry is asked.entry)


def test_values_that_are_not_finite_do_not_reach_the_next_sequence_in_a_row(bench: Bench) -> None:
    bad = bench.admit("the day", steps=30)
    bench.iterate()
    row = _live(bench, bad).row
    for array in bench.engine.table.cache.feeds(row, row + 1):
        if array.dtype == np.float32:
            array[...] = np.nan
    assert bench.iterate() == {bad.entry.ticket.id: TicketStatus.FAILED}
    good = bench.admit("the sun", steps=6)
    assert good.text == ""
    bench.finish()
    assert good.text == continue_greedily(bench.artifact, "the sun", 6)


def test_values_that_are_not_finite_do_not_reach_other_rows_when_rows_grow(
    sequence_models: Path,
) -> None:
    it = Bench(sequence_models, "transformer")
    others = [it.admit("the sun"[:length], steps=30) for length in (5, 6, 7)]
    while not all(each.slot.count for each in others):
        it.iterate()
    bad = it.admit("the day", steps=30)
    while bad.slot.count < 2:
        it.iterate()
    state, row = it.engine.table.cache, _live(it, bad).row
    past = state.past
    for array in state.feeds(row, row + 1):
        if array.dtype == np.float32:
            array[...] = np.nan
    state.reserve(past)  # as a run of a whole chunk does
    assert state.past > past
    late = it.admit("the day", steps=6)
    ended: dict[int, TicketStatus] = {}
    while not ended:
        ended = it.iterate()
    assert ended == {bad.entry.ticket.id: TicketStatus.FAILED}
    it.finish()
    for each, length in zip(others, (5, 6, 7), strict=True):
        assert each.text == continue_greedily(it.artifact, "the sun"[:length], 30)
    assert late.text == continue_greedily(it.artifact, "the day", 6)


class Fickle(Entry):
    """Its caller leaves after ``looks`` looks."""

    __slots__ = ("looks",)

    @property
    def is_cancelled(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    @is_cancelled.setter
    def is_cancelled(self, _: bool) -> None:
        self.looks = 1


@pytest.mark.parametrize("sweeps", [1, 2])
def test_a_cancelled_followed_stream_disturbs_no_other(bench: Bench, sweeps: int) -> None:
    other = bench.admit("the sun", steps=12)
    ticket = bench.frontend.ask(bench.engine, "the day", steps=3, stream=2, opens_stream=True)
    follower = Fickle(ticket.entry.ticket, bench.frontend)
    bench.engine.admit(follower)
    for _ in range(sweeps):
        bench.engine.end_stale()
    bench.finish()
    bench.engine.end_stale()
    assert other.text == continue_greedily(bench.artifact, "the sun", 12)
    assert bench.engine.reserved_rows == 0
    ended = [each for each in bench.engine.take_outcomes() if each[0] is follower]
    closed = bench.engine.follow_states.take_closed()
    assert len([*ended, *closed]) <= 2
    assert not bench.engine.follow_states.knows(bench.frontend, 2)


def test_a_message_of_a_closed_stream_ends_alone(bench: Bench) -> None:
    first = bench.frontend.ask(bench.engine, "the day", steps=1, stream=1, opens_stream=True)
    bench.engine.admit(first.entry)
    bench.finish()
    other = bench.admit("the sun", steps=12)
    second = bench.frontend.ask(bench.engine, "s", steps=4, stream=1)
    second.entry.ticket = second.entry.ticket._replace(cache_rows=0)  # the stream has its row
    bench.engine.admit(second.entry)
    first.entry.is_cancelled = True
    bench.engine.end_stale()
    bench.finish()
    assert other.text == continue_greedily(bench.artifact, "the sun", 12)
    assert bench.engine.reserved_rows == 0


def test_no_state_is_kept_of_a_lost_frontend(bench: Bench) -> None:
    bench.admit("the sun", steps=5)
    bench.finish()
    gone, bench.frontend = weakref.ref(bench.frontend), Frontend()
    gc.collect()
    assert gone() is None


def test_rows_are_as_long_as_the_longest_sequence_needs(sequence_models: Path) -> None:
    """CONTEXT is 48, so there are rows of 6, 12, ... 48 steps."""
    it = Bench(sequence_models, "transformer")
    state, longest = it.engine.table.cache, list[int]()
    short = it.admit("a", steps=30)
    while it.engine.table.sequences:
        it.iterate()
        longest.append(state.past)
    assert longest == sorted(longest)
    assert set(longest) == set(range(6, 31, 6))
    assert short.text == continue_greedily(it.artifact, "a", 30)
    beside = it.admit("a", steps=2)
    it.iterate()
    assert state.past == 6
    it.finish()
    assert beside.text == short.text[:2]


def test_a_saved_state_is_restored_into_rows_of_another_length(sequence_models: Path) -> None:
    it = Bench(sequence_models, "transformer")
    it.admit(TEXT[:10], steps=30)
    for _ in range(20):
        it.iterate()
    state = it.engine.table.cache
    filled = int(state.position[0])
    assert state.past == 30 >= filled > 24
    before = [array[0].copy() for array in state.feeds(0, 1)]
    saved = state.save(0)
    state.drop()
    state.reserve(1)
    assert state.past == 6
    state.add()
    state.add()
    state.restore(1, saved)
    assert state.past == 30
    for ours, theirs in zip(state.feeds(1, 2), before, strict=True):
        read = (..., slice(filled), slice(None)) if ours.ndim > 1 else ...
        np.testing.assert_array_equal(ours[0][read], theirs[read])


def test_suspected_sequences_are_prefilled_alone_and_only_they_are_suspected(bench: Bench) -> None:
    """A history that kills workers is then found, and no other is refused with it."""
    suspects = [bench.frontend.ask(bench.engine, TEXT[: 3 * CHUNK], steps=2) for _ in range(3)]
    for each in suspects:
        each.entry.ticket = each.entry.ticket._replace(alone=True)
        bench.engine.admit(each.entry)
    arena, seen = bench.frontend.arena, list[tuple[int, int]]()

    def note(shape: tuple[int, ...]) -> None:
        waiting = [each for each in suspects if not each.slot.count]
        marked = sum(arena.is_running(each.entry.ticket.slot) for each in waiting)
        seen.append((shape[0] if shape[1] > 1 else 1, marked))

    bench.session.__dict__["before_run"] = note
    bench.finish()
    assert max(rows for rows, _ in seen) == 1
    assert max(marked for _, marked in seen) == 1


def test_an_error_in_the_engine_fails_live_sequences_and_no_later_ones(bench: Bench) -> None:
    bench.admit("the sun", steps=9)
    bench.admit("the day", steps=9, beams=3)
    bench.iterate()
    bench.engine.fail_all("for a test")
    assert [each.status for _, each in bench.engine.take_outcomes()] == [TicketStatus.FAILED] * 2
    assert (bench.engine.reserved_rows, bench.engine.table.sequences) == (0, [])
    after = bench.admit("the sun", steps=9)
    bench.finish()
    assert after.text == continue_greedily(bench.artifact, "the sun", 9)


def test_more_live_sequences_than_a_batch_holds_need_several_runs(
    sequence_models: Path,
) -> None:
    it = Bench(sequence_models, "lstm")
    it.session.max_batch_size = 3
    asked = [it.admit(TEXT[start : start + 6], steps=5) for start in range(8)]
    it.finish()
    for start, each in enumerate(asked):
        assert each.text == continue_greedily(it.artifact, TEXT[start : start + 6], 5)
