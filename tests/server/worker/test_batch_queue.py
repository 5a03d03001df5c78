import threading

from service.ipc.arena import Arena
from service.ipc.doorbell import Outcome, Ticket, TicketStatus
from service.worker.batch_queue import BatchQueue
from service.worker.decoding.admission import AdmissionQueue
from service.worker.entries import Batch
from service.worker.scheduler import Scheduler

FAR = 10**15


class Frontend:
    """Collects what a worker would send it."""

    arena: Arena

    def send_outcomes(self, outcomes: list[Outcome]) -> None:
        raise AssertionError("the scheduler sends nothing itself")


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def ticket(
    number: int, rows: int = 1, *, deadline_ns: int = FAR, model: int = 0, alone: bool = False
) -> Ticket:
    return Ticket(number, model, 0, rows, rows, deadline_ns, 0, alone)


def taken(batch: Batch | None) -> list[tuple[int, int, int]]:
    assert batch is not None
    return [(part.entry.ticket.id, part.start, part.stop) for part in batch.parts]


def make(max_batch_size: int = 4, capacity: int = 100) -> tuple[Scheduler, BatchQueue, Frontend]:
    scheduler = Scheduler(Clock())
    return scheduler, scheduler.open(0, max_batch_size, capacity), Frontend()


def test_tickets_that_wait_while_the_device_is_busy_form_one_batch() -> None:
    scheduler, queue, frontend = make(max_batch_size=8)
    scheduler.put([ticket(1)], frontend)
    first = scheduler.next_batch(queue)
    for number in range(2, 7):
        scheduler.put([ticket(number)], frontend)
    assert first is not None
    scheduler.finish_run(queue, first, 1)
    assert taken(first) == [(1, 0, 1)]
    assert taken(scheduler.next_batch(queue)) == [(number, 0, 1) for number in range(2, 7)]


def test_the_earliest_deadline_goes_first() -> None:
    scheduler, queue, frontend = make(max_batch_size=2)
    for number, deadline_ns in ((1, 300), (2, 100), (3, 200)):
        scheduler.put([ticket(number, deadline_ns=deadline_ns)], frontend)
    assert taken(scheduler.next_batch(queue)) == [(2, 0, 1), (3, 0, 1)]


def test_a_ticket_larger_than_a_batch_takes_several_and_finishes_once() -> None:
    scheduler, queue, frontend = make(max_batch_size=4)
    scheduler.put([ticket(1, rows=10)], frontend)
    seen: list[tuple[int, int, int]] = []
    finished: list[int] = []
    for _ in range(3):
        batch = scheduler.next_batch(queue)
        assert batch is not None
        seen += taken(batch)
        finished += [entry.ticket.id for entry in scheduler.finish_run(queue, batch, 1)]
    assert seen == [(1, 0, 4), (1, 4, 8), (1, 8, 10)]
    assert finished == [1]


def test_a_full_queue_refuses_at_once() -> None:
    scheduler, _, frontend = make(capacity=3)
    refused = scheduler.put([ticket(n, rows=2) for n in range(2)], frontend)
    assert [(each.id, status) for each, status in refused] == [(1, TicketStatus.OVERLOADED)]


def test_a_single_request_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    scheduler, _, frontend = make(capacity=3)
    assert scheduler.put([ticket(1, rows=10)], frontend) == []


def test_an_unknown_model_is_refused() -> None:
    scheduler, _, frontend = make()
    ((_, status),) = scheduler.put([ticket(1, model=7)], frontend)
    assert status is TicketStatus.UNKNOWN_MODEL


def test_an_expired_ticket_is_dropped_and_the_others_of_its_batch_run() -> None:
    clock = Clock()
    scheduler = Scheduler(clock)
    queue, frontend = scheduler.open(0, 8, 100), Frontend()
    scheduler.put([ticket(1, deadline_ns=50)], frontend)
    scheduler.put([ticket(2)], frontend)
    clock.now_ns = 60
    batch = scheduler.next_batch(queue)
    assert taken(batch) == [(2, 0, 1)]
    assert batch is not None
    assert [(e.ticket.id, status) for e, status in batch.dropped] == [(1, TicketStatus.EXPIRED)]


def test_a_deadline_that_the_fastest_run_would_miss_is_not_run() -> None:
    clock = Clock()
    scheduler = Scheduler(clock)
    queue, frontend = scheduler.open(0, 8, 100), Frontend()
    scheduler.put([ticket(1)], frontend)
    batch = scheduler.next_batch(queue)
    assert batch is not None
    scheduler.finish_run(queue, batch, run_ns=1000)
    scheduler.put([ticket(2, deadline_ns=999)], frontend)
    scheduler.put([ticket(3, deadline_ns=1001)], frontend)
    assert taken(scheduler.next_batch(queue)) == [(3, 0, 1)]


