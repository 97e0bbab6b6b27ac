"""Fields: what the fields of messages may be. Decoding refuses everything else."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

__all__ = [
    "Amount",
    "Amounts",
    "Count",
    "Digest",
    "JobRef",
    "Jobs",
    "Line",
    "Name",
    "Names",
    "Seconds",
    "Slots",
    "Text",
]

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Slots: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**20)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=1024)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=12_000)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""Neither negative, infinite nor NaN: it is calculated with."""

JobRef: TypeAlias = tuple[Count, Count]
"""A job's number and the attempt meant."""

Names: TypeAlias = Annotated[list[Line], msgspec.Meta(min_length=1, max_length=256)]

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**53)]

Amounts: TypeAlias = Annotated[tuple[tuple[Name, Amount], ...], msgspec.Meta(max_length=64)]
"""How much of which things of a machine."""

Jobs: TypeAlias = Annotated[list[JobRef], msgspec.Meta(max_length=4096)]
