"""A census of the standard library: which functions are the most complex, and which are documented.

Every module of the installed standard library is parsed, one job for each. The modules are very
uneven, from empty ones to some of five thousand lines, so this is work that has to be spread
while it goes on.

    python examples/stdlib_census.py                          # on all cores of this machine
    python examples/stdlib_census.py --ppservers node1 node2  # and on these
    python examples/stdlib_census.py --ppservers "*"          # and on those found by mDNS
    python examples/stdlib_census.py --serial                 # without ppnext, for comparison
    python examples/stdlib_census.py --demo                   # with a laboratory on this machine

The result is compared with that of a serial run; the exit status is 1 if they differ.
"""

from __future__ import annotations

import argparse
import ast
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import NamedTuple

import psutil
from loopback_lab import Lab

import ppnext
from ppnext import Job, Server

__all__ = ["census", "main"]

SHOWN = 20
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Each of these is one more way through a function.
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


class Function(NamedTuple):
    """What is recorded of a function; ``branches`` is its cyclomatic complexity."""

    name: str
    lines: int
    branches: int
    documented: bool


class Module(NamedTuple):
    """What is recorded of a module; ``problem`` says why it could not be parsed."""

    path: str
    lines: int
    functions: tuple[Function, ...]
    problem: str | None = None


# The work. These functions run in worker processes, here or elsewhere; nothing in them shows it.


def census(path: str, source: bytes) -> Module:
    """Parse a module and record its functions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler thinks of old code
            tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        # Some test modules are wrong on purpose: bad syntax, bad encodings.
        return Module(path, source.count(b"\n"), (), type(error).__name__)
    return Module(path, source.count(b"\n"), tuple(functions_in(tree)))


def functions_in(tree: ast.Module) -> Iterator[Function]:
    """Yield the functions of a module, those inside classes and other functions too."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            inside += node.name
            if isinstance(node, FUNCTIONS):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield Function(inside, lines, complexity(node), ast.get_docstring(node) is not None)
            inside += "."
        waiting.extend((child, inside) for child in ast.iter_child_nodes(node))


def complexity(function: ast.AST) -> int:
    """Return one more than the number of branches, without those of functions inside."""
    found = 1
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, FUNCTIONS):
            continue
        if isinstance(node, BRANCHES):
            found += 1
        elif isinstance(node, ast.BoolOp):
            found += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            found += 1 + len(node.ifs)
        waiting.extend(ast.iter_child_nodes(node))
    return found


# Three ways to do it.


def run_serial(sources: dict[str, bytes]) -> tuple[list[Module], float]:
    """Do it here. Return the result and the seconds it took."""
    start = time.perf_counter()
    modules = [census(path, source) for path, source in sources.items()]
    return modules, time.perf_counter() - start


def run_parallel(
    server: Server, sources: dict[str, bytes], on_done: Callable[[int, Job], None]
) -> tuple[list[Module], float]:
    """Do it with ppnext: one job for each module, gathered in the order of the modules.

    Args:
        server: where to submit.
        sources: the modules.
        on_done: called with the number of jobs that have ended, and the last of them.
    """
    start = time.perf_counter()
    jobs = [server.submit(census, item) for item in sources.items()]
    for done, job in enumerate(as_completed(jobs), 1):
        on_done(done, job)
    return [job() for job in jobs], time.perf_counter() - start


class Progress:
    """Prints a line for each tenth of the jobs: how many have ended, and where."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.nodes: Counter[str] = Counter()
        self.start = time.perf_counter()

    def __call__(self, done: int, job: Job) -> None:
        self.nodes[str(job.node)] += 1
        if done * 10 // self.total == (done - 1) * 10 // self.total:
            return
        where = ", ".join(f"{name} {count}" for name, count in sorted(self.nodes.items()))
        seconds = time.perf_counter() - self.start
        print(f"  {done / self.total:4.0%}  {seconds:5.1f} s   {where}", flush=True)


def run_on_lab(sources: dict[str, bytes]) -> tuple[list[Module], float]:
    """Do it on two ppservers and here, and kill one ppserver when 40 % of the jobs are done."""
    workers = max(1, len(usable_cores()) // 3)
    with Lab(daemons=2, workers=workers) as lab:
        for name in lab.names:
            print(f"ppserver on {name}, {workers} worker(s), announced by mDNS on the loopback")
        print(f'Server(ncpus={workers}, ppservers=("*",)): nobody tells it where they are')
        with Server(workers, ("*",), interfaces=["127.0.0.1"], key_file=lab.key_file) as server:
            if not server.wait_for_nodes(3, timeout=20):
                raise SystemExit(f"only these nodes are there: {server.get_active_nodes()}")
            found = ", ".join(f"{node} ({n})" for node, n in server.get_active_nodes().items())
            print(f"three nodes, authenticated and encrypted: {found}\n")
            victim = lab.names[-1]
            progress = Progress(len(sources))

            def on_done(done: int, job: Job) -> None:
                progress(done, job)
                if done == max(1, len(sources) * 4 // 10):
                    print(f"        killing the ppserver on {victim} with SIGKILL")
                    lab.kill(victim)

            outcome = run_parallel(server, sources, on_done)
            stats = server.get_stats()[victim]
            print(
                f"\n{victim} was lost with {stats.lost} job(s) on it, after {stats.njobs} done; "
                f"they were run again elsewhere, and all {len(sources)} jobs have a result\n"
            )
            server.print_stats()
            lab.remember_processes()
    left = lab.processes_left()
    if left:
        raise SystemExit(f"processes were left behind: {', '.join(left)}")
    print(f"{len(lab.processes)} processes were started for this, and none is left\n")
    return outcome


def run_here(
    sources: dict[str, bytes], ncpus: int | str, ppservers: Sequence[str]
) -> tuple[list[Module], float]:
    """Do it on this machine and the named ppservers."""
    with Server(ncpus, tuple(ppservers)) as server:
        if ppservers and not server.wait_for_nodes(1 + bool(server.get_ncpus()), timeout=5):
            print("no ppserver is connected yet; those that come later get work at once")
        nodes = ", ".join(f"{node} ({n})" for node, n in server.get_active_nodes().items())
        print(f"nodes: {nodes or 'none yet'}")
        outcome = run_parallel(server, sources, Progress(len(sources)))
        print()
        server.print_stats()
    return outcome


# Before and after.


def usable_cores() -> list[int]:
    """Return the cores that this process may use."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        return list(process.cpu_affinity())
    return list(range(psutil.cpu_count() or 1))


