"""The campaign: mixed jobs for some minutes, a fault every second, and the aftermath.

Jobs are submitted at a bounded rate, and only while not too many are unfinished, so that their
number is bounded as well. Every fault ends by itself; when the time is over, all are waited for.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.chaos.aftermath import aftermath, ready
from tests.chaos.drill import Drill, drill
from tests.chaos.errands import KINDS, Errand
from tests.chaos.faults import Misfortune, fitting, inflict, plan
from tests.chaos.laboratory import Laboratory, Scale
from tests.chaos.leaks import Growth, Slope

__all__ = ["Campaign", "Outcome"]

_TICK = 0.1
"""Seconds between two looks at everything."""

_PER_TICK = 3
_UNFINISHED = 50
"""Most jobs that are unfinished at a time."""

_STEEP = 1 << 20
"""Bytes a minute by which no process may grow, for certain."""

_MUCH = 16 << 20
"""Bytes below which growth is noise."""


class Outcome(NamedTuple):
    """What there is to report.

    Attributes:
        jobs: how many, by kind and ending.
        faults: how many, by name.
        skipped: how many found no machine that was free.
        drill: the times that were measured, if they were.
        slopes: how the memory of processes has grown.
        violations: what must not have happened.
        story: what happened, with the time.
    """

    jobs: Counter[tuple[str, str]]
    faults: Counter[str]
    skipped: Counter[str]
    drill: Drill | None
    slopes: list[Slope]
    violations: list[str]
    story: list[tuple[float, str]]


class Campaign:
    """One run.

    Args:
        seed: from which jobs and faults follow.
        seconds: for how long there are faults.
        names: the faults to choose from; all if empty.
        measured: whether there is a drill before.
        scale: how large the laboratory is.
        tell: is told each line of the story at once.
    """

    def __init__(
        self,
        seed: int,
        seconds: float,
        names: tuple[str, ...] = (),
        measured: bool = True,
        scale: Scale | None = None,
        tell: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._seed = seed
        self._seconds = seconds
        self._names = names
        self._measured = measured
        self._scale = scale or Scale()
        self._tell = tell
        self._numbers = count()
        self._faults: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._growth = Growth()

    async def run(self, folder: Path) -> Outcome:
        """Run it, in an empty folder; nothing is left running, whatever happens."""
        lab = Laboratory(folder, self._scale, self._tell)
        measured = None
        try:
            await lab.open()
            await ready(lab)
            if self._measured:
                measured = await drill(lab, self._numbers)
            await self._rage(lab)
            await aftermath(lab, self._numbers)
        except Exception:  # the rig itself; the report is to say how far it came
            lab.blame(f"the laboratory failed: {traceback.format_exc()}")
        finally:
            await lab.close()
        lab.ledger.close()
        return self._outcome(lab, measured)

    async def _rage(self, lab: Laboratory) -> None:
        """Harm the laboratory while it works."""
        names = [it for it in fitting(lab.machines) if not self._names or it in self._names]
        working = asyncio.ensure_future(self._work(lab))
        raging = asyncio.ensure_future(self._harm(lab, plan(self._seed, self._seconds, names)))
        try:
            done, _ = await asyncio.wait([working, raging], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (working, raging):
                task.cancel()
            await asyncio.gather(working, raging, return_exceptions=True)

    async def _harm(self, lab: Laboratory, misfortunes: list[Misfortune]) -> None:
        began = lab.now
        tasks: set[asyncio.Task[None]] = set()
        try:
            for it in misfortunes:
                await asyncio.sleep(max(0.0, began + it.at - lab.now))  # the plan's own times
                tasks.add(asyncio.ensure_future(self._inflict(lab, it)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _inflict(self, lab: Laboratory, it: Misfortune) -> None:
        try:
            happened = await inflict(lab, it)
        except Exception as error:  # what the laboratory cannot do is a violation like others
            lab.blame(f"{it.fault} failed: {error!r}")
            happened = True
        (self._faults if happened else self._skipped)[it.fault] += 1

    async def _work(self, lab: Laboratory) -> None:
        """Submit jobs, look after the laboratory and watch its memory, for ever."""
        errands = self._errands()
        for tick in count():
            if not lab.customer.busy and lab.customer.is_up:
                for _ in range(min(_PER_TICK, _UNFINISHED - lab.ledger.unfinished)):
                    lab.customer.submit(next(errands))
            await lab.look_after()
            if tick % 10 == 0:
                self._sample(lab)
            await asyncio.sleep(_TICK)  # the rate of jobs

    def _errands(self) -> Iterator[Errand]:
        chance = random.Random(self._seed)
        weights = [kind.weight for kind in KINDS.values()]
        for number in self._numbers:
            (kind,) = chance.choices(list(KINDS), weights)
            # No two have the same dice: some leave marks under them.
            yield Errand(number, kind, number * 1000 + chance.randrange(1000))

    def _sample(self, lab: Laboratory) -> None:
        for machine in lab.machines:
            if machine.is_up:
                self._growth.sample(f"daemon {machine.name}", machine.pid, lab.now)
        if lab.customer.is_up:
            self._growth.sample("client", lab.customer.pid, lab.now)

    def _outcome(self, lab: Laboratory, measured: Drill | None) -> Outcome:
        slopes = self._growth.slopes()
        steep = [
            f"{it.who} grew by {it.grown / 2**20:.1f} MiB in {it.seconds:.0f} s"
            for it in slopes
            if it.per_minute - 3 * it.error > _STEEP and it.grown > _MUCH
        ]
        violations = [*lab.violations, *lab.vigil.violations, *lab.ledger.violations, *steep]
        return Outcome(
            lab.ledger.table(),
            self._faults,
            self._skipped,
            measured,
            slopes,
            violations,
            lab.story,
        )
