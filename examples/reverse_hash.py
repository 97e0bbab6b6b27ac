"""Find the number behind a hash, by trying all numbers, and stop as soon as it is found.

    python examples/reverse_hash.py [SECRET_NUMBER]

Results are looked at as they come (jobs are futures, so ``as_completed`` takes them), and what
has not been started by then is cancelled.
"""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import as_completed

import ppnext

__all__ = ["digest", "main", "search"]

NUMBERS = 2_000_000
RANGE = 25_000


def digest(number: int) -> str:
    """Return the hash of a number."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def search(wanted: str, start: int, stop: int) -> int | None:
    """Return the number from ``start`` up to ``stop`` that has this hash, or None."""
    return next((n for n in range(start, stop) if digest(n) == wanted), None)


def main() -> None:
    """Hide a number and find it."""
    secret = int(sys.argv[1]) if len(sys.argv) > 1 else 654_321
    wanted = digest(secret)
    print(f"which number below {NUMBERS:,} has the hash {wanted[:16]}...?")
    with ppnext.Server() as server:
        jobs = [
            server.submit(search, (wanted, start, start + RANGE))
            for start in range(0, NUMBERS, RANGE)
        ]
        for job in as_completed(jobs):
            if job() is not None:
                print(f"{job():,}, found by job {job.tid} on {job.node}")
                cancelled = sum(other.cancel() for other in jobs)
                print(f"{len(jobs)} jobs, {cancelled} of them were not needed any more")
                return
    raise SystemExit("no number has it")


if __name__ == "__main__":
    main()
