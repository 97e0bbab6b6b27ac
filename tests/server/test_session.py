"""Session: what one authenticated client may do to a daemon, over a socket pair."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from ppnext.runtime.listener import Admitted
from ppnext.runtime.loop import Turn
from ppnext.runtime.processes import worker_environment
from ppnext.runtime.tls import client_context, ephemeral_certificate, server_context
from ppnext.server.session import JOBS_LIMIT, Session
from ppnext.server.shelf import Shelf
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.shipping.outcomes import decode_result
from ppnext.wire.connection import Connection, Heartbeat, Received
from ppnext.wire.keys import new_key
from ppnext.wire.messages import (
    PROTOCOL,
    Ask,
    Define,
    Died,
    Facts,
    Freed,
    Hello,
    Limits,
    Message,
    Need,
    Offer,
    Outcome,
    Ping,
    Result,
    Retract,
    Returned,
    Run,
    Start,
    Stop,
)
from ppnext.wire.payloads import split, view_of

PATIENCE = 20.0
IDENTITY = ephemeral_certificate()
KEY = new_key(secrets.token_bytes(32), bytes(range(16)), "lab")
OURS = Hello(PROTOCOL, "1", "3", "daemon", 1, 2)
THEIRS = Hello(PROTOCOL, "1", "3", "client", 2, 0)
DIGEST = bytes(32)


class Desk:
    """A daemon with one session: gives it what it asks for, and notes what it is told."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closes = 0

    def on_demand(self, session: Session) -> None:
        session.pool.resize(min(session.demand, self.workers))

    def on_closed(self, session: Session) -> None:
        self.closes += 1
        if not self.closed.done():
            self.closed.set_result(None)


class Client:
    """The other end: blocking TLS, in threads so that the loop goes on."""

    def __init__(self, sock: ssl.SSLSocket, desk: Desk, session: Session) -> None:
        self.sock, self.desk, self.session = sock, desk, session
        self.connection = Connection(0.0)
        self.heard: list[Received] = []

    async def say(self, *messages: Message | tuple[Message, bytes]) -> None:
        for message in messages:
            plain, *payloads = message if isinstance(message, tuple) else (message,)
            self.connection.send(plain, payloads)
        while buffers := self.connection.data_to_send(0.0).buffers:
            await asyncio.to_thread(self.sock.sendall, b"".join(buffers))

    async def hear(self, kind: type[Message]) -> Received:
        """The next message of a kind; all others are skipped."""
        while True:
            while self.heard:
                received = self.heard.pop(0)
                if isinstance(received.message, kind):
                    return Received(received.message, bytes(view_of(received.payload)))
            data = await asyncio.to_thread(self.sock.recv, 1 << 16)
            assert data, f"the session ended: {self.connection.farewell}"
            self.heard += self.connection.receive_data(data, 0.0)

    async def ended(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.desk.closed), PATIENCE)


def channel() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """A TLS connection on a socket pair: the client's end and the daemon's."""
    here, there = socket.socketpair()
    here.settimeout(PATIENCE)
    server = server_context(IDENTITY).wrap_socket(
        there, server_side=True, do_handshake_on_connect=False
    )
    there = server
    server.setblocking(False)
    client = client_context().wrap_socket(here, do_handshake_on_connect=False)
    client.setblocking(False)
    while True:
        done = 0
        for end in (client, server):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            break
    client.settimeout(PATIENCE)
    return client, server


def make(
    server: ssl.SSLSocket, desk: Desk, heartbeat: Heartbeat, restart: bool, shelf: Shelf
) -> Session:
    admitted = Admitted(server, "127.0.0.1", KEY, b"c" * 16, b"s" * 16, b"")
    return Session(
        Turn(asyncio.get_running_loop()),
        desk,
        admitted,
        OURS,
        list(sys.path),
        worker_environment(os.environ),
        restart,
        heartbeat,
        shelf,
    )


@asynccontextmanager
async def meeting(
    workers: int = 0,
    heartbeat: Heartbeat | None = None,
    restart: bool = False,
    shelf: Shelf | None = None,
) -> AsyncIterator[Client]:
    client, server = channel()
    desk = Desk(workers)
    session = make(server, desk, heartbeat or Heartbeat(), restart, shelf or Shelf())
    session.begin()
    try:
        yield Client(client, desk, session)
    finally:
        session.close("the test is over")
        client.close()


def run(work: Callable[[], object]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), PATIENCE)  # type: ignore[arg-type]  # any awaitable

    asyncio.run(bounded())


