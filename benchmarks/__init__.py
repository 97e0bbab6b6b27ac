"""ppnext and its peers, side by side: ``python -m benchmarks``, or ``make bench``.

What a job costs is measured, not what it does. Absolute values do not travel from one machine to
another, and not even from one hour to the next, so all peers run in one go, interleaved, in
several rounds, and what counts are the ratios.

The map of the house::

    jobs        the functions that are run
    peers/      one class for each system: how it is started, given jobs and ended
    measures/   what is measured, and the floors that the machine sets
    child       a process that holds one peer and measures one group
    simulated   a process that measures the scheduler alone
    scheduling  what it measures
    processes   what a run has started, its memory and processor time
    alone       a network of its own for peers that listen everywhere
    daemons     the ppservers for the remote peers
    environments    a virtual environment for each system
    runner      rounds: which child runs when, and what to do with one that hangs
    outcome     what a run has brought
    figures     PURE: what is to be reached, and whether it is
    table       PURE: medians, ratios, tables
    plots       PURE: SVG
    report      PURE: the page
    facts       what the machine is

A peer that cannot be had is left out by name. Nothing that is measured is ever asserted in a test.
"""

from __future__ import annotations

__all__: list[str] = []
