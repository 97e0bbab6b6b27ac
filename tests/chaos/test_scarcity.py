"""What campaigns have found out about ppnext without memory and disk, as small as it gets."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from ppnext.runtime.loop import Turn
from ppnext.runtime.streams import Stream
from ppnext.wire.connection import Connection, Received
from ppnext.wire.messages import Message, Offer

PATIENCE = 5.0
ROOT = Path(__file__).resolve().parents[2]
SMALL_DISK = 'mount -t tmpfs -o size=64k full "$TMPDIR" && exec "$@"'
UNSHARE = ("unshare", "-m", "sh", "-c", SMALL_DISK, "sh")


class Starved(Connection):
    """A connection that once has no memory for what has arrived."""

    starved = False

    def receive_data(
        self, data: bytes, now: float, descriptors: Sequence[int] = ()
    ) -> list[Received]:
        if not self.starved:
            self.starved = True
            raise MemoryError
        return super().receive_data(data, now, descriptors)


def test_a_stream_without_memory_for_what_arrives_ends() -> None:
    """A message that is lost without a word may be a result, and its job would never end."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        near, far = socket.socketpair()
        near.setblocking(False)
        arrived: list[Message] = []
        ended: asyncio.Future[str | None] = loop.create_future()

        def on_messages(received: list[Received]) -> None:
            arrived.extend(it.message for it in received)

        stream = Stream(Turn(loop), near, Starved(0.0), on_messages, ended.set_result)
        try:
            for number in (1, 2):
                sender = Connection(0.0)
                sender.send(Offer(number))
                with suppress(BrokenPipeError):  # the stream has ended, as it should
                    far.sendall(b"".join(sender.data_to_send(0.0).buffers))
                await asyncio.wait([ended], timeout=0.2)  # so that each is read by itself
            assert not arrived, "the second message was received without the first"
            assert await asyncio.wait_for(ended, PATIENCE)
        finally:
            stream.close()
            far.close()

    asyncio.run(run())


FULL_DISK = textwrap.dedent(
    """
    import os, ppnext
    full = os.path.join(os.environ["TMPDIR"], "full")
    def fill():
        with open(full, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                pass
    with ppnext.Server(1) as server:
        lost = server.submit(os._exit, (1,), retry=False)
        assert isinstance(lost.exception(20), ppnext.WorkerDied)
        fill()  # after the first worker has given back what it had
        job = server.submit(abs, (-2,))
        job.wait(1.0)
        os.remove(full)
        assert job.result(20) == 2
    print("alive")
    """
)


@pytest.mark.netns
@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are Linux's")
def test_a_full_disk_kills_nobody_but_delays_workers(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    if (
        shutil.which("unshare") is None
        or subprocess.run([*UNSHARE, "true"], capture_output=True, env=environment).returncode
    ):
        pytest.skip("mount namespaces are not permitted here")
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", FULL_DISK],
        capture_output=True, text=True, timeout=100, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
