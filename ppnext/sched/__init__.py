"""The scheduler: which job runs where, and what happens when something dies.

PURE: events in (methods named ``on_<event>``), actions out, nothing else. No I/O, no clock, no
randomness. The client's engine and each session of a daemon own one instance each.

* ``model``      what a job and a node are to the scheduler, and their states
* ``claim``      what a job takes of its machine, besides one slot
* ``stock``      the countable things of a machine, and who has them
* ``host``       a machine, and how much of it is in use
* ``actions``    what it asks its owner to do
* ``policy``     the numbers: how much to prefetch, how often to try again
* ``backlog``    jobs that wait
* ``ranking``    nodes in the order of a key that changes
* ``loads``      which node takes the next job, which has jobs to spare
* ``pool``       the jobs with one need, and the nodes that can run them
* ``pools``      all of those
* ``clearing``   where jobs that take more than a slot find room, and how it is made
* ``dispatcher`` gives jobs to nodes, and asks for them back
* ``aftermath``  what becomes of a job that its node gives back, keeps, or has lost
* ``scheduler``  the events: what becomes of jobs and nodes
* ``fairshare``  how a daemon's slots are divided among its sessions
* ``invariants`` what must hold after every event
"""

from __future__ import annotations

__all__: list[str] = []