def job(number: int, digest: bytes = DIGEST, attempt: int = 1, size: int = 0) -> Run:
    return Run(digest, [Start(number, attempt, size)])


def call(number: int, digest: bytes, *args: object, attempt: int = 1) -> tuple[Run, bytes]:
    arguments = joined(encode_call(args, {}, 5))
    return job(number, digest, attempt, len(arguments)), arguments


def shipped(function: Callable[..., object]) -> tuple[bytes, bytes]:
    definition = FunctionShipper(5).ship(function, (), (), None)
    return definition.digest, definition.payload


def test_a_job_that_claims_what_there_is_not_is_answered_and_not_run() -> None:
    async def main() -> None:
        async with meeting(workers=1) as client:
            digest, function = shipped(abs)
            await client.say(THEIRS, (Define(digest), function))
            told = []
            for number, limits in enumerate([Limits(threads=3), Limits(resources=(("gpu", 1),))]):
                run, arguments = call(number, digest, -1)
                await client.say((msgspec.structs.replace(run, limits=limits), arguments))
                told.append((await client.hear(Died)).message)
            assert told == [
                Died(0, 1, "it takes 3 slots, and there are 2"),
                Died(1, 1, "it claims what is not here: this ppserver offers no gpu"),
            ]
            assert client.session.jobs_here == 0
            await client.say(call(2, digest, -1))
            await client.hear(Result)

    run(main)


def test_a_job_runs_and_comes_back() -> None:
    async def main() -> None:
        async with meeting(workers=1) as client:
            digest, function = shipped(abs)
            await client.say(THEIRS, job(7, digest, 3))
            assert (await client.hear(Hello)).message == OURS
            await client.hear(Need)
            await client.say((Define(digest), function))
            # Sent before its arguments would do as well: the worker asks again.
            failed = (await client.hear(Result)).message
            assert isinstance(failed, Result)
            [outcome] = failed.outcomes
            assert (outcome.job, outcome.attempt) == (7, 3)
            assert outcome.raised  # no arguments were sent
            await client.say(call(8, digest, -5))
            result = (await client.hear(Result)).message
            assert isinstance(result, Result)
            [outcome] = result.outcomes
            assert (outcome.job, outcome.raised) == (8, False)
            assert client.session.jobs_done == 2
            assert client.session.jobs_here == 0

    run(main)


def test_the_death_of_a_worker_is_told_and_not_retried_here() -> None:
    async def main() -> None:
        async with meeting(workers=1) as client:
            digest, function = shipped(os._exit)
            await client.say(THEIRS, (Define(digest), function), call(1, digest, 3))
            died = (await client.hear(Died)).message
            assert isinstance(died, Died)
            assert (died.job, died.attempt) == (1, 1)
            assert "exited with status 3" in died.cause
            # Attempt 2 is the client's decision.
            await client.say(call(1, digest, 4, attempt=2))
            assert "status 4" in (await client.hear(Died)).message.cause  # type: ignore[union-attr]  # a Died, as was asked for

    run(main)


def test_with_restart_every_job_has_a_process_of_its_own() -> None:
    async def main() -> None:
        async with meeting(workers=1, restart=True) as client:
            digest, function = shipped(os.getpid)
            calls = [call(number, digest) for number in range(3)]
            await client.say(THEIRS, (Define(digest), function), *calls)
            pids = {(await client.hear(Result)).payload for _ in range(3)}
            assert len(pids) == 3

    run(main)


def test_the_stop_of_an_attempt_that_has_ended_does_not_meet_the_next() -> None:
    """The worker, which hears of both on different channels, knows them by different numbers."""

    async def main() -> None:
        async with meeting(workers=1) as client:
            digest, function = shipped(divmod)
            await client.say(THEIRS, (Define(digest), function))
            numbers = set()
            for attempt in (1, 2, 3):
                await client.say(call(7, digest, 1, 0, attempt=attempt))
                result, payload = await client.hear(Result)
                assert isinstance(result, Result)
                assert [(it.job, it.attempt) for it in result.outcomes] == [(7, attempt)]
                numbers |= set(re.findall(rb"job 7, attempt (\d+)", view_of(payload)))
            assert len(numbers) == 3

    run(main)


