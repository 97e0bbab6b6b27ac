"""The worker: what runs inside a worker process.

One process, one job after the other, in the order in which they were sent.

* ``main``     the loop: take a job, run it, send what came of it
* ``inbox``    the jobs that have been sent and not started; gives them back when asked
* ``reports``  the results that have not been sent
* ``library``  the functions and objects that have been sent, ready to be used
* ``modules``  loads what imports the user's modules when a job first needs it
* ``projects`` which modules of the user's the present job sees
* ``importer`` modules from bundles
* ``shelf``    the bundles that have been sent, by content
* ``resources`` the files of a bundle, for ``importlib.resources``
* ``distributions`` what ``importlib.metadata`` is told of shipped packages
* ``interrupts`` the job that runs is stopped, and no other
* ``allowance`` what the system is told of a job's limits
* ``threads``  how many the libraries of a job may start that takes several slots
* ``units``    which of the machine's countable things the present job has
* ``capture``  what jobs write to their standard output and error
* ``lifeline`` the end of the worker when its parent has died
"""

from __future__ import annotations

__all__: list[str] = []
