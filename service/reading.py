"""How histories are cut into runs."""

from service.manifest import Manifest

_WORTH_PADDING = 8  # a run of b steps is worth it for b / 8 of them: it costs less than 8 runs of 1


class Cuts:
    """The sizes of runs that an artifact is proved for."""

    def __init__(self, manifest: Manifest) -> None:
        section = manifest.sequence
        assert section is not None
        self._sizes = sorted({bucket.get("time", 1) for bucket in manifest.buckets} | {1})
        self._context = section.context
        # What a run adds to a state that grows lies beyond the position until it is counted; a
        # state that is replaced has seen the padding.
        self._can_pad = bool(section.states) and all(
            state.update == "append" for state in section.states
        )

    @property
    def largest(self) -> int:
        """Elements of one history that a turn reads at most."""
        return self._sizes[-1]

    def next_size(self, left: int, position: int) -> int:
        """How many elements to give to one run.

        Args:
            left: elements of the history that are still to be read, 1 or more.
            position: elements that the sequence has read.
        """
        fitting = max(size for size in self._sizes if size <= max(1, left))
        if self._can_pad and left > 1 and fitting < left:
            for size in self._sizes:
                if size >= left and position + size <= self._context:
                    return size if left * _WORTH_PADDING >= size else fitting
        return fitting