def test_a_job_whose_stop_has_overtaken_it_is_handed_back() -> None:
    """Large arguments are sent in parts, between which other messages go."""

    async def main() -> None:
        async with meeting(workers=1) as client:
            digest, function = shipped(abs)
            await client.say(THEIRS, (Define(digest), function), Stop(7, 1, 2.0))
            await client.say(call(7, digest, -1), call(8, digest, -8))
            assert (await client.hear(Returned)).message == Returned([(7, 1)], [])
            result, payload = await client.hear(Result)
            assert [it.job for it in result.outcomes] == [8] and decode_result(payload) == 8
            await client.say(call(7, digest, -7, attempt=2))
            result, payload = await client.hear(Result)
            assert decode_result(payload) == 7

    run(main)


def test_jobs_of_one_message_come_back_each_with_its_result() -> None:
    async def main() -> None:
        async with meeting(workers=2) as client:
            digest, function = shipped(abs)
            parts = [joined(encode_call((-number,), {}, 5)) for number in range(100)]
            starts = [Start(number, 5, len(part)) for number, part in enumerate(parts)]
            batch = (Run(digest, starts), b"".join(parts))
            await client.say(THEIRS, (Define(digest), function), batch)
            values = {}
            while len(values) < 100:
                result, payload = await client.hear(Result)
                assert isinstance(result, Result)
                sizes = [outcome.size for outcome in result.outcomes]
                for outcome, part in zip(result.outcomes, split(payload, sizes), strict=True):
                    assert (outcome.attempt, outcome.raised) == (5, False)
                    assert outcome.job not in values
                    values[outcome.job] = decode_result(bytes(view_of(part)))
            assert values == {number: number for number in range(100)}
            assert client.session.jobs_done == 100

    run(main)


def test_large_arguments_and_results_cross() -> None:
    async def main() -> None:
        async with meeting(workers=1) as client:
            digest, function = shipped(bytes.upper)
            big = b"ab" * 700_000
            await client.say(THEIRS, (Define(digest), function), call(1, digest, big))
            result, payload = await client.hear(Result)
            assert isinstance(result, Result)
            assert decode_result(payload) == big.upper()

    run(main)


# What a client and its workers ask each other.


def test_what_is_installed_is_answered() -> None:
    async def main() -> None:
        async with meeting() as client:
            await client.say(THEIRS, Ask(["msgspec", "no-such-thing"]))
            facts = (await client.hear(Facts)).message
            assert isinstance(facts, Facts)
            assert facts.versions == {"msgspec": msgspec.__version__, "no-such-thing": ""}

    run(main)


def test_a_function_that_was_asked_for_is_there_for_the_next_client_of_the_key() -> None:
    async def main() -> None:
        shelf = Shelf()
        digest, function = shipped(abs)
        async with meeting(workers=1, shelf=shelf) as client:
            await client.say(THEIRS, call(1, digest, -1))
            await client.hear(Need)
            await client.say((Define(digest), function))
            await client.hear(Result)
        async with meeting(workers=1, shelf=shelf) as client:
            await client.say(THEIRS, call(1, digest, -2))
            result, payload = await client.hear(Result)
            assert isinstance(result, Result)
            assert decode_result(payload) == 2

    run(main)


