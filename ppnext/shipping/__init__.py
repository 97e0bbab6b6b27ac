"""Shipping: the only place that pickles.

Used by the client and by the worker child, never by a daemon's own process: what it makes are
opaque bytes to everybody else.

* ``byvalue``    functions and classes that the other side cannot import, written as their content
* ``rebuild``    what their pickles call when they are loaded
* ``guards``     has anything changed that a shipped function was made of?
* ``functions``  a function and what it needs, as bytes with a content hash
* ``calls``      arguments on their way out
* ``loading``    functions and arguments where they have arrived
* ``outcomes``   results and exceptions on their way back
* ``envelope``   a pickle with its large buffers beside it
* ``chunks``     many calls of one function as one job
* ``broadcasts`` handles to objects that nodes hold
* ``culprits``   which part of an object cannot be pickled
"""

from __future__ import annotations

__all__: list[str] = []