def test_a_cancelled_ticket_costs_no_forward_run() -> None:
    scheduler, queue, frontend = make()
    scheduler.put([ticket(1)], frontend)
    scheduler.put([ticket(2)], frontend)
    scheduler.cancel(frontend, 1)
    batch = scheduler.next_batch(queue)
    assert taken(batch) == [(2, 0, 1)]
    assert batch is not None
    assert [status for _, status in batch.dropped] == [TicketStatus.CANCELLED]
    assert scheduler.queued_rows() == {0: 0}


def test_a_forward_run_is_terminated_only_when_all_its_tickets_are_cancelled() -> None:
    scheduler, queue, frontend = make()
    scheduler.put([ticket(1)], frontend)
    scheduler.put([ticket(2)], frontend)
    batch = scheduler.next_batch(queue)
    assert batch is not None
    scheduler.cancel(frontend, 1)
    assert not batch.run_options.terminate
    scheduler.cancel(frontend, 2)
    assert batch.run_options.terminate


def test_all_tickets_of_a_lost_frontend_are_cancelled() -> None:
    scheduler, queue, frontend = make()
    other = Frontend()
    scheduler.put([ticket(1)], frontend)
    scheduler.put([ticket(1)], other)
    scheduler.cancel(frontend)
    batch = scheduler.next_batch(queue)
    assert batch is not None
    assert [part.entry.sender for part in batch.parts] == [other]


def test_a_suspected_ticket_runs_alone() -> None:
    scheduler, queue, frontend = make(max_batch_size=8)
    scheduler.put([ticket(1)], frontend)
    scheduler.put([ticket(2, alone=True)], frontend)
    scheduler.put([ticket(3)], frontend)
    seen: list[list[tuple[int, int, int]]] = []
    for _ in range(3):
        batch = scheduler.next_batch(queue)
        assert batch is not None
        seen.append(taken(batch))
        scheduler.finish_run(queue, batch, 1)
    assert seen == [[(1, 0, 1)], [(2, 0, 1)], [(3, 0, 1)]]


def test_a_model_that_comes_after_all_were_closed_is_closed_too() -> None:
    scheduler = Scheduler(Clock())
    scheduler.close_all()
    ended: list[Batch | None] = []
    queue = scheduler.open(0, 1, 100)
    model_thread = threading.Thread(
        target=lambda: ended.append(scheduler.next_batch(queue)), daemon=True
    )
    model_thread.start()
    model_thread.join(timeout=10)
    assert ended == [None]


def test_models_run_in_order_of_deadlines_and_none_is_forgotten() -> None:
    scheduler = Scheduler(Clock())
    frontend, order = Frontend(), list[int]()
    queues = [scheduler.open(model, 1, 100) for model in range(3)]

    def model_thread(queue: BatchQueue) -> None:
        while (batch := scheduler.next_batch(queue)) is not None:
            order.extend(part.entry.ticket.id for part in batch.parts)
            scheduler.finish_run(queue, batch, 1)
            if len(order) == 30:
                scheduler.close_all()

    for number in range(30):
        scheduler.put([ticket(number, model=number % 3, deadline_ns=1000 - number)], frontend)
    model_threads = [threading.Thread(target=model_thread, args=(queue,)) for queue in queues]
    for each in model_threads:
        each.start()
    for each in model_threads:
        each.join(timeout=30)
    assert sorted(order) == list(range(30))
    assert order == sorted(order, reverse=True)


def make_with_iterations() -> tuple[Scheduler, BatchQueue, AdmissionQueue, Frontend]:
    """A queue of images (model 0) and one of sequences (model 1) with three rows."""
    scheduler, images, frontend = make()
    sequences = AdmissionQueue(2, 3, scheduler.condition())
    scheduler.add(1, sequences)
    return scheduler, images, sequences, frontend


def never() -> None:
    return None


def test_decode_iterations_and_batches_alternate_while_both_have_work() -> None:
    scheduler, images, sequences, frontend = make_with_iterations()
    sequences.due_ns = 5  # somebody is live all the time
    scheduler.put([ticket(number, rows=4) for number in range(3)], frontend)
    order: list[str] = []
    for _ in range(3):
        assert scheduler.begin_iteration(sequences, never)
        order.append("iteration")
        scheduler.end_iteration(sequences, [])
        batch = scheduler.next_batch(images)
        assert batch is not None
        order.append("run")
        scheduler.finish_run(images, batch, 1)
    assert order == ["iteration", "run"] * 3
    for _ in range(3):  # nobody else has work: all iterations are theirs
        assert scheduler.begin_iteration(sequences, never)
        scheduler.end_iteration(sequences, [])


def test_a_decode_iteration_waits_for_the_current_forward_run() -> None:
    scheduler, images, sequences, frontend = make_with_iterations()
    scheduler.put([ticket(1)], frontend)
    batch = scheduler.next_batch(images)
    assert batch is not None
    sequences.due_ns = 5
    began = threading.Event()

    def iterate() -> None:
        assert scheduler.begin_iteration(sequences, never)
        began.set()

    waiting = threading.Thread(target=iterate)
    waiting.start()
    assert not began.is_set()
    scheduler.finish_run(images, batch, 1)
    waiting.join(timeout=10)
    assert began.is_set()


