"""The arithmetic, the tables and the report. What benchmarks measure is never asserted."""

from __future__ import annotations

import json

import pytest

from benchmarks.figures import FIGURES, rows
from benchmarks.measures import GROUPS, MEASURES
from benchmarks.outcome import Outcome, Samples, Values
from benchmarks.peers import CORE, PEERS
from benchmarks.report import documentation, markdown, pictures
from benchmarks.table import ALONE, TABLES, list_table, number, ratio, ratios, rows_as_text, values

SAMPLES: Samples = {
    "ppnext": {"throughput": {0: 200.0, 1: 300.0, 2: 100.0}, "latency": {0: 10.0, 2: 30.0}},
    "pool": {"throughput": {0: 100.0, 1: 100.0, 2: 100.0}, "latency": {0: 20.0, 2: 90.0}},
    "ppft-remote": {"throughput": {0: 5.0}},
}


def full_outcome() -> Outcome:
    outcome = Outcome()
    curve = [float(value) for value in range(1, 102)]
    every = dict.fromkeys(MEASURES, 2.0)
    for number_of_round in range(2):
        for name in PEERS:
            brought = Values(every, {"latency": [curve], "floor": [curve]}, "1.2")
            outcome.add(name, "calls", number_of_round, brought)
        outcome.add("interpreter", "cold", number_of_round, Values({"cold": 1.0}, {}, ""))
    points = [[10.0, 1.0], [100.0, 2.0]]
    alone = {"decisions": 2e5, "nodes_growth": 2.0, "queue_growth": 1.0, "makespan": 1.01}
    outcome.add("scheduler", "scheduler", 0, Values(alone, {"queue": points, "nodes": points}, ""))
    outcome.add("ppnext", "queue", 0, Values({}, {"queue": points}, ""))
    outcome.add("ppnext", "idle", 0, Values({"idle": 0.1}, {}, ""))
    outcome.leave_out("ray", "pip failed")
    outcome.fail("loky", "map", "it did not end within 9 s")
    return outcome


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    assert ratio({0: 200, 1: 300, 2: 100}, {0: 100, 1: 100, 2: 100}, more_is_better=True) == 2


def test_a_ratio_is_more_than_one_when_ours_is_better() -> None:
    assert ratio({0: 10, 1: 20, 2: 30}, {0: 20, 1: 20, 2: 90}, more_is_better=False) == 2


def test_rounds_that_one_peer_lacks_do_not_count() -> None:
    assert ratio({0: 1000, 2: 4}, {2: 2}, more_is_better=True) == 2
    with pytest.raises(ValueError, match="no round"):
        ratio({0: 1.0}, {1: 1.0}, more_is_better=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (99.96, "100.0"), (12.34, "12.3"), (0.456, "0.46"), (-0.001, "-0.00")],
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_of_ratios() -> None:
    table = ratios(SAMPLES, "ppnext", (), ("throughput", "latency", "map"))
    assert table[0][:2] == ["times better than", "submit and collect"]
    assert table[1:] == [["multiprocessing.Pool", "2.00×", "2.50×", ""]]


def test_the_table_of_values() -> None:
    table = values(SAMPLES, "ppnext", (), ("throughput", "latency"))
    assert table[0] == ["", "submit and collect, jobs/s", "one job at a time, median, µs"]
    assert table[1:] == [["ppnext", "200", "20.0"], ["multiprocessing.Pool", "100", "55.0"]]


def test_peers_with_a_daemon_have_a_table_of_their_own() -> None:
    table = values(SAMPLES, "ppnext-remote", ("ppft-remote",), ("throughput",))
    assert table[1:] == [["ppft, ppserver", "5.00"]]


def test_a_table_as_text() -> None:
    assert rows_as_text([["a", "b"], ["c", "1"]]) == "| a | b |\n|---|---:|\n| c | 1 |\n"


