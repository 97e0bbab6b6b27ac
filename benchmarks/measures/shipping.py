"""Functions and modules that are shipped: what the form of a function costs, what a package costs.

A function goes by reference (of an installed module), by source (of a script) or by value (of code
that was made at run time, and has no source). Each costs the same once it is known, or should;
so blocks of jobs of each form take turns, and single jobs do, and what the submitting thread, the
client and the jobs take is compared. The other costs are told against bare jobs, of a known
function without any module, that are run in between.

Functions and packages are made for the purpose, in a folder of their own: each is new once only.
"""

from __future__ import annotations

import copy
import importlib
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.measures import Found, Sizes
from benchmarks.peers.running import Running

__all__ = [
    "FORMS",
    "first_uses",
    "functions",
    "make_package",
    "shipping",
    "single_costs",
    "submit_costs",
]

FORMS = ("reference", "source", "value")
BLOCK = 100
"""Jobs of a form in a row."""

BUSY = 10
"""Jobs after which all workers are busy: who submits to an idle one sends the job as well."""

RUN, SETTLE = 10, 3
"""Jobs of a form in a row when there is one at a time, and those before them that do not count."""

MODULES = 20
HOUR = 3600
PACKAGES = 5
KNOWN = 5
"""Bare jobs for each new function or package."""

Function: TypeAlias = Callable[[int], Any]


def shipping(peer: Running, sizes: Sizes, orders: dict) -> Found:
    """Measure all of it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sys.path.insert(0, place)
        asked = peer.with_modules(place)
        try:
            return Found(_measured(asked, folder, sizes, orders["workers"]), {})
        finally:
            asked.close()
            sys.path.remove(place)


def _measured(peer: Running, folder: Path, sizes: Sizes, workers: int) -> dict[str, float]:
    new = functions(folder, 1 + sizes.firsts)
    for form in FORMS:
        if (found := peer.form_of(new[form][0])) != form:
            raise ValueError(f"a function that was to go by {form} goes by {found}")
    # Loading what ships a form is paid for once by each process; the functions come later.
    _warm(peer, [new["value"][0]], workers)
    values = {f"once_{form}": _new_over_known(peer, new, form, slice(0, 1)) for form in FORMS}
    _warm(peer, [new[form][0] for form in FORMS], workers)
    values |= first_uses(peer, {form: new[form] for form in FORMS})
    bare = new["source"][0]
    packaged = [make_package(folder, f"helpers{number}", MODULES) for number in range(PACKAGES)]
    over = [1e3 * (_seconds(peer, one) - _known_seconds(peer, bare)) for one in packaged]
    values |= {"package_first": over[0], "package_next": statistics.median(over[1:])}
    known = {**{form: new[form][0] for form in FORMS}, "package": packaged[0]}
    _warm(peer, list(known.values()), workers)
    values |= single_costs(peer, known, sizes.single) | submit_costs(peer, known, sizes.submits)
    values["package_later"] = values["single_package"] / values["single_source"]
    return values


def submit_costs(peer: Running, known: Mapping[str, Function], jobs: int) -> dict[str, float]:
    """Return what a known function of each form costs the client, in µs of CPU.

    Args:
        peer: what they are submitted to.
        known: a function for each form, and others to be measured with them.
        jobs: how many of each.
    """
    submits: dict[str, list[float]] = {name: [] for name in known}
    totals: dict[str, list[float]] = {name: [] for name in known}
    for turn in range(max(2, jobs // BLOCK)):
        for name in _turned(list(known), turn):
            submit, total = _block(peer, known[name])
            submits[name].append(submit)
            totals[name].append(total)
    return _compared("submit", submits) | _compared("client", totals)


def _block(peer: Running, function: Function) -> tuple[float, float]:
    """Return the µs of CPU of a submit, in its thread, and of a job, in all threads."""
    began = time.process_time()
    handles = [peer.submit(function, number) for number in range(BUSY)]
    start = time.thread_time()
    handles += [peer.submit(function, number) for number in range(BUSY, BLOCK)]
    submit = (time.thread_time() - start) / (BLOCK - BUSY)
    results = peer.gather(handles)
    total = (time.process_time() - began) / BLOCK
    if results != [function(number) for number in range(BLOCK)]:
        raise ValueError("the results are wrong")
    return submit * 1e6, total * 1e6


def single_costs(peer: Running, known: Mapping[str, Function], jobs: int) -> dict[str, float]:
    """Return the µs that one job at a time takes with a known function of each form.

    Each runs some times in a row. Then bare jobs and jobs of the package take turns.
    """
    times: dict[str, list[float]] = {name: [] for name in known}
    for turn in range(max(2, jobs // RUN)):
        for name in _turned(list(known), turn):
            found = [1e6 * _seconds(peer, known[name]) for _ in range(SETTLE + RUN)]
            times[name] += found[SETTLE:]
    names = ("source", "package")
    in_turn = [1e6 * _seconds(peer, known[name]) for _ in range(jobs) for name in names]
    in_row = [statistics.median(times[name]) for name in names]
    switching = statistics.median(in_turn[::2]) + statistics.median(in_turn[1::2]) - sum(in_row)
    return {**_compared("single", times), "package_switch": switching}


def _turned(names: list[str], turn: int) -> list[str]:
    """Return them in another order each turn: none always comes after the same other one."""
    at, step = turn % len(names), 1 if turn // len(names) % 2 else -1
    return (names[at:] + names[:at])[::step]


def _compared(what: str, found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the medians, and the greatest of those of the forms, divided by the least."""
    medians = {f"{what}_{name}": statistics.median(values) for name, values in found.items()}
    forms = [medians[f"{what}_{form}"] for form in FORMS]
    return {**medians, f"{what}_forms": max(forms) / min(forms)}


