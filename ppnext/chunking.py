"""Chunking: how many calls of a map make one job. Pure: it is told how long chunks took.

A call may take a microsecond or an hour, and the next one something else.

* A chunk aims at some milliseconds of work, so that what a job costs does not matter, and is never
  larger than the number of calls that have been timed.
* Its size follows at once when calls take longer, and halfway with each chunk when they do not: one
  slow call among quick ones makes the chunks behind it small for a moment, and costs little.
* Few chunks are out while the size still grows, so that what is learnt counts soon; then as many as
  make a fraction of a second of work, so that no worker waits for the consumer.
* Where it is known how many calls are left, the last chunks are smaller.
* Results that wait behind a slow call are bounded, in seconds of work and in number; arguments on
  their way, in bytes.
"""

from __future__ import annotations

__all__ = ["TARGET", "ChunkPolicy", "check_chunksize"]

TARGET = 0.016
"""Seconds of work that a chunk aims at."""

_LEAST = 0.0005
"""Seconds of work below which that it is a job at all may be most of what a chunk takes: such a
chunk says little of its calls, and chunks are not made smaller than that towards the end."""

_SHORTEST = 1e-9
"""Seconds that a call takes at least: a clock may stand still."""

_LARGEST = 8192
"""Most calls of a chunk whose size is learnt."""

_GROWTH = 8
"""How many calls a chunk may have for each that has been timed."""

_FEW = 3
"""Chunks that may be out for each slot in any case: one runs, one waits there, one travels."""

_LARGEST_SIZE = 1 << 20
"""Bytes of arguments that a chunk of more than one call aims to stay below."""

_MOST_SIZE = 1 << 26
"""Bytes of arguments that may be out for each slot."""

_AHEAD = 0.25
"""Seconds of work that may be out for each slot."""

_BEHIND = 1.0
"""Seconds of work, for each slot, that may wait finished behind a slow call."""

_MOST_HELD = 4 * _LARGEST
"""Calls, for each slot, that may be out or have results that wait."""


def check_chunksize(chunksize: object) -> int | None:
    """Return the number of calls in each chunk; None if it is to be learnt.

    Raises:
        TypeError: it is neither a whole number nor ``"auto"``.
        ValueError: it is less than 1, or another word.
    """
    if chunksize == "auto":
        return None
    if isinstance(chunksize, str):
        raise ValueError(f'chunksize must be a whole number or "auto", not {chunksize!r:.60}')
    if isinstance(chunksize, bool) or not isinstance(chunksize, int):
        raise TypeError(f'chunksize must be a whole number or "auto", not {chunksize!r:.60}')
    if chunksize < 1:
        raise ValueError(f"chunksize must be 1 or more, not {chunksize}")
    return chunksize


class ChunkPolicy:
    """How many calls make a chunk, and how many chunks may be out.

    Args:
        fixed: calls in each chunk; None if the number is to be learnt.
        each: seconds of a call in another run of the same function, if there was one.

    Attributes:
        fixed: see above.
        each: seconds of a call: what the last ones took, and at once more if one took more.
        size: calls that a chunk should have.
    """

    def __init__(self, fixed: int | None = None, each: float | None = None) -> None:
        self.fixed = fixed
        self.each = each
        self.size = fixed or 1
        # How many calls have told something; another run has told enough.
        self._timed = 0 if each is None else _LARGEST
        # Bytes of the arguments of a call, followed as the seconds are.
        self._each_size = 0.0
        self._size_out = 0
        self._depth = float(_FEW)
        self._chunks_out = 0
        self._chunks_held = 0
        self._calls_held = 0
        self._seconds_behind = 0.0

    def sent(self, calls: int, size: int) -> None:
        """A chunk was submitted, with arguments of so many bytes."""
        each_size = size / calls
        self._each_size = max(each_size, (self._each_size + each_size) / 2)
        self._size_out += size
        self._steer()
        self._chunks_out += 1
        self._chunks_held += 1
        self._calls_held += calls

    def finished(self, calls: int, seconds: float | None, size: int) -> None:
        """A chunk has ended.

        Args:
            calls: how many of its calls were made.
            seconds: how long they took; None if that is not known.
            size: as ``sent`` was told.
        """
        self._chunks_out -= 1
        self._size_out -= size
        self._seconds_behind += seconds or 0.0
        if seconds is None or calls < 1:
            return
        self._timed += calls
        each = seconds / calls
        if self.each is None or (each > self.each and seconds > _LEAST):
            self.each = each
        elif each < self.each:
            self.each = (self.each + each) / 2
        self._steer()

    def delivered(self, calls: int, seconds: float | None) -> None:
        """The results of a chunk of so many calls, which took so long, do not wait any more."""
        self._chunks_held -= 1
        self._calls_held -= calls
        # Rounding must not add up over a run without end.
        self._seconds_behind = max(0.0, self._seconds_behind - (seconds or 0.0))

    def next_size(self, slots: int, left: int | None = None) -> int:
        """Return how many calls to submit next, 0 if there is enough to do.

        Args:
            slots: jobs that all nodes together run at a time.
            left: how many calls are left, as far as that is known.
        """
        slots = max(slots, 1)
        if self._chunks_out >= self._depth * slots:
            return 0
        if self._chunks_held >= _FEW * slots and (
            self._seconds_behind >= _BEHIND * slots
            or self._calls_held >= _MOST_HELD * slots
            or self._size_out >= _MOST_SIZE * slots
        ):
            return 0
        if self.fixed is not None or left is None or self.each is None:
            return self.size
        # Towards the end chunks become smaller, so that all workers end at about the same time.
        share = max(left // (2 * slots), int(_LEAST / max(self.each, _SHORTEST)))
        return max(1, min(self.size, share))

    def _steer(self) -> None:
        if self.each is None:
            return
        each = max(self.each, _SHORTEST)
        if self.fixed is None:
            wanted = min(TARGET / each, _LARGEST_SIZE / max(self._each_size, 1.0), _LARGEST)
            self.size = max(1, int(min(wanted, _GROWTH * self._timed)))
            # While it grows, what is learnt should count soon.
            if self.size < int(wanted):
                self._depth = _FEW
                return
        self._depth = max(_FEW, _AHEAD / (each * self.size))
