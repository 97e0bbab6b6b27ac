"""Inquiries: each question is asked once at a time, and everybody who waits is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ppnext.server.inquiries import Inquiries
from ppnext.wire.messages import Facts, Found, Message, Seek

PATIENCE = 20.0


class Link:
    """A worker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes, str]] = []

    def found(self, module: str, digest: bytes, why: str = "") -> None:
        self.told.append((module, digest, why))


def test_a_module_is_sought_once_for_all_who_look_for_it() -> None:
    async def main() -> None:
        said: list[Message] = []
        inquiries = Inquiries(asyncio.get_running_loop(), said.append, [])
        one, two, other = Link(), Link(), Link()
        links: list[Any] = [one, two]
        for link in links:
            inquiries.seek(link, "helpers")
        inquiries.seek(other, "tools")  # type: ignore[arg-type]  # a fake
        assert said == [Seek("helpers"), Seek("tools")]
        inquiries.found(Found("helpers", b"d" * 32))
        inquiries.found(Found("nobody has asked", b""))
        assert one.told == two.told == [("helpers", b"d" * 32, "")]
        assert other.told == []
        inquiries.seek(links[0], "helpers")  # again, later: it may be another one by now
        assert said[2:] == [Seek("helpers")]

    asyncio.run(main())


def test_what_is_installed_is_looked_up_beside_the_loop() -> None:
    async def main() -> None:
        said: asyncio.Queue[Message] = asyncio.Queue()
        inquiries = Inquiries(asyncio.get_running_loop(), said.put_nowait, [])
        inquiries.ask(["msgspec", "no-such-thing"])
        assert said.empty()
        answer = await asyncio.wait_for(said.get(), PATIENCE)
        assert answer == Facts({"msgspec": msgspec.__version__, "no-such-thing": ""})

    asyncio.run(main())


def test_after_the_end_nothing_is_said() -> None:
    async def main() -> None:
        said: list[Message] = []
        inquiries = Inquiries(asyncio.get_running_loop(), said.append, [])
        link = Link()
        inquiries.seek(link, "helpers")  # type: ignore[arg-type]  # a fake
        inquiries.ask(["msgspec"])
        inquiries.close()
        inquiries.found(Found("helpers", b""))
        await asyncio.sleep(0)  # one turn of the loop, in which the task is cancelled
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0)  # and one for an answer that would come late
        assert link.told == [] and said == [Seek("helpers")]

    asyncio.run(main())
