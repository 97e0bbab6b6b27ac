"""The ledger: what was submitted, how it has ended, and what must not have happened.

Pure: it is told, and judges. Each job ends exactly once, with the answer that its dice have or an
error that its kind may have; its callback is called once if there is an answer, and never
otherwise. Jobs of a client that was killed have nobody to end for, but still must not have been
started twice if they forbid that.

Faults can excuse endings: a job may well fail with ``MemoryError`` while memory is scarce, and be
given up as poison when its worker was killed three times by the laboratory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from tests.chaos.errands import KINDS, Errand

__all__ = ["Ending", "Entry", "Excuse", "Ledger"]

_POISON = 3
"""Deaths of its worker after which a job is given up."""

KILLED = "client killed"


class Ending(NamedTuple):
    """How a job has ended, as its client says.

    Attributes:
        name: ``"ok"``, or the name of the error.
        value: what it returned; of an array its checksum.
        text: what the error says.
        output: what it has printed.
        attempts: how often it was sent to a node.
    """

    name: str
    value: object
    text: str
    output: str
    attempts: int


@dataclass
class Excuse:
    """What may happen to jobs that are under way while a fault lasts.

    Attributes:
        names: of endings; ``"output"`` where what a job has printed may be incomplete.
        begin: when the fault began.
        end: when it was over, with its effects.
    """

    names: frozenset[str]
    begin: float
    end: float = inf


@dataclass
class Entry:
    """One job."""

    errand: Errand
    client: int
    submitted: float
    ended: float | None = None
    ending: str = ""
    calls: int = 0


class Ledger:
    """All jobs of a campaign.

    Args:
        started: how often a job that leaves marks was begun, by its dice.

    Attributes:
        entries: the jobs, by number.
        violations: what must not have happened, one line each.
    """

    def __init__(self, started: Callable[[int], int]) -> None:
        self.entries: dict[int, Entry] = {}
        self.violations: list[str] = []
        self._started = started
        self._unfinished: set[int] = set()
        self._deaths: list[float] = []
        self._excuses: list[Excuse] = []

    # What happens.

    def submitted(self, errand: Errand, client: int, now: float) -> None:
        """A client was told to submit a job."""
        self.entries[errand.number] = Entry(errand, client, now)
        self._unfinished.add(errand.number)

    def ended(self, number: int, ending: Ending, now: float) -> None:
        """A client says that a job has ended."""
        entry = self.entries[number]
        if entry.ended is not None:
            self._blame(entry, f"ended again with {ending.name}, after {entry.ending}")
            return
        entry.ended, entry.ending = now, ending.name
        self._unfinished.discard(number)
        what, wrong = self._wrong(entry, ending)
        if wrong and not self._is_excused(entry, what):
            self._blame(entry, wrong)

    def called(self, number: int) -> None:
        """A client says that a job's callback was called."""
        self.entries[number].calls += 1

    def client_killed(self, client: int, now: float) -> None:
        """A client is gone, and with it all that its jobs could end for."""
        for number in list(self._unfinished):
            entry = self.entries[number]
            if entry.client == client:
                entry.ended, entry.ending = now, KILLED
                self._unfinished.discard(number)

    def worker_killed(self, now: float) -> None:
        """The laboratory has killed a worker."""
        self._deaths.append(now)

    def excuse(self, excuse: Excuse) -> None:
        """A fault was there; jobs that were under way then may have ended as it makes them end."""
        self._excuses.append(excuse)

    # What is asked.

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return len(self._unfinished)

    @property
    def seconds_left(self) -> float:
        """About how long the jobs that have not ended take, one after the other."""
        return sum(self.entries[number].errand.seconds for number in self._unfinished)

    def close(self) -> None:
        """All must have ended by now: judge what can only be judged at the end."""
        for entry in self.entries.values():
            self._close(entry)

    def table(self) -> Counter[tuple[str, str]]:
        """How many jobs there were, by kind and ending."""
        return Counter(
            (entry.errand.kind, entry.ending or "never") for entry in self.entries.values()
        )

    # Judgement.

    def _wrong(self, entry: Entry, ending: Ending) -> tuple[str, str]:
        """Return the name under which a wrong ending may be excused, and what is wrong."""
        kind = KINDS[entry.errand.kind]
        expected = kind.expected(entry.errand.dice)
        told = ending.text if ending.name == "ValueError" else ending.value
        if ending.name == "PoisonedJob" and self._was_poisoned(entry):
            return "", ""
        if ending.name not in kind.endings:
            return ending.name, f"ended with {ending.name}: {' '.join(ending.text.split())[-400:]}"
        if ending.name in ("ok", "ValueError") and told != expected:
            return "value", f"gave {told!r}, not {expected!r}"
        if ending.name == "ok" and ending.output != kind.says(entry.errand.dice):
            return "output", f"printed {ending.output!r}"
        return "", ""

    def _was_poisoned(self, entry: Entry) -> bool:
        """Whether the laboratory may have killed the job's worker as often as jobs survive."""
        deaths = sum(entry.submitted <= at <= (entry.ended or at) for at in self._deaths)
        return deaths >= _POISON

    def _is_excused(self, entry: Entry, name: str) -> bool:
        return any(
            name in it.names and it.begin <= (entry.ended or it.begin) and entry.submitted <= it.end
            for it in self._excuses
        )

    def _close(self, entry: Entry) -> None:
        kind = KINDS[entry.errand.kind]
        if entry.ended is None:
            self._blame(entry, "never ended")
        if entry.ending == "ok" and not entry.calls and kind.arguments != "map":
            self._blame(entry, "its callback was not called")
        if entry.calls > (entry.ending in ("ok", KILLED)):
            self._blame(entry, f"its callback was called {entry.calls} times; {entry.ending}")
        if kind.once:
            starts = self._started(entry.errand.dice)
            if starts > 1 or (entry.ending == "ok" and starts != 1):
                self._blame(entry, f"was started {starts} times, and ended with {entry.ending}")

    def _blame(self, entry: Entry, what: str) -> None:
        errand = entry.errand
        when = f"submitted at {entry.submitted:.1f} by client {entry.client}"
        self.violations.append(
            f"job {errand.number} ({errand.kind}, dice {errand.dice}, {when}) {what}"
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())