def first_uses(peer: Running, new: Mapping[str, Sequence[Function]]) -> dict[str, float]:
    """Return for each form the ms that a new function takes longer than a known one.

    Args:
        peer: what they are submitted to.
        new: functions of each form; the first is known already.
    """
    return {f"first_{form}": _new_over_known(peer, new, form, slice(1, None)) for form in new}


def _new_over_known(
    peer: Running, new: Mapping[str, Sequence[Function]], form: str, which: slice
) -> float:
    times, known = [], []
    for function in new[form][which]:
        known.append(_known_seconds(peer, new["value"][0]))
        times.append(_seconds(peer, function))
    return 1e3 * (statistics.median(times) - statistics.median(known))


def _known_seconds(peer: Running, function: Function) -> float:
    return statistics.median(_seconds(peer, function) for _ in range(KNOWN))


def _seconds(peer: Running, function: Function) -> float:
    """Return the time from the submission of a job to its result."""
    start = time.perf_counter()
    result = peer.collect(peer.submit(function, 1))
    seconds = time.perf_counter() - start
    if result != function(1):
        raise ValueError("the result is wrong")
    return seconds


def _warm(peer: Running, known: Sequence[Function], workers: int) -> None:
    """Let every worker know some functions."""
    for function in known:
        peer.gather([peer.submit(function, number) for number in range(BLOCK * workers)])


def functions(folder: Path, count: int) -> dict[str, list[Function]]:
    """Return functions of each form, each with a text of its own, of an int each.

    Args:
        folder: where the script is written.
        count: how many of each.
    """
    text = "\n\n".join(
        f"def new_{number}(value):\n    return value + {number}" for number in range(count)
    )
    script = folder / "script.py"
    script.write_text(text + "\n", encoding="utf-8")
    written: dict[str, Any] = {"__name__": "script_of_the_user"}
    exec(compile(text + "\n", str(script), "exec", dont_inherit=True), written)
    made: dict[str, Any] = {"__name__": "made_at_run_time"}
    # Other constants: equal content is the same function to whom it is shipped.
    exec(text.replace("value +", f"value * {count} +"), made)
    return {
        "reference": [copy.copy, *_OF_MATH[: count - 1]],
        "source": [written[f"new_{number}"] for number in range(count)],
        "value": [made[f"new_{number}"] for number in range(count)],
    }


_OF_MATH: tuple[Function, ...] = (
    *(math.ceil, math.floor, math.trunc, math.fabs, math.sqrt, math.exp, math.expm1),
    *(math.log, math.log2, math.log10, math.log1p, math.degrees, math.radians, math.sin),
    *(math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.tanh),
    *(math.erf, math.erfc, math.gamma, math.lgamma, math.isnan, math.isinf, math.isfinite),
)


def make_package(folder: Path, name: str, modules: int) -> Function:
    """Write a package, import it, and return its function, which needs all of it.

    Args:
        folder: where it is written; on the path that is imported from.
        name: of the package: no other one with the name has been imported.
        modules: how many modules there are, with ``__init__``; about 1.5 kB each.
    """
    package = folder / name
    package.mkdir()
    for number in range(modules - 1):
        text = _module_text(name, number)
        (package / f"part{number:02}.py").write_text(text, encoding="utf-8")
    last = f"part{modules - 2:02}"
    init = f"from .{last} import TOTAL\n\n\ndef run(value):\n    return value + TOTAL\n"
    (package / "__init__.py").write_text(init, encoding="utf-8")
    # Of files that have just been written the time alone does not tell whether they have changed.
    for file in [*package.iterdir(), package]:
        os.utime(file, (time.time() - HOUR, time.time() - HOUR))
    importlib.invalidate_caches()
    function: Function = importlib.import_module(name).run
    return function


def _module_text(name: str, number: int) -> str:
    """Return a module that imports the two before it, with some functions to load."""
    before = [f"part{other:02}" for other in range(max(0, number - 2), number)]
    lines = [f'"""Module {number} of {name}."""', "", "from __future__ import annotations", ""]
    lines += [f"from . import {', '.join(before)}"] if before else []
    total = " + ".join([str(number), *(f"{module}.TOTAL % 1000" for module in before)])
    lines += ["", f"TOTAL = {total}", ""]
    for step in range(8):
        lines += [
            "",
            f"def step_{step}(values, start={step}):",
            f'    """Add up the values that {number + step + 2} does not divide."""',
            "    total = start",
            "    for value in values:",
            f"        total += value if value % {number + step + 2} else {step}",
            "    return total",
            "",
        ]
    return "\n".join(lines)
