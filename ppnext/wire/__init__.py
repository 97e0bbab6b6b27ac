"""The wire: what ppnext's processes say to each other, as bytes.

PURE: no socket, clock, randomness or thread. Bytes in, messages out, and back.

* ``frames``     how a stream is cut into control parts and payload parts
* ``messages``   what can be said, strictly typed
* ``fields``     what their fields may be
* ``limits``     what a job may use where it runs, and what it takes
* ``payloads``   what messages carry, opaque here
* ``outbox``     what is to be sent next: order, chunks
* ``connection`` one end of an established stream, heartbeats included
* ``keys``       the shared keys and their file format
* ``handshake``  how two ends prove to each other that they hold the same key
* ``admission``  how many strangers a daemon lets in, and how fast
"""

from __future__ import annotations

__all__: list[str] = []
