"""The table of print_stats: Parallel Python's columns in their order, and what is new."""

from __future__ import annotations

from ppnext.stats import NodeStats, format_stats


def test_the_table():
    stats = {
        "local": NodeStats(ncpus=2, njobs=3, time=1.5, attempts=3),
        "node1:60000": NodeStats(ncpus=4, njobs=1, time=2.0, attempts=3, lost=2),
    }
    assert format_stats(stats, 12.3456789, 5, 2, 2) == (
        "Job execution statistics:\n"
        " job count | % of all jobs | job time sum | time per job | attempts | lost | job server\n"
        "         3 |         75.00 |       1.5000 |     0.500000 |        3 |    0 | local\n"
        "         1 |         25.00 |       2.0000 |     2.000000 |        3 |    2 | node1:60000\n"
        "Time elapsed since server creation 12.345679\n"
        "5 active tasks, 2 cores\n"
        "2 attempts were lost and run again; each job is counted once\n"
    )


def test_columns_stand_under_their_headings():
    lines = format_stats({"local": NodeStats(njobs=10**5, time=999.9)}, 0, 0, 1, 0).split("\n")
    bars = [[at for at, sign in enumerate(line) if sign == "|"] for line in lines[1:3]]
    assert bars[0] == bars[1]


def test_a_node_that_has_done_nothing_is_left_out():
    stats = {"local": NodeStats(), "node1": NodeStats(attempts=1, lost=1)}
    table = format_stats(stats, 0.0, 0, 0, 0)
    assert "local" not in table
    assert table.splitlines()[2].split("|")[0].strip() == "0"
    assert "run again" not in table
