"""The arithmetic and the tables of the benchmarks. What they measure is never asserted."""

from __future__ import annotations

import pytest

from benchmarks.measures import MEASURES, Running, Sizes, latency, throughput
from benchmarks.peers import PEERS
from benchmarks.table import markdown, number, ratio, ratios_table, spread, values_table

SAMPLES = {
    "ppnext": {"throughput": [200.0, 300.0, 100.0], "latency": [10.0, 20.0, 30.0]},
    "pool": {"throughput": [100.0, 100.0, 100.0], "latency": [20.0, 20.0, 90.0]},
    "ppft-remote": {"throughput": [5.0]},
}


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    assert ratio([200, 300, 100], [100, 100, 100], more_is_better=True) == 2


def test_a_ratio_is_more_than_one_when_ours_is_better() -> None:
    assert ratio([10, 20, 30], [20, 20, 90], more_is_better=False) == 2


def test_rounds_that_one_peer_lacks_do_not_count() -> None:
    assert ratio([4, 1000], [2], more_is_better=True) == 2
    with pytest.raises(ValueError, match="no round"):
        ratio([1.0], [], more_is_better=True)


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (99.96, "100.0"), (12.34, "12.3"), (0.456, "0.46")]
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_spread_has_median_least_and_most() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 – 3.00)"


def test_the_table_of_ratios() -> None:
    lines = ratios_table(SAMPLES, "local", "ppnext").splitlines()
    assert lines[0] == "| times better than | multiprocessing.Pool |"
    assert lines[2] == "| submit and collect | 2.00× |"
    assert lines[3] == "| one job at a time | 2.00× |"
    assert lines[4] == "| client's CPU time a job |  |"


def test_without_ppnext_there_are_no_ratios() -> None:
    assert ratios_table(SAMPLES, "remote", "ppnext-remote") == "Nothing to compare with.\n"


def test_without_peers_there_are_no_values() -> None:
    assert values_table({}, "remote") == "Nothing was measured.\n"


def test_the_table_of_values() -> None:
    lines = values_table(SAMPLES, "local").splitlines()
    assert len(lines) == 2 + len(MEASURES)
    assert lines[0] == "|  | ppnext | multiprocessing.Pool |"
    assert lines[2] == ("| submit and collect, jobs/s | 200 (100 – 300) | 100 (100 – 100) |")


def test_the_report_names_what_was_left_out() -> None:
    text = markdown(SAMPLES, {"ppnext": "1.2"}, {"ppft": "pip could not"}, {"cores": "2"}, 3)
    assert "* ppnext: 1.2\n" in text
    assert "* ppft: left out, pip could not\n" in text
    assert "* cores: 2\n" in text
    assert text.index("how much better") < text.index("median (least")


def test_slow_peers_get_fewer_jobs_but_some() -> None:
    assert Sizes(10_000, 500).scaled(0.004) == Sizes(40, 10)
    assert all(0 < peer.jobs <= 1 for peer in PEERS.values())


def test_measures_check_the_results() -> None:
    right = Running(lambda number: number, lambda handle: handle, lambda: None)
    assert throughput(right, 5).keys() == {"throughput", "client"}
    assert latency(right, 5).keys() == {"latency"}
    wrong = Running(lambda number: number, lambda handle: -1, lambda: None)
    with pytest.raises(ValueError, match="wrong"):
        throughput(wrong, 5)
    with pytest.raises(ValueError, match="wrong"):
        latency(wrong, 5)
