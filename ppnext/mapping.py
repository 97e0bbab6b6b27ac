"""Mapping: one function over many arguments, in chunks that are submitted as jobs.

``MapRun`` pulls arguments, submits chunks and gives out their results, all in the thread of whoever
consumes it; other threads only tell it which chunk has ended. How large chunks are and how many may
be out, ``ChunkPolicy`` says.

* Arguments are pulled in the consumer's thread only, and not for longer than a chunk runs: one
  call goes at a time if they come slowly, and results that are there are given out first.
* A chunk that takes much longer than it was made for is broken off by its worker, and its rest is
  submitted anew.
* Of a chunk that ends without telling what became of its calls (workers died under it, an argument
  cannot be rebuilt there, a result cannot be pickled) each call is submitted on its own, so that
  only the guilty one fails; unless calls may not be made again, for some of them have been.
* Calls behind one that raises are not begun, unless that is asked for; those of other chunks may
  have been made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError
from itertools import chain, islice
from queue import SimpleQueue
from time import monotonic
from typing import Protocol, TypeAlias

from ppnext.chunking import TARGET, ChunkPolicy
from ppnext.errors import DestroyedServerError, NotShippable
from ppnext.shipping.chunks import decode_chunk

__all__ = ["Chunk", "ChunkJob", "MapRun", "Results", "Submit"]

_PATIENCE = 2 * TARGET
"""Seconds after which a worker begins no further call of a chunk."""

_SLOW = 0.004
"""Seconds of pulling arguments after which those that are there go as they are."""

_PIECE = 256
"""Most arguments pulled between two looks at the clock."""

_PARTS = 1000
"""Most parts into which a chunk that failed as a whole is divided."""

_ENDED = (DestroyedServerError, CancelledError)
"""What a chunk fails with that somebody has ended."""


class ChunkJob(Protocol):
    """What is asked of the job of a chunk; a ``Job`` has it."""

    tid: int
    node: str | None
    attempts: int
    seconds: float | None

    def result(self) -> object:
        """Return what ``Chunked`` returned; it has ended well."""

    def exception(self) -> BaseException | None:
        """Return what the job, not one of its calls, ended with; it has ended."""

    def drop(self) -> bool:
        """Cancel it if it has not been started."""


Submit: TypeAlias = Callable[
    [list[object], float, Callable[[object], object]], tuple[ChunkJob, int]
]
"""Submits a job for a list of arguments, with the patience of ``Chunked``; the last argument is
called with anything, in any thread, when it has ended. Returns the job and the bytes it carries.