def test_sequences_wait_for_rows_by_deadline_and_streams_do_not_wait() -> None:
    scheduler, _, sequences, frontend = make_with_iterations()
    late, soon = ticket(1, model=1, deadline_ns=200), ticket(2, model=1, deadline_ns=100)
    wide, narrow = (each._replace(cache_rows=3, rows=1) for each in (late, soon))
    scheduler.put(
        [wide, narrow._replace(cache_rows=1), ticket(3, model=1)._replace(cache_rows=0)], frontend
    )
    admitted, dropped, _ = sequences.take(0)
    assert [entry.ticket.id for entry in admitted] == [3, 2]  # two rows are left, three wanted
    assert (dropped, sequences.queued_rows, sequences.most_urgent_ns()) == ([], 1, None)
    sequences.free_rows = 3
    assert sequences.most_urgent_ns() == 0
    assert [entry.ticket.id for entry in sequences.take(0)[0]] == [1]


def test_a_sequence_is_refused_when_too_many_wait_or_it_is_too_wide() -> None:
    scheduler, _, _, frontend = make_with_iterations()
    tickets = [ticket(number, model=1)._replace(cache_rows=1) for number in range(3)]
    refused = scheduler.put(tickets, frontend)
    assert [(each.id, status) for each, status in refused] == [(2, TicketStatus.OVERLOADED)]
    refused = scheduler.put([ticket(9, model=1)._replace(cache_rows=4)], frontend)
    assert [(each.id, status) for each, status in refused] == [(9, TicketStatus.OVERLOADED)]


def test_cancelled_and_expired_sequences_are_not_admitted() -> None:
    scheduler, _, sequences, frontend = make_with_iterations()
    left = ticket(1, model=1)._replace(cache_rows=1)
    late = ticket(2, model=1, deadline_ns=50)._replace(cache_rows=1)
    scheduler.put([left, late], frontend)
    scheduler.cancel(frontend, 1)
    assert sequences.most_urgent_ns() == 0
    admitted, dropped, may_be_stale = sequences.take(51)
    assert (admitted, may_be_stale) == ([], True)
    assert sorted((entry.ticket.id, status) for entry, status in dropped) == [
        (1, TicketStatus.CANCELLED),
        (2, TicketStatus.EXPIRED),
    ]


def run_one(scheduler: Scheduler, queue: BatchQueue, run_ns: int) -> Batch:
    batch = scheduler.next_batch(queue)
    assert batch is not None
    if batch.parts:
        scheduler.finish_run(queue, batch, run_ns)
    return batch


def test_one_slow_forward_run_does_not_refuse_short_deadlines_for_ever() -> None:
    clock = Clock()
    scheduler = Scheduler(clock)
    queue, frontend = scheduler.open(0, 4, 100), Frontend()
    scheduler.put([ticket(0)], frontend)
    run_one(scheduler, queue, 1000)
    for number in range(1, 100):
        scheduler.put([ticket(number, deadline_ns=100)], frontend)
        if run_one(scheduler, queue, 10).parts:
            break
    else:
        raise AssertionError("nobody was ever tried again")
    scheduler.put([ticket(100, deadline_ns=11), ticket(101, deadline_ns=9)], frontend)
    batch = run_one(scheduler, queue, 10)
    assert taken(batch) == [(100, 0, 1)]  # what the last run took is what counts now
    assert [entry.ticket.id for entry, _ in batch.dropped] == [101]


def test_cancelled_tickets_take_no_room_in_the_queue() -> None:
    scheduler, queue, frontend = make(max_batch_size=4, capacity=8)
    scheduler.put([ticket(0)], frontend)
    running = scheduler.next_batch(queue)
    assert running is not None
    for round_ in range(3):
        numbers = range(10 * round_ + 1, 10 * round_ + 9)
        assert scheduler.put([ticket(number) for number in numbers], frontend) == []
        for number in numbers:
            scheduler.cancel(frontend, number)
            scheduler.cancel(frontend, number)  # twice is once
    assert scheduler.put([ticket(100 + number) for number in range(8)], frontend) == []
    ((refused, status),) = scheduler.put([ticket(200)], frontend)
    assert (refused.id, status) == (200, TicketStatus.OVERLOADED)
    scheduler.finish_run(queue, running, 1)
    assert [each[0] for each in taken(scheduler.next_batch(queue))] == [100, 101, 102, 103]


def test_the_rest_of_a_ticket_is_not_run_once_a_part_has_failed() -> None:
    scheduler, queue, frontend = make(max_batch_size=4)
    scheduler.put([ticket(1, rows=9), ticket(2)], frontend)
    batch = scheduler.next_batch(queue)
    assert taken(batch) == [(1, 0, 4)]
    assert batch is not None
    batch.parts[0].entry.failure = "broken"
    assert scheduler.finish_run(queue, batch, 0) == []
    after = scheduler.next_batch(queue)
    assert taken(after) == [(2, 0, 1)]
    assert after is not None
    assert [(entry.ticket.id, status) for entry, status in after.dropped] == [
        (1, TicketStatus.FAILED)
    ]
    assert queue.queued_rows == 0
