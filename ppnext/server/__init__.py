"""ppserver: the daemon that runs jobs for clients on other machines.

Its own process never unpickles anything: functions, arguments and results are bytes that it hands
on to worker processes.

* ``config``   what it is told: options, file, defaults
* ``interfaces`` which addresses it listens on
* ``session``  one authenticated client, and the workers that run its jobs
* ``daemon``   sessions, fair shares, signals, the end
* ``keyring``  the accepted keys, and when they change
* ``keytools`` making, listing, moving and revoking keys
* ``cli``      the ``ppserver`` command
"""

from __future__ import annotations

__all__: list[str] = []
