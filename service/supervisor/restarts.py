"""How long to wait before a process that ended is started again."""

FIRST_DELAY_S = 0.5
STARTS_WITHIN_S = 1.0
STABLE_AFTER_S = 60
"""A process that ran this long may be started again at once when it ends."""
_MAX_DOUBLINGS = 16


def restart_delay_s(deaths: int, lived_s: float, longest_s: float) -> float:
    """The pause before a process is started again: none after a first death, then growing.

    A process that ended within `STARTS_WITHIN_S` waits even the first time: it did not start at
    all. From then on each pause is twice the one before.

    Args:
        deaths: in a row, this one counted.
        lived_s: how long the process ran that has just ended.
        longest_s: the upper bound of a pause.
    """
    doublings = deaths - (2 if lived_s >= STARTS_WITHIN_S else 1)
    if doublings < 0:
        return 0.0
    return min(FIRST_DELAY_S * 2 ** min(doublings, _MAX_DOUBLINGS), longest_s)
