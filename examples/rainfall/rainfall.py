"""Once in a hundred years: how much rain is to be expected, and how sure is that?

    python examples/rainfall/rainfall.py                # on all cores of this machine
    python examples/rainfall/rainfall.py node1 node2    # on these machines instead

A project as it lies in a folder: this script, and beside it the package ``gauges`` with a file of
data. Nobody has installed it on the other machines. What the jobs need of it comes along.
"""

from __future__ import annotations

import sys

import gauges

import ppnext

__all__ = ["main"]

YEARS = 100
SAMPLES = 2000


def level_of(gauge: str) -> gauges.Level:
    """Return the level of a gauge; this function is the script's own and goes as source."""
    return gauges.return_level(gauge, YEARS, SAMPLES)


def main(hosts: list[str]) -> None:
    """Print the level of each gauge, and what has come along."""
    with ppnext.Server(0 if hosts else "autodetect", tuple(hosts)) as server:
        if not server.wait_for_nodes(1, timeout=30):
            raise SystemExit("no machine is there")
        jobs = [server.submit(level_of, (gauge,)) for gauge in gauges.names()]
        print(f"rain of a day that comes once in {YEARS} years, in mm")
        for job in jobs:
            level = job()
            print(f"{level.gauge:14} {level.value:5.0f}   {level.low:.0f} to {level.high:.0f}")
        try:
            server.submit(level_of, ("Nowhere",))()
        except gauges.UnknownGauge as error:
            print(f"the job for {error} has raised the project's own {type(error).__name__}")
        print(jobs[0].shipping)


if __name__ == "__main__":
    main(sys.argv[1:])
