"""The runtime: the only place that touches the operating system for the job server.

* ``loop``       the event loop, and visits to it
* ``signals``    how a visit is not interrupted
* ``watch``      readers that can be put aside for a moment
* ``looking``    what to do for a moment before going to sleep
* ``attendance`` a thread that waits serves the stream that it waits for
* ``streams``    a socket and the protocol state of its end
* ``records``    large reads and writes over TLS
* ``passing``    descriptors that go along with the bytes of a socket
* ``memfd``      memory without a name
* ``segments``   large payloads in such memory, written again and again
* ``sharing``    segments for those who send and receive payloads
* ``memory``     how much memory this process may use
* ``dialling``   how a connection to a daemon is made and authenticated
* ``listener``   how a daemon admits and authenticates clients
* ``tls``        TLS contexts and the daemon's ephemeral certificate
* ``processes``  worker processes
* ``threads``    how many threads the libraries in a worker may start
* ``units``      which of a machine's countable things are whose
* ``niceness``   how much workers give way to others
* ``progress``   which job a worker has started last, and where it is
* ``lastwords``  PURE: what a worker has left when it died
* ``footprint``  how much memory a process and its children have
* ``neighbours`` how much processor time others use on this machine
* ``cgroups``    where the limits of this process are written
* ``cpus``       how many processors this process may use
* ``distributions`` which versions of packages are installed here
* ``keystore``   key files
* ``runfiles``   which ppservers of this user run here
* ``privatefile`` files that only their owner can read or change
* ``addresses``  server names as users write them
* ``candidates`` addresses that were discovered, and when to try them
* ``vicinity``   which of them are near enough
* ``discovery``  mDNS
"""

from __future__ import annotations

__all__: list[str] = []
