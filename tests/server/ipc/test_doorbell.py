from hypothesis import given
from hypothesis import strategies as st

from service.ipc.doorbell import (
    PACKET_BYTES,
    Cancel,
    Outcome,
    Ticket,
    TicketStatus,
    doorbell_pair,
    pack_outcomes,
    unpack_order,
    unpack_outcomes,
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
outcomes = st.builds(
    Outcome, u64, st.sampled_from(TicketStatus), u32, u64, u64, st.text(max_size=1000), u32
)

tickets = st.builds(
    Ticket,
    *(u64, u32, u64, u32, u32, u64, u64),
    *(st.booleans(), st.booleans(), st.integers(0, 2**16 - 1), u32),
)


@given(tickets)
def test_a_ticket_arrives_as_it_was_sent(ticket: Ticket) -> None:
    assert unpack_order(ticket.pack()) == ticket


@given(st.builds(Cancel, u64))
def test_a_cancellation_arrives_as_it_was_sent(cancel: Cancel) -> None:
    assert unpack_order(cancel.pack()) == cancel


@given(st.lists(outcomes, max_size=50))
def test_every_outcome_arrives_once_in_packets_that_fit(sent: list[Outcome]) -> None:
    packets = pack_outcomes(sent)
    assert all(len(packet) <= PACKET_BYTES for packet in packets)
    received = [outcome for packet in packets for outcome in unpack_outcomes(packet)]
    assert sorted(received) == sorted(sent)


def test_a_full_run_of_outcomes_fits_the_receive_buffer() -> None:
    packets = pack_outcomes([Outcome(n, TicketStatus.DONE, 1, 2, 3) for n in range(5000)])
    assert max(map(len, packets)) <= PACKET_BYTES
    assert sum(len(unpack_outcomes(packet)) for packet in packets) == 5000


def test_the_death_of_the_other_side_is_heard() -> None:
    ours, theirs = doorbell_pair()
    theirs.close()
    assert ours.recv(64) == b""
    ours.close()
