"""Programs as people write them: scripts, one-liners, the prompt, notebooks; and how they end.

Each is a real process in a process group of its own. Its workers, also those on ppservers, carry
a mark in the environment that they inherit, or are the children of a daemon of this test; five
seconds after the program's end there is none left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.running import assert_gone

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 30.0


class Programs:
    """Starts programs in a directory of their own.

    Args:
        directory: where they run; scripts are written there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        kept = {name: value for name, value in os.environ.items() if "PPNEXT" not in name}
        program = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,
        )
        self._started.append(program)
        return program

    def script(self, text: str) -> str:
        """Write a script and return its path."""
        path = self.directory / "script.py"
        path.write_text(textwrap.dedent(text))
        return str(path)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """Run Python with these arguments to its end, and return what it printed.

        It is to end with status 0, to print nothing on standard error, and to leave no worker.
        """
        program = self.start(*arguments, **environment)
        output, errors = program.communicate(stdin, timeout=PATIENCE)
        assert (program.returncode, errors) == (0, "")
        return output

    def close(self) -> None:
        """Kill those that still run."""
        for program in self._started:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.communicate()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Starts programs."""
    programs = Programs(tmp_path)
    yield programs
    programs.close()


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the processes below another one."""
    return psutil.Process(pid).children(recursive=True)


# How programs are written.

SCRIPT = """
    import enum, functools, math
    import ppnext

    CONSTANT = 10

    class Colour(enum.Enum):
        RED = 1

    class Point:
        def __init__(self, x):
            self.x = x
        def moved(self, by):
            return Point(self.x + by)

    class Wrong(Exception):
        pass

    def helper(x):
        return math.sqrt(x) + CONSTANT

    def work(x):
        print("working on", x)
        return helper(x)

    def fail():
        raise Wrong("on purpose")

    server = ppnext.Server(2)
    print([job() for job in [server.submit(work, (x,)) for x in (1, 4)]])
    print(server.submit(lambda x: x + CONSTANT, (1,))())
    print(server.submit(functools.partial(work, 9))())
    point = server.submit(Point(1).moved, (2,))()
    print(type(point) is Point, point.x, server.submit(lambda c: c, (Colour.RED,))() is Colour.RED)
    try:
        server.submit(fail)()
    except Wrong as error:
        print("caught", error, "in fail" in str(error.__cause__))
    nested = server.submit(lambda it: it, ({"points": [Point(5)]},))()
    print(nested["points"][0].x)
"""
SAID = """\
working on 1
working on 4
[11.0, 12.0]
11
working on 9
13.0
True 3 True
caught on purpose True
5
"""


def test_a_script_without_a_main_guard_and_without_destroy(programs):
    assert programs.run(programs.script(SCRIPT)) == SAID


def test_modules_in_the_current_folder_do_not_stand_in_for_what_workers_are_made_of(programs):
    for name in ("socket", "selectors", "pickle", "msgspec", "ppnext"):
        (programs.directory / f"{name}.py").write_text("raise SystemExit('not this one')")
    script = programs.directory / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text("import ppnext\nprint(ppnext.Server(1).submit(abs, (-3,))())\n")
    assert programs.run(str(script)) == "3\n"


def test_python_c(programs):
    assert programs.run("-c", textwrap.dedent(SCRIPT)) == SAID


def test_a_script_from_standard_input(programs):
    assert programs.run("-", stdin=textwrap.dedent(SCRIPT)) == SAID


def test_a_module_run_with_m(programs):
    programs.script(SCRIPT)
    assert programs.run("-m", "script") == SAID


def test_the_interactive_prompt(programs):
    session = """\
import ppnext
server = ppnext.Server(1)
def f(x):
    return g(x) + 1

def g(x):
    return 2 * x

class C:
    def __init__(self, x):
        self.x = x

server.submit(f, (3,))()
server.submit(lambda c: C(c.x + 1), (C(1),))().x
def g(x):
    return 100 * x

server.submit(f, (3,))()
"""
    program = programs.start("-i", "-q")
    output, errors = program.communicate(session, timeout=PATIENCE)
    assert program.returncode == 0
    assert "Traceback" not in errors
    assert output.split() == ["7", "2", "301"]


