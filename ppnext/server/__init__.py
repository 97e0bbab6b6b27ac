"""ppserver: the daemon that runs jobs for clients on other machines.

Its own process never unpickles anything: functions, arguments and results are bytes that it hands
on to worker processes.

* ``config``   what it is told: options, file, defaults
* ``interfaces`` which addresses it listens on
* ``session``  one authenticated client, and the workers that run its jobs
* ``calls``    what a client wants to be run, as its session keeps it
* ``daemon``   sessions, fair shares, signals, the end
* ``politeness`` how many slots the owner of the machine leaves
* ``yielding`` slots that are given back while others use the machine
* ``guests``   jobs of a session that are suspended, continued, or given up
* ``slots``    how many slots a session could use
* ``answers``  jobs that a session hands back or has kept
* ``inquiries`` what a session's client and workers want to know of each other
* ``shelf``    what clients have brought before
* ``keyring``  the accepted keys, and when they change
* ``draining`` tells ppservers that run here to end
* ``keytools`` making, listing, moving and revoking keys
* ``cli``      the ``ppserver`` command
"""

from __future__ import annotations

__all__: list[str] = []
