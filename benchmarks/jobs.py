"""The jobs: functions in a module that every peer can import.

ppft ships the source of a function alone, so each imports what it needs and names no types.
"""

from __future__ import annotations

__all__ = ["nap", "nothing", "now", "part", "stay", "touch"]


def nothing(number):
    """Return the number."""
    return number


def nap(seconds):
    """Sleep so long, and return the seconds that it took: a sleep takes longer than it is told."""
    import time

    start = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - start


def now():
    """Return the time, of a clock that is the same for all processes."""
    import time

    return time.monotonic()


def stay(path):
    """Write the time to a file, and stay until somebody puts an end to it."""
    import time

    with open(path, "w", encoding="utf-8") as file:
        file.write(str(time.monotonic()))
    time.sleep(3600)


def touch(array):
    """Read a number of each page of an array, and return the array."""
    array[::512].sum()
    return array


def part(array, number, parts):
    """Return the sum of one of so many parts of an array."""
    size = len(array) // parts
    return float(array[number * size : (number + 1) * size].sum())
