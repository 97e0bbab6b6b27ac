"""ppnext and its peers, side by side: ``python -m benchmarks``, or ``make bench``.

What a job costs is measured, not what it does: the jobs do nothing. Absolute values do not travel
from one machine to another, and not even from one hour to the next, so all peers run in one go,
interleaved, in several rounds, and what counts are the ratios.

The map of the house::

    jobs        the functions that are run
    peers       one class for each system: how it is started, given a job and ended
    child       a process that holds one peer and measures it
    measures    what is measured
    daemons     the ppservers for the remote peers
    runner      rounds: which child runs when, and what to do with one that hangs
    environments    virtual environments for peers that need one
    table       PURE: medians, ratios and the Markdown
    facts       what the machine is

A peer that cannot be had is left out by name. Nothing here is ever asserted in a test.
"""

from __future__ import annotations

__all__: list[str] = []
