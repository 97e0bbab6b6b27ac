"""Slots in use: they stay for a moment after a job, so that the next one finds its worker."""

from __future__ import annotations

import asyncio

from ppnext.server.slots import SlotsInUse

PATIENCE = 20.0


def test_slots_stay_in_use_for_a_moment_and_are_given_back_then() -> None:
    async def main() -> None:
        jobs, less = 0, asyncio.Event()
        slots = SlotsInUse(asyncio.get_running_loop(), 4, lambda: jobs, less.set)
        jobs = 3
        slots.note()
        assert slots.demand == 3
        jobs = 1
        slots.note()
        assert slots.demand == 3 and not less.is_set()
        await asyncio.wait_for(less.wait(), PATIENCE)
        assert slots.demand == 1

    asyncio.run(main())


def test_the_next_jobs_take_them_over() -> None:
    async def main() -> None:
        jobs, less = 2, asyncio.Event()
        loop = asyncio.get_running_loop()
        slots = SlotsInUse(loop, 4, lambda: jobs, less.set)
        slots.note()
        jobs = 0
        slots.note()
        jobs = 2
        slots.note()
        # A timer that was set later goes off later: the first one has been cancelled.
        await asyncio.sleep(0.15)
        assert slots.demand == 2 and not less.is_set()

    asyncio.run(main())


def test_more_jobs_than_slots_are_a_demand_and_no_use() -> None:
    async def main() -> None:
        jobs, less = 100, asyncio.Event()
        slots = SlotsInUse(asyncio.get_running_loop(), 4, lambda: jobs, less.set)
        slots.note()
        assert slots.demand == 100
        jobs = 0
        slots.note()
        assert slots.demand == 4
        slots.close()

    asyncio.run(main())