def read_sources(limit: int | None) -> dict[str, bytes]:
    """Return the sources of the standard library by path; with a limit, an even sample."""
    root = Path(sysconfig.get_path("stdlib"))
    outside = {"site-packages", "dist-packages"}
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not outside.intersection(path.relative_to(root).parts)
    ]
    if not paths:
        raise SystemExit(f"the standard library in {root} has no source here")
    if limit is not None:
        paths = paths[:: max(1, len(paths) // limit)][:limit]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def report(modules: Sequence[Module]) -> None:
    """Print the most complex functions and the totals."""
    functions = [(module.path, function) for module in modules for function in module.functions]
    functions.sort(key=lambda found: (-found[1].branches, found[0], found[1].name))
    print(f"The {SHOWN} most complex functions:\n\n branches  lines  function")
    for path, function in functions[:SHOWN]:
        print(f"{function.branches:9}  {function.lines:5}  {function.name} ({path})")
    public = [
        function.documented
        for path, function in functions
        if "test" not in path and not any(part[:1] == "_" for part in function.name.split("."))
    ]
    unread = Counter(module.problem for module in modules if module.problem)
    problems = ", ".join(f"{count} of {problem}" for problem, count in unread.items())
    print(
        f"\n{len(modules)} modules, {sum(module.lines for module in modules):,} lines, "
        f"{len(functions):,} functions; {sum(unread.values())} modules could not be parsed"
        f"{f' ({problems})' if problems else ''}"
    )
    if public:
        print(
            f"docstrings: {sum(public) / len(public):.0%} of the {len(public):,} public functions "
            "outside of tests have one"
        )


def report_speed(speed_up: float, serial: float, parallel: float, demo: bool) -> None:
    """Print the speed-up, and what it can be at most where that is known."""
    cores = len(usable_cores())
    print(f"\nserial {serial:.1f} s, ppnext {parallel:.1f} s: {speed_up:.2f} times as fast")
    if demo:
        print(f"all three nodes share the {cores} core(s) of this machine, which is the limit")
        if not 1 <= speed_up <= cores:
            print("other programs kept the cores busy during one of the runs: try again later")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A census of the standard library.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--ppservers", nargs="+", default=(), metavar="SERVER", help='or "*"')
    how.add_argument("--serial", action="store_true", help="without ppnext")
    how.add_argument("--demo", action="store_true", help="two ppservers here, one gets killed")
    parser.add_argument("--ncpus", type=int, help="local workers (all cores)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N modules")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the census. Return the exit status."""
    options = parse_arguments(arguments)
    sources = read_sources(options.limit)
    print(f"{len(sources)} modules, {sum(map(len, sources.values())) / 1e6:.1f} MB of Python")
    print("the serial run, for comparison ...", flush=True)
    expected, serial_seconds = run_serial(sources)
    print(f"  took {serial_seconds:.1f} s\n")
    if options.serial:
        report(expected)
        return 0
    if options.demo:
        modules, seconds = run_on_lab(sources)
    else:
        ncpus = "autodetect" if options.ncpus is None else options.ncpus
        modules, seconds = run_here(sources, ncpus, options.ppservers)
    report(modules)
    if modules != expected:
        wrong = sum(found != wanted for found, wanted in zip(modules, expected, strict=True))
        print(f"\ncensus: FAILED: {wrong} modules differ from the serial run")
        return 1
    report_speed(serial_seconds / seconds, serial_seconds, seconds, options.demo)
    print(f"census: ppnext {ppnext.__version__}: the same result as the serial run, nothing lost")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print("\ncensus: interrupted; everything that was started has been ended")
        raise SystemExit(130) from None
