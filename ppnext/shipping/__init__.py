"""Shipping: the only place that pickles.

Used by the client and by the worker child, never by a daemon's own process: what it makes are
opaque bytes to everybody else.

Functions and classes:

* ``functions``  a function and what it needs, as bytes with a content hash
* ``byvalue``    functions and classes that the other side cannot import, written as their content
* ``source``     where a function's code stands in its file, if what stands there is what runs
* ``compiling``  a function's code out of the source text that came along with it
* ``reducers``   objects that are written in another form than pickle's own
* ``recipes``    classes that are made again at the other end instead of being copied
* ``remake``     what the pickles of recipes call when they are loaded
* ``rebuild``    what the other pickles of functions and classes call when they are loaded
* ``moved``      classes that one Python pickles under a name which another does not know
* ``ledger``     what a pickle is made of, in which form and why
* ``guards``     has anything changed that a shipped function was made of?

The user's modules:

* ``outfit``     a function together with the modules of the user's that it needs
* ``project``    which modules are the user's own, and their bundles as they are now
* ``roots``      the folders whose modules are the user's own
* ``places``     where on disk a module of the user's is
* ``installed``  distributions that are named in ``ship=``
* ``imported``   which modules the source of a module imports
* ``trees``      the files of a module as they were read, and whether they still are the same
* ``bundles``    a module or package of the user's, as bytes
* ``contents``   the files of a bundle where it has arrived

Calls and what comes of them:

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
