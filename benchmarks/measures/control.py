"""Jobs that are stopped: how soon their slot runs another, and how exactly a timeout is kept.

Jobs say when they began by writing the time to a file; the clock is the same for all processes of a
machine. All slots are taken, so that the job behind can only start where one was stopped.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.jobs import now, stay
from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running

__all__ = ["control"]

TIMEOUT = 0.2
PATIENCE = 20.0


def control(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Stop jobs by hand and by timeout."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        reused = [_reuse(peer, folder / f"c{n}", orders["workers"]) for n in range(sizes.stops)]
        late = [_lateness(peer, folder / f"t{n}") for n in range(sizes.stops)]
    return Found(
        {
            "stop_reuse": 1e3 * statistics.median(reused),
            "timeout_late": 1e3 * statistics.median(late),
        },
        {},
    )


def _reuse(peer: Running, path: Path, slots: int) -> float:
    """Return the seconds from the cancelling of a job to the start of the next in its slot."""
    files = [path.with_suffix(f".{slot}") for slot in range(slots)]
    handles = [peer.submit(stay, str(file)) for file in files]
    for file in files:
        _began(file)
    following = peer.submit(now)
    cancelled = time.monotonic()
    peer.cancel(handles[0])
    began: float = peer.collect(following)
    for handle in handles[1:]:
        peer.cancel(handle)
    return began - cancelled


def _lateness(peer: Running, path: Path) -> float:
    """Return the seconds from the end of a job's time to the moment at which its user knows."""
    handle = peer.submit_within(TIMEOUT, stay, str(path))
    peer.failure(handle)
    return time.monotonic() - _began(path) - TIMEOUT


def _began(file: Path) -> float:
    """Wait until a job has begun. Return when it did."""
    until = time.monotonic() + PATIENCE
    while not (file.exists() and (text := file.read_text(encoding="utf-8"))):
        if time.monotonic() > until:
            raise ValueError("a job did not start")
        time.sleep(0.001)
    return float(text)
