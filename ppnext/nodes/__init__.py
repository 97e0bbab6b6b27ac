"""Nodes: what runs jobs. The engine drives them all through the same ``Link``.

* ``link``   a connected node: run, retract, close; and what it reports
* ``greeting`` whether two ends of different releases can work together
* ``guard``  ends the job that a worker runs when it may not go on
* ``pressure`` PURE: whether a machine is short of memory, and which job gives way
* ``relief`` has it give way, and no other be started until there is room
* ``countdown`` seconds of a job that can be held up
* ``workers`` a worker process as its pool keeps it, suspended or not
* ``roles``  what a link needs of jobs and of its owner
* ``local``  worker processes on this machine: started, replaced, fewer or more of them
* ``remote`` daemons on other machines: found, dialled, dialled again
"""

from __future__ import annotations

__all__: list[str] = []
