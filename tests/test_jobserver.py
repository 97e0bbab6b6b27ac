"""What ``Server`` and ``Template`` take and refuse, before any job is run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator

import psutil
import pytest

import ppnext
from ppnext import Server, Template
from ppnext.errors import (
    AddressError,
    ConfigError,
    DestroyedServerError,
    KeyFileError,
    NotShippable,
    WeakSecretError,
)


@pytest.fixture
def idle() -> Iterator[Server]:
    """A server without any node."""
    with Server(0) as server:
        yield server


# The interface of Parallel Python.


def parameters(function):
    return {it.name: it.default for it in inspect.signature(function).parameters.values()}


def test_server_takes_what_parallel_python_takes_in_its_order():
    known = list(parameters(Server).items())[:6]
    assert known == [
        ("ncpus", "autodetect"),
        ("ppservers", ()),
        ("secret", None),
        ("restart", False),
        ("proto", 5),
        ("socket_timeout", 3600),
    ]


def test_submit_takes_what_parallel_python_takes_in_its_order():
    known = list(parameters(Server.submit).items())[2:9]
    assert list(parameters(Server.submit))[:2] == ["self", "func"]
    assert known == [
        ("args", ()),
        ("depfuncs", ()),
        ("modules", ()),
        ("callback", None),
        ("callbackargs", ()),
        ("group", "default"),
        ("globals", None),
    ]


def test_template_takes_what_parallel_python_takes_in_its_order():
    assert list(parameters(Template.__init__)) == [
        "self",
        "job_server",
        "func",
        "depfuncs",
        "modules",
        "callback",
        "callbackargs",
        "group",
        "globals",
        "terms",
    ]


def test_the_package_has_what_programs_import():
    assert issubclass(ppnext.DestroyedServerError, RuntimeError)
    assert ppnext.Server is Server and ppnext.Template is Template
    assert isinstance(ppnext.__version__, str)


def test_the_number_of_workers_is_that_of_usable_processors():
    with Server() as server:
        assert server.get_ncpus() == len(os.sched_getaffinity(0)) or server.get_ncpus() >= 1
        server.set_ncpus(0)
        assert server.get_ncpus() == 0
        assert server.get_active_nodes() == {"local": 0}


# Wrong arguments of Server.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ncpus": -1}, ValueError, "ncpus must be 0 or more, not -1"),
        ({"ncpus": "two"}, TypeError, "must be a whole number or \"autodetect\", not 'two'"),
        ({"ncpus": 2.0}, TypeError, "not 2.0"),
        ({"ncpus": True}, TypeError, "not True"),
        ({"ncpus": None}, TypeError, "not None"),
        ({"ncpus": 10**6}, ValueError, "more than the 4096 workers"),
        ({"proto": 1}, ValueError, "proto must be from 2 to 5, not 1"),
        ({"proto": "5"}, TypeError, "proto must be a pickle protocol number"),
        ({"socket_timeout": 0}, ValueError, "more than 0 seconds"),
        ({"socket_timeout": float("nan")}, ValueError, "more than 0 seconds"),
        ({"socket_timeout": "1"}, TypeError, "must be a number of seconds"),
        ({"ppservers": "node1"}, TypeError, r'did you mean \("node1",\)\?'),
        ({"ppservers": 5}, TypeError, r'must be a tuple of names such as \("host",\), not 5'),
        ({"ppservers": (5,)}, AddressError, "a server name must be a string, not 5"),
        ({"ppservers": ("",)}, AddressError, "it is empty"),
        ({"ppservers": ("node1:http",)}, AddressError, "'node1:http': 'http' is not a port"),
        ({"ppservers": ("node1:99999",)}, AddressError, "'99999' is not a port from 1 to 65535"),
        ({"ppservers": ("[::1",)}, AddressError, 'an opening "\\[" needs'),
        ({"ppservers": ("a b",)}, AddressError, "white space inside"),
        ({"ppservers": ("http://node1",)}, AddressError, "it is a URL"),
        ({"ppservers": ("*",), "interfaces": ("eth0",)}, ConfigError, "IP address.*not 'eth0'"),
        ({"interfaces": 5}, TypeError, "interfaces must be a tuple of IP addresses, not 5"),
        ({"secret": "epo20pdosl;dksldkmm"}, WeakSecretError, "ppserver --new-key"),
        ({"secret": 5}, TypeError, "secret must be a string"),
        ({"ship": "networkx"}, TypeError, r"did you mean \('networkx',\)\?"),
        ({"ship": (5,)}, TypeError, "ship must be names of distributions"),
        ({"ship": ("no-such-thing",)}, ConfigError, "'no-such-thing', which is neither"),
        ({"ship_roots": "lab"}, TypeError, r"did you mean \('lab',\)\?"),
        ({"ship_roots": ("/no/such/folder",)}, ValueError, "there is no folder /no/such/folder"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_named_before_anything_is_started(arguments, error, message):
    with pytest.raises(error, match=message):
        Server(**{"ncpus": 0, **arguments})


def test_a_server_that_could_not_be_made_leaves_no_worker():
    before = set(psutil.Process().children())
    with pytest.raises(ConfigError):
        Server(1, ship=("no-such-thing",))
    left = set(psutil.Process().children()) - before
    assert [child for child in left if child.status() != psutil.STATUS_ZOMBIE] == []


def test_every_malformed_name_shows_the_forms_that_are_understood():
    with pytest.raises(AddressError, match=r'write "host", "host:port", "\[ipv6\]:port", or "\*"'):
        Server(0, ("a:b:c",))


# Keys.


def test_a_missing_key_file_is_named_with_the_command_that_makes_one(tmp_path):
    path = tmp_path / "none"
    with pytest.raises(KeyFileError, match=f"{path}.*ppserver --new-key"):
        Server(0, ("127.0.0.1:1",), key_file=path)


def test_a_key_file_that_others_can_read_is_refused_with_the_mending_command(key_file):
    key_file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod"):
        Server(0, ("127.0.0.1:1",), key_file=key_file)


def test_a_key_line_is_taken_as_secret(key_file):
    with Server(0, ("127.0.0.1:1",), secret=key_file.read_text().strip()) as server:
        assert server.get_active_nodes() == {"local": 0}


def test_no_key_is_needed_without_ppservers(tmp_path, monkeypatch):
    monkeypatch.setenv("PPNEXT_KEY_FILE", str(tmp_path / "none"))
    Server(0).destroy()


# Wrong arguments of submit.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"args": 5}, r"args must be a tuple, not 5; did you mean \(5,\)\?"),
        ({"args": [1, 2]}, r"args must be a tuple, not \[1, 2\]; did you mean \(\[1, 2\],\)\?"),
        ({"args": "ab"}, r"did you mean \('ab',\)\?"),
        ({"callbackargs": None}, r"callbackargs must be a tuple, not None"),
        ({"depfuncs": len}, r"depfuncs must be a tuple, not <built-in function len>"),
        ({"depfuncs": (5,)}, "depfuncs must be functions or classes, not 5"),
        ({"modules": "math"}, r"not 'math'; did you mean \('math',\)\?"),
        ({"modules": (5,)}, r"modules must be a tuple of strings, not \(5,\)"),
        ({"callback": 5}, "callback must be a function, not 5"),
        ({"group": 5}, "group must be a string, not 5"),
        ({"globals": 5}, "globals must be a dictionary, not 5"),
        ({"kwargs": [("a", 1)]}, "kwargs must be a dictionary"),
        ({"func": "abs"}, "func must be a function, not 'abs'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_of_submit_is_named_and_leaves_nothing_to_wait_for(
    idle, arguments, message
):
    with pytest.raises(TypeError, match=message):
        idle.submit(**{"func": abs, "args": (1,), **arguments})
    assert idle.wait(timeout=0)


def test_long_arguments_are_cut_in_messages(idle):
    with pytest.raises(TypeError) as caught:
        idle.submit(abs, list(range(10_000)))
    assert len(str(caught.value)) < 250


def test_an_unpicklable_argument_is_named_at_submit(idle):
    with pytest.raises(NotShippable, match="argument 1: it is a generator"):
        idle.submit(sum, ((x for x in ()),))
    assert idle.wait(timeout=0)


def test_the_server_itself_is_no_argument(idle):
    with pytest.raises(NotShippable, match="argument 1"):
        idle.submit(print, (idle,))


def test_set_ncpus_refuses_what_server_refuses(idle):
    with pytest.raises(ValueError, match="not -1"):
        idle.set_ncpus(-1)
    with pytest.raises(TypeError, match="not 'many'"):
        idle.set_ncpus("many")
    assert idle.get_ncpus() == 0


# The life of a server that has no nodes.


def test_jobs_of_a_server_without_nodes_wait_until_it_is_destroyed():
    server = Server(0)
    job = server.submit(abs, (1,))
    assert not job.wait(0.01)
    assert repr(server) == "<ppnext.Server: 0 local workers>"
    server.destroy()
    with pytest.raises(DestroyedServerError):
        job()
    assert isinstance(job.exception(), DestroyedServerError)


def test_leaving_the_block_destroys():
    with Server(0) as server:
        pass
    with pytest.raises(DestroyedServerError):
        server.submit(abs, (1,))


def test_the_environment_of_the_program_stays_as_it_was():
    before = dict(os.environ)
    Server(0).destroy()
    assert dict(os.environ) == before


def test_what_is_no_job_of_the_server_is_not_explained(idle):
    job = idle.submit(abs, (-1,))
    assert idle.explain(job).job == job.tid
    with pytest.raises(TypeError, match="takes a job of this server, not 0"):
        idle.explain(job.tid)
    with Server(0) as other, pytest.raises(TypeError, match="takes a job of this server, not <Job"):
        other.explain(job)


def test_a_server_that_cannot_be_reached_is_explained_by_status(key_file):
    with Server(0, ("127.0.0.1:1",), key_file=key_file) as server:
        job = server.submit(abs, (1,))
        assert not server.wait_for_nodes(1, 0.5)
        assert job.status().startswith("waiting: no node is connected; 127.0.0.1:1: ")