def test_code_interact(programs):
    session = "def f(x):\n    return x * 2\n\nprint(server.submit(f, (21,))())\n"
    code = "import code, ppnext; code.interact('', local={'server': ppnext.Server(1)}, exitmsg='')"
    program = programs.start("-c", code)
    output, errors = program.communicate(session, timeout=PATIENCE)
    assert program.returncode == 0 and "Traceback" not in errors
    assert "42" in output


def test_cells_of_a_notebook(programs):
    # What a notebook's kernel does: each cell is executed in the namespace of __main__, and has
    # no file that a source could be read from.
    script = programs.script(
        """
        import __main__

        cells = [
            "import ppnext, math; server = ppnext.Server(1)",
            "def f(x):\\n    return math.floor(x) + offset",
            "offset = 10",
            "class Kept:\\n    def __init__(self, x):\\n        self.x = x",
            "print(server.submit(f, (1.5,))())",
            "offset = 20",
            "print(server.submit(f, (1.5,))())",
            "print(server.submit(lambda k: Kept(k.x + 1), (Kept(1),))().x)",
            "def f(x):\\n    return 'again'",
            "print(server.submit(f, (1.5,))())",
        ]
        for number, cell in enumerate(cells):
            exec(compile(cell, f"<ipython-input-{number}>", "exec"), __main__.__dict__)
        """
    )
    assert programs.run(script).split() == ["11", "21", "2", "again"]


def test_a_script_with_the_network(programs, ppserver):
    daemon = ppserver.start()
    text = textwrap.dedent(SCRIPT).replace("Server(2)", f"Server(0, ('{daemon.address}',))")
    assert programs.run("-c", text, PPNEXT_KEY_FILE=str(ppserver.key_file)) == SAID


def test_a_script_whose_servers_come_from_the_environment(programs, ppserver):
    daemon = ppserver.start()
    code = "import ppnext; s = ppnext.Server(0); print(s.submit(abs, (-5,))())"
    environment = {"PPNEXT_KEY_FILE": str(ppserver.key_file), "PPNEXT_SERVERS": daemon.address}
    assert programs.run("-c", code, **environment) == "5\n"


# How programs end.

WAITING = """
    import os, sys, time
    import ppnext

    servers = tuple(sys.argv[2:])
    server = ppnext.Server(int(sys.argv[1]), servers)
    server.wait_for_nodes(len(servers) + (sys.argv[1] != "0"))

    def sleep():
        time.sleep(100)  # until it is ended

    def child():
        import subprocess
        subprocess.run(["sleep", "100"])

    def started():
        # Opening waits until the program opens the other end.
        with open(PIPE, "w") as file:
            file.write("started")
        time.sleep(100)  # until it is ended

    PIPE = os.path.abspath("started")
    os.mkfifo(PIPE)
    jobs = [server.submit(it) for it in (started, child, sleep, child)]
    with open(PIPE) as file:
        assert file.read(1)
    print("ready", flush=True)
"""


def test_a_script_that_ends_with_jobs_running_does_not_wait_for_them(programs):
    assert programs.run(programs.script(WAITING), "2") == "ready\n"


def test_a_script_that_raises_ends_with_its_error(programs):
    program = programs.start("-c", "import ppnext; s = ppnext.Server(1); s.submit(abs, (1,)); 1/0")
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 1
    assert errors.rstrip().endswith("ZeroDivisionError: division by zero")


def test_a_script_may_call_sys_exit(programs):
    program = programs.start("-c", "import ppnext, sys; s = ppnext.Server(1); sys.exit(3)")
    assert program.communicate(timeout=PATIENCE) == ("", "")
    assert program.returncode == 3


