"""A client with packages that its nodes lack; see ``test_packages``.

    python packages_client.py KEY_FILE ADDRESS CASE...

Prints, for each case, what came of it here and there, as one line of JSON.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import ppnext

__all__ = ["CASES", "main"]

PATIENCE = 60.0


def graphs(size: int) -> Any:
    """A graph library: functions of it that are called in turn, and objects of it."""
    import networkx

    graph = networkx.path_graph(size)
    graph.add_edge(0, size - 1)
    ranks = networkx.centrality.degree_centrality(graph)
    return [
        networkx.shortest_path(graph, 0, size // 2),
        sorted(graph.degree()),
        networkx.is_connected(graph),
        len(networkx.minimum_spanning_tree(graph).edges),
        round(sum(ranks.values()), 6),
        networkx.to_dict_of_lists(networkx.complement(graph))[0],
    ]


def dates(text: str) -> Any:
    """A date library, and what it needs in turn: another distribution with modules of its own."""
    from dateutil import parser, relativedelta, rrule, tz

    day = parser.parse(text)
    later = day + relativedelta.relativedelta(months=+1, weekday=relativedelta.FR)
    days = rrule.rrule(rrule.WEEKLY, count=4, dtstart=day)
    zone = tz.tzoffset("lab", 7200)
    return [str(later), [str(it) for it in days], str(day.replace(tzinfo=zone))]


GRAMMAR = """
    ?sum: product | sum "+" product -> add | sum "-" product -> sub
    ?product: atom | product "*" atom -> mul
    ?atom: NUMBER -> number | "(" sum ")"
    %import common.NUMBER
    %import common.WS_INLINE
    %ignore WS_INLINE
"""


def parsed(text: str) -> Any:
    """A parser generator, which reads a grammar out of its package's data."""
    import lark

    class Calculation(lark.Transformer):
        def number(self, items: Any) -> float:
            return float(items[0])

        def add(self, items: Any) -> float:
            return items[0] + items[1]

        def sub(self, items: Any) -> float:
            return items[0] - items[1]

        def mul(self, items: Any) -> float:
            return items[0] * items[1]

    tree = lark.Lark(GRAMMAR, start="sum", parser="lalr").parse(text)
    try:
        lark.Lark(GRAMMAR, start="sum").parse("1 +")
    except lark.UnexpectedInput as error:
        wrong = type(error).__name__
    return [Calculation().transform(tree), tree.pretty(), wrong]


def collected(numbers: list[int]) -> Any:
    """Containers, with instances as arguments."""
    import sortedcontainers

    kept = sortedcontainers.SortedList(numbers)
    kept.update(range(3))
    return [list(kept), kept.bisect(2), list(sortedcontainers.SortedDict({2: 1, 1: 2}).items())]


def tabled(rows: list[Any]) -> Any:
    """A package with a version in its metadata."""
    from importlib import metadata

    import tabulate

    text = tabulate.tabulate(rows, headers=["a", "b"], tablefmt="github")
    return [text, metadata.version("tabulate"), tabulate.__version__]


def rendered(name: str) -> Any:
    """A template engine."""
    import chevron

    return chevron.render("Hello {{ name }}{{#many}} {{.}}{{/many}}!", {"name": name, "many": [1]})


CASES: dict[str, tuple[Callable[..., Any], Any, tuple[str, ...], str]] = {
    # What is called with what; what is shipped for it; a module of it.
    "networkx": (graphs, 9, ("networkx",), "networkx.classes.graph"),
    "python-dateutil": (dates, "2024-02-29 10:00", ("python-dateutil", "six"), "dateutil.parser"),
    "lark": (parsed, "1 + 2 * (4 - 1)", ("lark",), "lark.lark"),
    "sortedcontainers": (collected, [5, 3, 4], ("sortedcontainers",), "sortedcontainers"),
    "tabulate": (tabled, [[1, 2.5], ["x", None]], ("tabulate",), "tabulate"),
    "chevron": (rendered, "you", ("chevron",), "chevron.renderer"),
}


def with_origin(func: Callable[..., Any], argument: Any, module: str) -> Callable[[], Any]:
    """Return a function that does a case and says how a module was loaded for it.

    What a node has installed itself is used by functions that do not mention the package.
    """

    def work() -> list[Any]:
        value = func(argument)
        found = sys.modules[module]
        spec = found.__spec__
        assert spec is not None
        return [value, type(spec.loader).__name__, str(found.__file__), inspect.getsource(found)]

    return work


def told(job: ppnext.Job) -> Any:
    error = job.exception(PATIENCE)
    return job.result() if error is None else f"{type(error).__name__}: {error}"


def main(key_file: str, address: str, *cases: str) -> Any:
    """Run cases on the node: with the packages, and without."""
    answers: dict[str, Any] = {}
    ship = [name for case in cases for name in CASES[case][2]]
    options: dict[str, Any] = {"key_file": key_file}
    with ppnext.Server(0, (address,), **options, ship=ship) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        for case in cases:
            func, argument, _, module = CASES[case]
            answers[case] = {
                "here": func(argument),
                "there": [told(server.submit(func, (argument,))) for _ in range(4)],
                "origin": told(server.submit(with_origin(func, argument, module))),
                "file": importlib.import_module(module).__file__,
                "explained": str(ppnext.explain(func, ship=ship)),
            }
        # A function of the package itself, instances of its classes both ways, and a map.
        if "networkx" in cases:
            import networkx

            graph = networkx.cycle_graph(5)
            grown = server.submit(networkx.complement, (graph,)).result(PATIENCE)
            assert type(grown) is networkx.Graph and len(grown.edges) == 5
            sizes = list(server.map(lambda n: networkx.path_graph(n).size(), range(1, 60)))
            assert sizes == list(range(59)), sizes
            error = server.submit(networkx.shortest_path, (graph, 0, 99)).exception(PATIENCE)
            assert isinstance(error, networkx.NodeNotFound), error
        alive = server.submit(abs, (-1,)).result(PATIENCE)
    with ppnext.Server(0, (address,), **options) as server:
        assert server.wait_for_nodes(1, PATIENCE)
        for case in cases:
            func, argument, _, _ = CASES[case]
            answers[case]["without"] = told(server.submit(func, (argument,)))
    return {"answers": answers, "alive": alive}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
