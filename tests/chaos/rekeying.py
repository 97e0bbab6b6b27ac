"""Faults of keys: a key file that is gone for a while, a key revoked, and all keys rotated.

Keys are changed as people change them, with the options of ``ppserver``.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.chaos.killing import replace_client
from tests.chaos.laboratory import Laboratory
from tests.chaos.machine import Machine

__all__ = ["remove_key_file", "revoke_key", "rotate_keys"]


async def _ppserver(key_file: Path, *options: str, given: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ppnext.server", "--key-file", str(key_file), *options,
        stdin=PIPE, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    said, trouble = await process.communicate(given.encode())
    if process.returncode:
        raise OSError(f"ppserver {' '.join(options)}: {trouble.decode().strip()}")
    return said.decode()


async def _kid(key_file: Path) -> str:
    """The id of the first key of a file."""
    return (await _ppserver(key_file, "--list-keys")).split()[0]


async def remove_key_file(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """The key file of a machine is gone for a while; what was read stays accepted."""
    aside = machine.key_file.with_suffix(".aside")
    machine.key_file.rename(aside)
    try:
        await asyncio.sleep(length)  # the fault itself
    finally:
        aside.rename(machine.key_file)
    return f"{length:.1f} s"


async def revoke_key(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """A machine does not accept the client's key for a while."""
    line = (await _ppserver(machine.key_file, "--export-key", "")).strip()
    try:
        await _ppserver(machine.key_file, "--revoke", line.split()[1])
        await asyncio.sleep(length)  # the fault itself
    finally:
        await _ppserver(machine.key_file, "--import-key", given=line)
    return f"{length:.1f} s"


async def rotate_keys(lab: Laboratory, machine: Machine, length: float, dice: int) -> str:
    """All machines get a new key, then the client, and the old one is revoked everywhere."""
    if lab.customer.busy or any(it.busy for it in lab.machines if it is not machine):
        return "not all were free"
    for it in lab.machines:
        it.busy = "rotate keys"
    lab.customer.busy = "rotate keys"
    try:
        await _rotate(lab)
    finally:
        lab.customer.busy = ""
        for it in lab.machines:
            it.busy = ""
    await replace_client(lab, "replaced by one with the new key")
    return f"client {lab.customer.number} takes over"


async def _rotate(lab: Laboratory) -> None:
    old = await _kid(lab.key_file)
    await _ppserver(lab.key_file, "--new-key", "next")
    await _ppserver(lab.key_file, "--revoke", old)
    line = await _ppserver(lab.key_file, "--export-key", await _kid(lab.key_file))
    for machine in lab.machines:
        await _ppserver(machine.key_file, "--import-key", given=line)
        await _ppserver(machine.key_file, "--revoke", old)