@pytest.fixture(params=["local", "remote", "both"])
def held(request, programs, ppserver):
    """A program that waits for ever, and the workers that run its jobs."""
    daemon = ppserver.start()
    arguments = {"local": ["2"], "remote": ["0", daemon.address], "both": ["1", daemon.address]}
    script = programs.script(textwrap.dedent(WAITING) + "server.wait()\n")
    program = programs.start(
        script, *arguments[request.param], PPNEXT_KEY_FILE=str(ppserver.key_file)
    )
    assert program.stdout.readline() == "ready\n"
    workers = workers_of(program.pid) + workers_of(daemon.pid)
    assert workers
    return program, workers


def test_ctrl_c_ends_the_program_and_its_workers(held):
    program, workers = held
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert_gone(workers)


def test_sigterm_leaves_no_worker(held):
    program, workers = held
    program.terminate()
    program.communicate(timeout=PATIENCE)
    assert_gone(workers)


def test_a_program_killed_with_9_leaves_no_worker_anywhere(held):
    program, workers = held
    program.kill()
    program.communicate(timeout=PATIENCE)
    assert_gone(workers)


def test_ctrl_c_in_a_wait_leaves_the_server_usable(programs):
    script = programs.script(
        """
        import os, signal, threading, time
        import ppnext

        server = ppnext.Server(1)
        job = server.submit(time.sleep, (100,))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            server.wait()
        except KeyboardInterrupt:
            print("interrupted")
        server.set_ncpus(2)
        print(server.submit(abs, (-4,))())
        """
    )
    assert programs.run(script) == "interrupted\n4\n"


def test_no_nodes_at_all_says_so_and_keeps_waiting(programs):
    code = (
        "import ppnext; s = ppnext.Server(0); j = s.submit(abs, (1,));"
        "print(j.status()); print(s.wait(timeout=0.1), j.wait(0.1), s.wait_for_nodes(1, 0.1))"
    )
    assert programs.run("-c", code) == "waiting: no node is connected\nFalse False False\n"


def test_a_forked_child_of_the_program_does_not_end_its_workers(programs):
    script = programs.script(
        """
        import os, sys
        import ppnext

        server = ppnext.Server(1)
        print(server.submit(abs, (-1,))())
        if os.fork() == 0:
            sys.exit(0)
        os.wait()
        print(server.submit(abs, (-2,))())
        """
    )
    # Newer Pythons warn of every fork in a process with threads.
    quiet = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    assert programs.run(script, **quiet) == "1\n2\n"


def test_a_forked_child_of_the_program_neither_adds_to_its_jobs_nor_takes_their_results(programs):
    script = programs.script(
        """
        import os, signal
        import ppnext

        def double(x):
            return 2 * x

        def wait(path):
            with open(path):
                return "done"

        def attempt(call):
            try:
                print(call())
            except ppnext.PpnextError as error:
                print(str(error)[:23])

        os.mkfifo("way")
        server = ppnext.Server(1, offers={"gpu": 1})
        assert server.submit(double, (1,))() == 2
        job = server.submit(wait, ("way",))
        while not job.running():
            pass
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            attempt(lambda: server.submit(double, (1,)).result(10))
            attempt(lambda: list(server.map(double, [1])))
            attempt(lambda: job.result(10))
            attempt(job.status)
            attempt(lambda: server.wait(timeout=10))
            attempt(server.cancel)
            attempt(lambda: server.wait_for_nodes(1, 10))
            server.destroy()
            with ppnext.Server(1) as own:
                attempt(own.submit(double, (5,)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with open("way", "w"):
            pass
        assert job.result(20) == "done"
        assert [server.submit(double, (x,)).result(20) for x in range(9)] == list(range(0, 18, 2))
        print("fine")
        """
    )
    quiet = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    told = "this process was forked"
    lines = [told, told, told, "in the process that has forked this one", "True", "0", "False"]
    assert programs.run(script, **quiet).splitlines() == [*lines, "10", "fine"]
