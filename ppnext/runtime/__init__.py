"""The runtime: the only place that touches the operating system for the job server.

* ``loop``       the event loop: in a thread of the client, or the daemon's main thread
* ``streams``    a socket and the protocol state of its end
* ``dialling``   how a connection to a daemon is made and authenticated
* ``listener``   how a daemon admits and authenticates clients
* ``tls``        TLS contexts and the daemon's ephemeral certificate
* ``processes``  worker processes
* ``cpus``       how many processors this process may use
* ``keystore``   key files
* ``privatefile`` files that only their owner can read or change
* ``addresses``  server names as users write them
* ``candidates`` addresses that were discovered, and when to try them
* ``vicinity``   which of them are near enough
* ``discovery``  mDNS
"""

from __future__ import annotations

__all__: list[str] = []
