"""Callbacks: an alternating series is summed in pieces, and each piece is added when it arrives.

    python examples/callback.py

1 - 1/2 + 1/3 - 1/4 + ... is the logarithm of 2. Callbacks are called one at a time, so ``Total``
needs no lock; ``wait`` returns when the last of them has returned.
"""

from __future__ import annotations

import math

import ppnext

__all__ = ["Total", "main", "partial_sum"]

TERMS = 4_000_000
PIECES = 32


def partial_sum(start: int, stop: int) -> float:
    """Return the terms from ``start`` up to ``stop``, added up."""
    return math.fsum((1 if n % 2 else -1) / n for n in range(start, stop))


class Total:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.value = 0.0
        self.pieces = 0

    def add(self, piece: int, value: float) -> None:
        """A piece has arrived. Its number comes from ``callbackargs``, its value from the job."""
        self.value += value
        self.pieces += 1
        if self.pieces % 8 == 0:
            print(f"{self.pieces:3} pieces, the last was number {piece}: {self.value:.9f}")


def main() -> None:
    """Sum the series."""
    total = Total()
    step = TERMS // PIECES
    with ppnext.Server() as server:
        for piece in range(PIECES):
            server.submit(
                partial_sum,
                (1 + piece * step, 1 + (piece + 1) * step),
                callback=total.add,
                callbackargs=(piece,),
            )
        server.wait()
    error = abs(total.value - math.log(2))
    print(f"sum {total.value:.9f}, log(2) {math.log(2):.9f}, difference {error:.1e}")
    if error > 1 / TERMS:
        raise SystemExit("that is more than the first term left out")


if __name__ == "__main__":
    main()
