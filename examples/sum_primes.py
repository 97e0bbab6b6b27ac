"""Sums of primes: Parallel Python's first example.

    python examples/sum_primes.py [NCPUS]

A job needs another function (``is_prime``) and a module (``math``). Both are found without being
named; ``depfuncs=`` and ``modules=`` may name them, as Parallel Python wants it.
"""

from __future__ import annotations

import math
import sys

import ppnext

__all__ = ["is_prime", "main", "sum_primes"]


def is_prime(n: int) -> bool:
    """Return whether ``n`` is a prime number."""
    return n >= 2 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))


def sum_primes(n: int) -> int:
    """Return the sum of all primes below ``n``."""
    return sum(x for x in range(2, n) if is_prime(x))


def main() -> None:
    """Submit eight jobs, and print their results in order."""
    ncpus = int(sys.argv[1]) if len(sys.argv) > 1 else "autodetect"
    with ppnext.Server(ncpus) as server:
        print(f"{server.get_ncpus()} workers")
        limits = range(20_000, 100_000, 10_000)
        jobs = [(limit, server.submit(sum_primes, (limit,))) for limit in limits]
        for limit, job in jobs:
            print(f"the sum of the primes below {limit:,} is {job():,}")
        server.print_stats()


if __name__ == "__main__":
    main()
