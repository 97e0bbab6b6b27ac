"""Two Monte Carlo estimates at the same time: keyword arguments, groups and a ``Template``.

    python examples/monte_carlo.py [SEED]

Each job has a seed of its own, so the result does not depend on which node runs which job.
"""

from __future__ import annotations

import math
import random
import statistics
import sys

import ppnext
from ppnext import Template

__all__ = ["estimate_pi", "main", "walk"]


def estimate_pi(seed: int, *, points: int) -> float:
    """Return four times the share of random points in a square that are in the circle."""
    generator = random.Random(seed)
    return (
        4
        * sum(generator.random() ** 2 + generator.random() ** 2 <= 1 for _ in range(points))
        / points
    )


def walk(seed: int, steps: int) -> float:
    """Return how far a walker is from where it set out, after steps in random directions."""
    generator = random.Random(seed)
    place = sum(
        complex(math.cos(angle), math.sin(angle))
        for angle in (generator.uniform(0, 2 * math.pi) for _ in range(steps))
    )
    return abs(place)


def main() -> None:
    """Estimate pi, and the distance of a random walk."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with ppnext.Server() as server:
        pies = [
            server.submit(estimate_pi, (seed + n,), kwargs={"points": 20_000}, group="pi")
            for n in range(40)
        ]
        walker = Template(server, walk, group="walk")
        walks = [walker.submit(seed + n, steps=400) for n in range(200)]

        server.wait("pi")
        found = [job() for job in pies]
        error = statistics.stdev(found) / math.sqrt(len(found))
        print(f"pi is about {statistics.mean(found):.4f} +- {error:.4f}")

        server.wait("walk")
        squares = statistics.mean(job() ** 2 for job in walks)
        print(f"after 400 steps: {math.sqrt(squares):.1f} steps away; theory says 20.0")
        server.print_stats()
    if abs(statistics.mean(found) - math.pi) > 6 * error:
        raise SystemExit("this is not pi")


if __name__ == "__main__":
    main()
