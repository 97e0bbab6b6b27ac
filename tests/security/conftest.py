"""The stage for jobs."""

from __future__ import annotations

from tests.stage_fixture import stage

__all__ = ["stage"]
