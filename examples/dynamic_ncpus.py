"""The same jobs with more and more workers, in one server.

    python examples/dynamic_ncpus.py [MOST]

``set_ncpus`` starts workers, or ends surplus ones as soon as they are idle. More workers than
cores do not help work like this one.
"""

from __future__ import annotations

import sys
import time

import ppnext

__all__ = ["count_divisors", "main"]


def count_divisors(n: int) -> int:
    """Return how many numbers divide ``n``."""
    return sum(n % divisor == 0 for divisor in range(1, n + 1))


def main() -> None:
    """Time sixteen jobs with one worker, two, four and so on."""
    numbers = range(1_500_000, 1_500_016)
    with ppnext.Server() as server:
        most = int(sys.argv[1]) if len(sys.argv) > 1 else server.get_ncpus()
        results = set()
        first = None
        ncpus = 1
        while ncpus <= most:
            server.set_ncpus(ncpus)
            # One short job, so that the start of a worker is not in the time.
            server.submit(count_divisors, (1,))()
            start = time.perf_counter()
            results.add(tuple(server.map(count_divisors, numbers)))
            seconds = time.perf_counter() - start
            first = first or seconds
            print(f"{ncpus:4} workers: {seconds:6.3f} s, {first / seconds:5.2f} times as fast")
            ncpus *= 2
    if len(results) != 1:
        raise SystemExit("the results differ")
    print("all results are the same")


if __name__ == "__main__":
    main()
