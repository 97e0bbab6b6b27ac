"""Ends of other releases: they work with this one, and are not told what they do not know.

The other ends are pretended: the handshake and the frames are real, the Hello and what is said
after it are the test's.
"""

from __future__ import annotations

import hashlib
import importlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ppnext import Server
from ppnext.shipping.calls import encode_call
from ppnext.shipping.envelope import joined
from ppnext.shipping.functions import FunctionShipper
from ppnext.shipping.outcomes import decode_result
from ppnext.wire.frames import encode_header
from ppnext.wire.messages import (
    KINDS,
    OLDEST,
    PROTOCOL,
    SINCE,
    Ask,
    Define,
    Drop,
    Facts,
    Found,
    Hello,
    Need,
    Result,
    Run,
    Seek,
    Start,
    Unfit,
)
from tests.peer_fixture import (
    PretendedClient,
    PretendedDaemon,
    pretended_client,
    pretended_daemon,
)
from tests.ppserver_fixture import PPServers
from tests.pythons_fixture import NamedServers, Pythons, named_servers, pythons

__all__ = ["named_servers", "pretended_client", "pretended_daemon", "pythons"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PATIENCE = 20.0
HERE = platform.python_version()
NEW = {kind.__name__ for kind in SINCE}
Pretend = Callable[[Hello], PretendedDaemon]
Connect = Callable[[int], PretendedClient]


def hello(protocol: int, slots: int = 2, python: str = HERE) -> Hello:
    return Hello(protocol, f"0.{protocol}", python, "pretended", 1, slots)


# Daemons of other releases.


@pytest.mark.parametrize("protocol", [OLDEST, PROTOCOL, PROTOCOL + 1])
def test_jobs_run_on_a_daemon_of_another_release(
    pretended_daemon: Pretend, key_file: Path, protocol: int
) -> None:
    daemon = pretended_daemon(hello(protocol))
    with Server(0, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        jobs = [server.submit(lambda x: x * 3, (x,)) for x in range(30)]
        assert [job.result(PATIENCE) for job in jobs] == [3 * x for x in range(30)]
        assert list(server.map(abs, range(-40, 0))) == list(range(40, 0, -1))
    daemon.wait_for_the_end()
    assert daemon.kinds() >= {"Hello", "Define", "Run"}
    assert not daemon.kinds() & NEW


def test_an_older_daemon_gets_no_jobs_that_have_limits(
    pretended_daemon: Pretend, key_file: Path
) -> None:
    daemon = pretended_daemon(hello(OLDEST))
    with Server(0, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        job = server.submit(abs, (-1,), timeout=PATIENCE)
        assert server.submit(abs, (-2,)).result(PATIENCE) == 2
        assert (
            f"no node can run it: {daemon.address} has an older ppnext, which cannot hold jobs to "
            "limits" in job.status()
        )
        server.set_ncpus(1)
        assert job.result(PATIENCE) == 1
        assert job.node == "local"
    assert not daemon.kinds() & NEW


def test_a_newer_daemon_is_asked_and_answered(
    pretended_daemon: Pretend, key_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "known_to_the_client.py").write_text("VALUE = 1\n")
    daemon = pretended_daemon(hello(PROTOCOL + 1))
    with Server(0, (daemon.address,), key_file=key_file, ship_roots=[tmp_path]) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        job = server.submit(abs, (-1,), requires=("some-kit>=2",))
        assert daemon.wait_for(Ask).distributions == ["some-kit"]
        assert "has not said yet whether it has some-kit" in job.status()
        daemon.say(Facts({"some-kit": "2.5"}))
        assert job.result(PATIENCE) == 1
        daemon.say(Seek("known_to_the_client"))
        found = daemon.wait_for(Found)
        assert found.module == "known_to_the_client" and len(found.digest) == 32
        daemon.say(Need(found.digest))
        daemon.wait_for(Define, 2)


def test_a_job_that_a_daemon_cannot_load_goes_to_another(
    pretended_daemon: Pretend, key_file: Path
) -> None:
    daemon = pretended_daemon(hello(PROTOCOL, python="3.99.1"))
    daemon.runs_jobs = False
    with Server(0, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        job = server.submit(lambda: 5)
        (start,) = daemon.wait_for(Run).jobs
        daemon.say(Unfit(start.job, start.attempt, "new syntax"))
        daemon.say(Unfit(start.job, start.attempt, "said twice"))
        daemon.say(Unfit(12345, 1, "no such job"))
        other = pretended_daemon(hello(PROTOCOL))  # its address is not known to the client
        server.set_ncpus(1)
        assert job.result(PATIENCE) == 5 and job.node == "local"
        assert not other.kinds()
        assert daemon.address in server.get_active_nodes()


# Daemons that say what is not so.


@pytest.mark.parametrize("python", ["", "garbage", "3", "3.11.2+", "9" * 1000])
def test_a_daemon_with_no_proper_version_of_python_does_no_harm(
    pretended_daemon: Pretend, key_file: Path, python: str
) -> None:
    daemon = pretended_daemon(hello(PROTOCOL, python=python))
    with Server(1, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        for requires in ((), (f"python=={HERE}",), ("python>=3.10", "msgspec")):
            jobs = [server.submit(abs, (-x,), requires=requires) for x in range(8)]
            assert [job.result(PATIENCE) for job in jobs] == list(range(8))


NONSENSE = ["", "../x", "a.b", "x" * 1000, "os", "sys", "__main__", "\0", "ppnext", "näme", "a b"]


def test_a_daemon_that_asks_for_nonsense_is_answered_and_gets_nothing(
    pretended_daemon: Pretend, key_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    daemon = pretended_daemon(hello(PROTOCOL))
    with Server(0, (daemon.address,), key_file=key_file, ship_roots=[tmp_path]) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        for module in NONSENSE:
            daemon.say(Seek(module))
        daemon.wait_for(Found, len(NONSENSE))
        told = daemon.heard(Found)
        assert [it.module for it in told] == NONSENSE
        assert all(it.digest == b"" for it in told)
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1
    assert not any(define for define in daemon.heard(Define)[1:])


def test_a_daemon_that_asks_for_what_it_was_never_told_of_gets_nothing(
    pretended_daemon: Pretend, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = pretended_daemon(hello(PROTOCOL))
    with Server(0, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        for filler in range(20):
            daemon.say(Need(bytes([filler]) * 32))
        daemon.say(Facts({f"kit{number}": "1" for number in range(256)}))
        assert [server.submit(abs, (-x,)).result(PATIENCE) for x in range(5)] == list(range(5))
    assert len(daemon.heard(Define)) == 1
    assert daemon.heard(Drop) == [Drop(bytes([filler]) * 32) for filler in range(20)]
    assert not caplog.records  # it may ask for anything, and often


@pytest.mark.parametrize("version", ["", "blue", "1" * 1000, "2.0; rm", "é"])
def test_a_daemon_with_odd_versions_of_what_is_installed(
    pretended_daemon: Pretend, key_file: Path, version: str
) -> None:
    daemon = pretended_daemon(hello(PROTOCOL))
    with Server(1, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        jobs = [server.submit(abs, (-x,), requires=("msgspec>=0.1,<100",)) for x in range(8)]
        daemon.wait_for(Ask)
        daemon.say(Facts({"msgspec": version, "dill": "9"}))
        assert [job.result(PATIENCE) for job in jobs] == list(range(8))
        assert {job.node for job in jobs} == {"local"}
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1


@pytest.mark.parametrize(
    "message", [Ask(["dill"]), Found("x", b""), Run(bytes(32), [Start(1, 1, 0)])]
)
def test_a_daemon_that_says_what_only_clients_may_is_left(
    pretended_daemon: Pretend, key_file: Path, message: Any
) -> None:
    daemon = pretended_daemon(hello(PROTOCOL))
    with Server(1, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        daemon.say(message)
        daemon.wait_for_the_end()
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1


def test_a_daemon_that_says_too_long_names_is_left(
    pretended_daemon: Pretend, key_file: Path
) -> None:
    daemon = pretended_daemon(hello(PROTOCOL))
    with Server(1, (daemon.address,), key_file=key_file) as server:
        assert server.wait_for_nodes(2, PATIENCE)
        daemon.say(Seek("x" * 10_000))
        daemon.wait_for_the_end()
        assert not daemon.heard(Found)
        assert server.submit(abs, (-1,)).result(PATIENCE) == 1


# Clients of other releases.


def definition_of(function: Callable[..., object]) -> tuple[bytes, bytes]:
    definition = FunctionShipper(5).ship(function)
    return definition.digest, definition.payload


def submit(client: PretendedClient, number: int, digest: bytes, *args: object) -> None:
    arguments = joined(encode_call(args, {}, 5))
    client.say(Run(digest, [Start(number, 1, len(arguments))]), arguments)


@pytest.mark.parametrize("protocol", [OLDEST, PROTOCOL, PROTOCOL + 1])
def test_jobs_of_a_client_of_another_release(
    ppserver: PPServers, pretended_client: Connect, protocol: int
) -> None:
    client = pretended_client(ppserver.start().port)
    client.say(hello(protocol, slots=0))
    digest, payload = definition_of(lambda x: x + 1)
    client.say(Define(digest), payload)
    for number in range(5):
        submit(client, number, digest, number)
    results: dict[int, object] = {}
    while len(results) < 5:
        message, content = client.hear(Result)
        assert isinstance(message, Result)
        for outcome in message.outcomes:
            results[outcome.job] = decode_result(content[: outcome.size])
            content = content[outcome.size :]
    assert results == {number: number + 1 for number in range(5)}
    assert not client.heard & NEW


def missing() -> str:
    try:
        importlib.import_module("no_such_module_of_the_client")
    except ModuleNotFoundError as error:
        return str(error)
    return "it is there"


@pytest.mark.parametrize("protocol", [OLDEST, PROTOCOL, PROTOCOL + 1])
def test_a_client_of_another_release_is_asked_for_modules(
    ppserver: PPServers, pretended_client: Connect, protocol: int
) -> None:
    client = pretended_client(ppserver.start().port)
    client.say(hello(protocol, slots=0))
    digest, payload = definition_of(missing)
    client.say(Define(digest), payload)
    submit(client, 1, digest)
    seek, _ = client.hear(Seek)
    assert seek == Seek("no_such_module_of_the_client")
    client.say(Found("never_asked_for", b"x" * 32))
    client.say(Found("no_such_module_of_the_client", b""))
    _, content = client.hear(Result)
    assert decode_result(content) == "No module named 'no_such_module_of_the_client'"


@pytest.mark.parametrize("protocol", [OLDEST, PROTOCOL, PROTOCOL + 1])
def test_a_client_of_another_release_hears_why_a_job_is_not_run(
    named_servers: NamedServers, pythons: Pythons, pretended_client: Connect, protocol: int
) -> None:
    other = pythons.others()[-1]
    client = pretended_client(named_servers.start(pythons.paths[other]).port)
    client.say(hello(protocol, slots=0))
    space: dict[str, Any] = {}
    exec("def f(): return 1", space)
    digest, payload = definition_of(space["f"])
    client.say(Define(digest), payload)
    submit(client, 1, digest)
    told, _ = client.hear(Unfit)
    assert isinstance(told, Unfit) and f"this node's Python {other}" in told.why
    # The worker has not died, and runs what it can.
    digest, payload = definition_of(abs)
    client.say(Define(digest), payload)
    submit(client, 2, digest, -7)
    _, content = client.hear(Result)
    assert decode_result(content) == 7


def test_a_newer_client_may_say_more_in_messages_that_are_known(
    ppserver: PPServers, pretended_client: Connect
) -> None:
    """New fields come at the end; here they are ignored."""
    client = pretended_client(ppserver.start().port)
    fields = [*msgspec.to_builtins(hello(PROTOCOL + 1, slots=0)), "new", {"newer": 1}]
    control = msgspec.msgpack.encode(fields)
    client.say_bytes(encode_header(KINDS[Hello], 0, len(control), 0, 0) + control)
    digest, payload = definition_of(abs)
    assert hashlib.sha256(payload).digest() == digest
    client.say(Define(digest), payload)
    submit(client, 1, digest, -3)
    _, content = client.hear(Result)
    assert decode_result(content) == 3