# What a client may not do. Each ends its session, says nothing to it, and harms nobody else.


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([job(1)], "Run before Hello"),
        ([THEIRS, THEIRS], "Hello twice"),
        ([Hello(0, "0.0", "3.12.0", "old", 1, 0)], "speaks version 0 of the protocol"),
        ([THEIRS, Facts({})], "said Facts, which only we may"),
        ([THEIRS, (Define(DIGEST), b"something else")], "under a false content hash"),
        ([THEIRS, job(1), job(1, attempt=2)], "job 1 twice"),
        ([THEIRS, Result([Outcome(1, 1, 0, False, 0.0)])], "said Result, which only we may"),
        ([THEIRS, Run(DIGEST, [Start(1, 1, 0), Start(1, 2, 0)])], "job 1 twice"),
        ([THEIRS, (job(1, size=4), b"12345")], "5 bytes is said to have 4"),
        ([THEIRS, job(1, size=2**62)], "0 bytes is said to have"),
        ([THEIRS, (Run(DIGEST, [Start(1, 1, 2), Start(2, 1, 4)]), b"12345")], "said to have 6"),
        (
            [THEIRS, (Run(DIGEST, [Start(n, 1, 150_000) for n in (1, 2)]), bytes(300_000))],
            "share one large payload",
        ),
        ([THEIRS, Freed(1, 1, True)], "said Freed, which only we may"),
        ([THEIRS, Offer(3)], "said Offer, which only we may"),
        ([THEIRS, Need(DIGEST)], "said Need, which only we may"),
        ([THEIRS, Returned([], [])], "said Returned, which only we may"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whoever_breaks_the_rules_is_thrown_out(
    messages: list[Message], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        async with meeting() as client:
            await client.say(*messages)
            await client.ended()
            assert client.desk.closes == 1

    run(main)
    assert reason in caplog.text


def test_too_many_jobs_end_the_session(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        async with meeting() as client:
            starts = [Start(number, 1, 0) for number in range(JOBS_LIMIT)]
            batches = [starts[at : at + 1000] for at in range(0, JOBS_LIMIT, 1000)]
            await client.say(THEIRS, *(Run(DIGEST, batch) for batch in batches))
            await client.say(Ping(1))
            while client.session.jobs_here < JOBS_LIMIT:
                await asyncio.sleep(0.001)  # until all have been read
            await client.say(job(JOBS_LIMIT))
            await client.ended()

    run(main)
    assert f"more than {JOBS_LIMIT} jobs" in caplog.text


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 64, b"\x12\x01\x00\x00" + b"\x00" * 4 + b"\xff" * 8, b"\x63" + b"\x00" * 15],
    ids=["garbage", "huge length", "unknown kind"],
)
def test_garbage_ends_the_session(data: bytes) -> None:
    async def main() -> None:
        async with meeting() as client:
            await client.say(THEIRS)
            await asyncio.to_thread(client.sock.sendall, data)
            await client.ended()

    run(main)


def test_a_silent_client_is_given_up() -> None:
    async def main() -> None:
        async with meeting(heartbeat=Heartbeat(interval=0.02, dead=0.1)) as client:
            await client.ended()

    run(main)


# Taking back.


def test_jobs_that_have_not_started_are_given_back() -> None:
    async def main() -> None:
        async with meeting(workers=0) as client:
            await client.say(THEIRS, job(1), job(2), job(3))
            # 2 twice, 3 of another attempt, 9 never heard of.
            await client.say(Retract([(1, 1), (2, 1), (2, 1), (3, 2), (9, 1)]))
            returned: list[tuple[int, int]] = []
            kept: list[tuple[int, int]] = []
            while len(returned) < 2 or len(kept) < 2:
                answer = (await client.hear(Returned)).message
                assert isinstance(answer, Returned)
                returned += answer.jobs
                kept += answer.kept
            assert sorted(returned) == [(1, 1), (2, 1)]
            assert sorted(set(kept) - {(2, 1)}) == [(3, 2), (9, 1)]
            assert client.session.jobs_here == 1

    run(main)


def test_draining_gives_back_what_waits_and_says_bye_once() -> None:
    async def main() -> None:
        async with meeting(workers=0) as client:
            await client.say(THEIRS, job(1), job(2))
            while client.session.jobs_here < 2:
                await asyncio.sleep(0.001)  # until both have been read
            client.session.drain()
            client.session.drain()
            assert (await client.hear(Offer)).message == Offer(0)
            answer = (await client.hear(Returned)).message
            assert isinstance(answer, Returned)
            assert sorted(answer.jobs) == [(1, 1), (2, 1)]
            while data := await asyncio.to_thread(client.sock.recv, 4096):
                client.connection.receive_data(data, 0.0)
            assert client.connection.receive_eof()
            assert client.connection.farewell == "the daemon is being shut down"
            client.sock.close()
            await client.ended()

    run(main)


def test_draining_an_idle_session_ends_it() -> None:
    async def main() -> None:
        async with meeting() as client:
            await client.say(THEIRS)
            client.session.drain()
            while data := await asyncio.to_thread(client.sock.recv, 4096):
                client.connection.receive_data(data, 0.0)
            assert client.connection.receive_eof()
            client.sock.close()
            await client.ended()
            assert client.desk.closes == 1

    run(main)


def test_closing_tells_the_client_why() -> None:
    async def main() -> None:
        async with meeting() as client:
            client.session.close("its key is not accepted any more")
            client.session.close("again")
            while data := await asyncio.to_thread(client.sock.recv, 4096):
                client.connection.receive_data(data, 0.0)
            assert client.connection.farewell == "its key is not accepted any more"
            assert client.desk.closes == 1

    run(main)


def test_a_client_that_has_left_already_is_told_of_after_it_was_known() -> None:
    """Nothing is reported while the session is being made: nobody could know it yet."""

    async def main() -> None:
        client, server = channel()
        desk = Desk(0)
        client.close()
        session = make(server, desk, Heartbeat(), False, Shelf())
        assert desk.closes == 0
        session.begin()
        assert desk.closes == 1
        session.close("again")
        assert desk.closes == 1

    run(main)