Raises ``NotShippable`` if they cannot be pickled."""


class Chunk:
    """Some calls in a row, and what became of them.

    Args:
        calls: their arguments.
        first: the place of the first in the whole, from 0.
    """

    __slots__ = (
        "calls",
        "done",
        "error",
        "first",
        "job",
        "opened",
        "rest",
        "results",
        "seconds",
        "size",
    )

    def __init__(self, calls: list[object], first: int) -> None:
        self.calls = calls
        self.first = first
        self.job: ChunkJob | None = None
        self.size = 0
        self.done = False
        self.opened = False
        self.seconds: float | None = None
        # Of the calls that were made; after them what the next one raised; then what follows.
        self.results: list[object] = []
        self.error: BaseException | None = None
        self.rest: list[Chunk] = []

    def take_results(self) -> list[object]:
        """Return the results and forget them."""
        results, self.results = self.results, []
        return results

    def fail(self, error: BaseException) -> None:
        """It ends with an error and without a result."""
        self.done = self.opened = True
        self.error = error


class Results(Iterator[object]):
    """The results of a map, one after the other, to be used as a generator is.

    Args:
        lists: a generator of lists of results.
    """

    def __init__(self, lists: Generator[list[object], None, None]) -> None:
        self._lists = lists
        self._items = chain.from_iterable(lists)

    def __iter__(self) -> Iterator[object]:
        # Loops and list() ask for this once, and then run in C: a result costs them a quarter of
        # what it costs a generator to hand it on.
        return self._items

    def __next__(self) -> object:
        return next(self._items)

    def close(self) -> None:
        """Give out no more results, and cancel what has not been started."""
        self._lists.close()


class MapRun:
    """Submits chunks and gives out what became of them.

    Args:
        submit: see ``Submit``.
        slots: says how many jobs all nodes together run at a time.
        inputs: the arguments of each call.
        policy: how large chunks are.
        expected: how many inputs there are, if that is known; it need not be right.
        ordered: whether results come in the order of the calls, or as they are there.
        keep_going: whether calls behind one that raises are still made.
        again: whether calls may be made again of a chunk that does not tell what became of them.
        clock: seconds that go by.
    """

    def __init__(
        self,
        submit: Submit,
        slots: Callable[[], int],
        inputs: Iterator[object],
        policy: ChunkPolicy,
        *,
        expected: int | None = None,
        ordered: bool = True,
        keep_going: bool = False,
        again: bool = True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._submit_chunk = submit
        self._slots = slots
        self._inputs: Iterator[object] | None = inputs
        self._policy = policy
        self._expected = expected
        self._patience = _PATIENCE if policy.fixed is None else float("inf")
        self._ordered = ordered
        self._keep_going = keep_going
        self._again = again
        self._clock = clock
        self._pulled = 0
        self._slow_source = False
        # What the inputs raised.
        self._ending: BaseException | None = None
        self._stopped = False
        # Chunks that have ended, as other threads say; None to look whether to stop.
        self._ended: SimpleQueue[Chunk | None] = SimpleQueue()
        self._out: set[Chunk] = set()
        # In the order in which they are given out; unless ordered, only those that have ended.
        self._line: deque[Chunk] = deque()

    def results(self) -> Results:
        """Start, and return the results, which end with the first error.

        When they are closed or dropped, what has not been started is cancelled.
        """
        lists = self._lists()
        next(lists)  # to its first yield, so that closing it runs what ends it
        return Results(lists)

    def _lists(self) -> Generator[list[object], None, None]:
        try:
            self.start()
            yield []
            while (chunk := self.next_chunk()) is not None:
                error, chunk.error = chunk.error, None
                yield chunk.take_results()
                if error is not None:
                    try:
                        raise error
                    finally:
                        del error  # its traceback would hold this frame, which would hold it
        finally:
            self.stop()
            self._cancel()

    def start(self) -> None:
        """Submit the first chunks."""
        while self._send() and not self._slow_source:
            pass

    def stop(self) -> None:
        """Submit no more, and have ``next_chunk`` return None. From any thread."""
        self._stopped = True
        self._ended.put(None)

    def next_chunk(self) -> Chunk | None:
        """Wait for the next chunk that has ended; None when there is no more.

        The inputs' own error comes last, as a chunk without calls.
        """
        while not self._stopped:
            while not self._ended.empty():
                self._note(self._ended.get())
            ready = bool(self._line) and self._line[0].done
            # Workers get something to do before the consumer does, unless that takes long.
            sent = not (ready and self._slow_source) and self._send()
            if ready:
                return self._take()
            if not sent and not self._out:
                return self._last()
            if not sent:
                self._note(self._ended.get())
        self._cancel()
        return None

    # Out.

    def _send(self) -> bool:
        """Submit one chunk if there should be one more. Return whether that was so."""
        if self._inputs is None:
            return False
        left = None if self._expected is None else max(0, self._expected - self._pulled)
        size = self._policy.next_size(self._slots(), left)
        calls = self._pull(size) if size else []
        if calls:
            chunks = self._submit(calls, self._pulled)
            self._pulled += len(calls)
            if self._ordered:
                self._line.extend(chunks)
        return bool(calls)

    def _pull(self, size: int) -> list[object]:
        """Return the arguments of the next calls: so many, unless they end or come too slowly."""
        calls: list[object] = []
        end = self._clock() + _SLOW
        self._slow_source = False
        try:
            while self._inputs is not None and (have := len(calls)) < size:
                wanted = min(size - have, max(have, 1), _PIECE)
                calls.extend(islice(self._inputs, wanted))  # if it raises, those before it stay
                if len(calls) < have + wanted:
                    self._inputs = None
                self._slow_source = self._clock() > end
                if self._slow_source and self._policy.fixed is None:
                    break
        # The user's iterable may raise anything; it is raised when the results before it are out.
        except Exception as error:
            self._inputs, self._ending = None, error
        return calls

    def _submit(self, calls: list[object], first: int) -> list[Chunk]:
        """Submit calls as one chunk, or without the one that cannot be pickled as several."""
        chunk = Chunk(calls, first)
        ended = self._ended
        try:
            chunk.job, chunk.size = self._submit_chunk(
                calls, self._patience, lambda _: ended.put(chunk)
            )
        except NotShippable as error:
            if len(calls) > 1:
                middle = len(calls) // 2
                chunks = self._submit(calls[:middle], first)
                if chunks[-1].error is None or self._keep_going:
                    chunks += self._submit(calls[middle:], first + middle)
                return chunks
            self._fail(chunk, error)
        except DestroyedServerError as error:
            self._fail(chunk, error)
        else:
            self._policy.sent(len(calls), chunk.size)
            self._out.add(chunk)
        return [chunk]

    def _fail(self, chunk: Chunk, error: BaseException) -> None:
        chunk.fail(error)
        if not self._keep_going:
            self._inputs = None
        if not self._ordered:
            self._line.append(chunk)

    # Back.

    def _note(self, chunk: Chunk | None) -> None:
        """A chunk has ended."""
        if chunk is None or chunk.job is None:
            return
        self._out.discard(chunk)
        chunk.done = True
        seconds = chunk.seconds = chunk.job.seconds
        made = len(chunk.calls)
        # Only then some of it may have to be submitted again, which should not wait for its turn.
        if made > 1 and (seconds is None or seconds > self._patience):
            self._open(chunk)
            made = len(chunk.results)
        self._policy.finished(made, seconds, chunk.size)
        if not self._ordered:
            self._line.append(chunk)

    def _take(self) -> Chunk:
        """Take the next chunk out of the line; those that follow from it take its place."""
        chunk = self._line.popleft()
        if not chunk.opened:
            self._open(chunk)
        if self._ordered:
            self._line.extendleft(reversed(chunk.rest))
        if chunk.job is not None:
            self._policy.delivered(len(chunk.calls), chunk.seconds)
            chunk.job = None  # it knows a function that knows the chunk
        return chunk

    def _open(self, chunk: Chunk) -> None:
        """Unpickle what came back, and submit what is left to do."""
        job, calls = chunk.job, chunk.calls
        if job is None:
            raise AssertionError("a chunk that was not submitted has ended")
        chunk.opened = True
        failure = _failure(job)
        if failure is None:
            where = f"job {job.tid}, attempt {job.attempts}, on {job.node}"
            chunk.results, chunk.error = decode_chunk(job.result(), where)
            made = len(chunk.results)
            if chunk.error is None and made < len(calls):
                chunk.rest = self._submit(calls[made:], chunk.first + made)
            elif chunk.error is not None and self._keep_going:
                chunk.rest = self._divide(calls[made + 1 :], chunk.first + made + 1)
        elif len(calls) > 1 and self._again and not isinstance(failure, _ENDED):
            chunk.rest = self._divide(calls, chunk.first)
        else:
            chunk.error = failure

    def _divide(self, calls: list[object], first: int) -> list[Chunk]:
        size = -(-len(calls) // _PARTS) or 1
        chunks = []
        for start in range(0, len(calls), size):
            chunks += self._submit(calls[start : start + size], first + start)
        return chunks

    def _last(self) -> Chunk | None:
        if self._ending is None:
            return None
        chunk = Chunk([], self._pulled)
        chunk.fail(self._ending)
        self._ending = None
        return chunk

    def _cancel(self) -> None:
        """Cancel what has not been started, and forget everything."""
        for chunk in self._out:
            if chunk.job is not None:
                chunk.job.drop()
                chunk.job = None
        self._out.clear()
        self._line.clear()
        self._inputs = self._ending = None


def _failure(job: ChunkJob) -> BaseException | None:
    try:
        return job.exception()
    except CancelledError as error:
        return error