def test_a_table_for_the_documentation() -> None:
    text = list_table("Title", [["", "b"], ["c", "1"]])
    assert text == (
        ".. list-table:: Title\n   :header-rows: 1\n\n   * -\n     - b\n   * - c\n     - 1\n"
    )


def test_tables_have_measures_only() -> None:
    shown = {name for _, _, _, measures in (*TABLES, *ALONE) for name in measures}
    assert shown <= MEASURES.keys()


def test_a_figure_without_values_is_not_measured() -> None:
    found = list(rows({}))
    assert len(found) == len(FIGURES)
    assert {row.value for row in found} == {"not measured"}
    assert {row.reached for row in found} == {""}


def test_a_figure_is_measured_against_the_best_of_the_others() -> None:
    samples: Samples = {
        "ppnext": {"throughput": {0: 300.0}},
        "pool": {"throughput": {0: 100.0}},
        "pool-spawn": {"throughput": {0: 200.0}},
    }
    row = next(rows(samples))
    assert (row.value, row.bound, row.reached) == ("1.50", "≥ 2.00", "no")


def test_rounds_that_do_not_meet_measure_nothing() -> None:
    samples: Samples = {"ppnext": {"cold": {0: 9.0}}, "interpreter": {"cold": {1: 3.0}}}
    cold = [row for row in rows(samples) if row.title.startswith("cold")]
    assert [row.value for row in cold] == ["not measured"]


def test_a_cost_is_ours_by_theirs() -> None:
    samples: Samples = {"ppnext": {"cold": {0: 9.0}}, "interpreter": {"cold": {0: 3.0}}}
    cold = [row for row in rows(samples) if row.title.startswith("cold")]
    assert [(row.value, row.reached) for row in cold] == [("3.00", "yes")]


def test_every_figure_can_be_had() -> None:
    assert {row.number for row in rows(full_outcome().samples)} == set(range(1, 20))
    missing = [row for row in rows(full_outcome().samples) if row.value == "not measured"]
    assert [row.title for row in missing] == ["ppserver, array ÷ one TLS stream"]


def test_the_report_names_what_was_left_out() -> None:
    text = markdown(full_outcome(), {"cores": "2"})
    assert "* ppnext: 1.2\n" in text
    assert "* Ray: left out, pip failed\n" in text
    assert "* loky: left out of map, it did not end within 9 s\n" in text
    assert "* cores: 2\n" in text
    assert text.index("Figures to reach") < text.index("times better") < text.index("medians")


def test_the_documentation_has_the_same_tables() -> None:
    text = documentation(full_outcome(), {"cores": "2"})
    assert text.count(".. list-table::") == 1 + 2 * len(TABLES) + len(ALONE)


def test_what_was_measured_outlives_its_file() -> None:
    outcome = full_outcome()
    again = Outcome.from_json(json.loads(json.dumps(outcome.as_json())))
    assert again.samples == outcome.samples
    assert markdown(again, {}) == markdown(outcome, {})
    assert pictures(again) == pictures(outcome)


def test_start_up_counts_where_nothing_else_is_imported() -> None:
    outcome = Outcome()
    outcome.add("ppnext", "array", 0, Values({"startup": 9.0, "array": 1.0}, {}, "1"))
    assert outcome.samples == {"ppnext": {"array": {0: 1.0}}}


def test_the_pictures() -> None:
    names = {"throughput", "map", "array", "latency", "queue", "nodes"}
    assert set(pictures(full_outcome())) == {f"{name}.svg" for name in names}
    assert pictures(Outcome()) == {}


def test_peers_and_groups_know_each_other() -> None:
    assert set(CORE) <= set(PEERS)
    used = {group for peer in PEERS.values() for group in peer.groups.split()}
    assert used | {"cold", "scheduler"} == set(GROUPS)
    assert all(0 < min(peer.share, peer.single, peer.calls) <= 1 for peer in PEERS.values())
