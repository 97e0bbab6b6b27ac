"""Quicksort: divide here, conquer there.

    python examples/quicksort.py [LENGTH]

The list is split at pivots until the pieces are small; each piece is sorted by a job, and as the
pieces are in order, the sorted list is simply one after the other. Sorting is so fast that moving
a list to another process costs more than it saves: this shows how, not when, to divide.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import chain

import ppnext
from ppnext import Job, Server

__all__ = ["divide", "main"]

SMALL = 10_000


def divide(server: Server, numbers: list[float]) -> Iterator[Job]:
    """Yield jobs that return the sorted pieces of a list, smallest numbers first."""
    least, largest = min(numbers), max(numbers)
    if len(numbers) <= SMALL or least == largest:
        yield server.submit(sorted, (numbers,))
        return
    pivot = (least + largest) / 2
    # Should the pivot be rounded to one of them, each still goes to a side of its own.
    yield from divide(server, [n for n in numbers if n < pivot or n == least])
    yield from divide(server, [n for n in numbers if not (n < pivot or n == least)])


def main() -> None:
    """Sort random numbers."""
    length = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    generator = random.Random(length)
    numbers = [generator.random() for _ in range(length)]
    with ppnext.Server() as server:
        jobs = list(divide(server, numbers))
        result = list(chain.from_iterable(job() for job in jobs))
        print(f"{len(result):,} numbers in {len(jobs)} pieces")
        server.print_stats()
    if result != sorted(numbers):
        raise SystemExit("they are not sorted")
    print(f"sorted, from {result[0]:.6f} to {result[-1]:.6f}")


if __name__ == "__main__":
    main()
