"""Limits: what a job may use where it runs, and what it takes there."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ppnext.wire.fields import Amounts, Count, Seconds

__all__ = ["Limits"]


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """What a job may use where it runs; what is 0 is not limited."""

    timeout: Seconds = 0.0
    """Seconds that its call may take."""
    memory: Count = 0
    """Bytes of memory of its own that it and its child processes may have."""
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] = 0
    """How much it gives way to other processes."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=2**20)] = 1
    """Threads that its libraries may use, and slots that it takes for them."""
    resources: Amounts = ()
    """Countable things that it takes."""
