"""The ledger blames what must not happen, and nothing else."""

from __future__ import annotations

from tests.chaos.errands import Errand, marks
from tests.chaos.ledger import Ending, Excuse, Ledger

OK = Ending("ok", 9, "", "", 1)
POISONED = Ending("PoisonedJob", None, "died 3 times", "", 3)


def ledger_with(kind: str, dice: int = 3, starts: int = 1) -> Ledger:
    ledger = Ledger(lambda dice: starts)
    ledger.submitted(Errand(0, kind, dice), client=1, now=10.0)
    return ledger


def verdict(ledger: Ledger) -> list[str]:
    ledger.close()
    return [line.partition(") ")[2] for line in ledger.violations]


def test_a_right_answer_with_one_call_is_right() -> None:
    ledger = ledger_with("short")
    ledger.ended(0, OK, 11.0)
    ledger.called(0)
    assert ledger.unfinished == 0
    assert not verdict(ledger)


def test_a_wrong_answer_is_blamed() -> None:
    ledger = ledger_with("short")
    ledger.ended(0, OK._replace(value=8), 11.0)
    ledger.called(0)
    assert verdict(ledger) == ["gave 8, not 9"]


def test_what_never_ends_is_blamed() -> None:
    assert verdict(ledger_with("short")) == ["never ended"]


def test_what_ends_twice_is_blamed() -> None:
    ledger = ledger_with("short")
    ledger.called(0)
    ledger.ended(0, OK, 11.0)
    ledger.ended(0, OK, 12.0)
    assert verdict(ledger) == ["ended again with ok, after ok"]


def test_callbacks_are_called_once_and_only_with_an_answer() -> None:
    missing, twice, wrong = ledger_with("short"), ledger_with("short"), ledger_with("fails")
    for ledger in (missing, twice):
        ledger.ended(0, OK, 11.0)
    wrong.ended(0, Ending("ValueError", None, "dice 3", "", 1), 11.0)
    twice.called(0)
    twice.called(0)
    wrong.called(0)
    assert verdict(missing) == ["its callback was not called"]
    assert verdict(twice) == ["its callback was called 2 times; ok"]
    assert verdict(wrong) == ["its callback was called 1 times; ValueError"]


def test_output_counts() -> None:
    ledger = ledger_with("talks")
    ledger.ended(0, Ending("ok", 3, "", "dice 3 line 0\n", 1), 11.0)
    ledger.called(0)
    assert verdict(ledger) == ["printed 'dice 3 line 0\\n'"]


def test_an_ending_that_the_kind_must_not_have_is_blamed_unless_a_fault_excuses_it() -> None:
    lost = Ending("OSError", None, "no room", "", 1)
    for begin, end, expected in ((5.0, 9.0, 1), (5.0, 10.5, 0), (10.5, 20.0, 0), (11.5, 20.0, 1)):
        ledger = ledger_with("short")
        ledger.excuse(Excuse(frozenset({"OSError"}), begin, end))
        ledger.ended(0, lost, 11.0)
        assert len(verdict(ledger)) == expected


def test_a_job_may_be_poisoned_if_the_laboratory_has_killed_so_many_workers() -> None:
    for deaths, expected in ((2, 1), (3, 0)):
        ledger = ledger_with("nap")
        for _ in range(deaths):
            ledger.worker_killed(10.5)
        ledger.ended(0, POISONED, 11.0)
        assert len(verdict(ledger)) == expected


def test_a_killed_client_excuses_its_jobs_but_not_second_starts() -> None:
    for starts, expected in ((1, []), (2, ["was started 2 times, and ended with client killed"])):
        ledger = ledger_with("once", starts=starts)
        ledger.client_killed(1, 11.0)
        assert not ledger.unfinished
        assert verdict(ledger) == expected


def test_what_was_never_marked_was_never_begun(tmp_path: object) -> None:
    assert marks(str(tmp_path), 5) == 0
