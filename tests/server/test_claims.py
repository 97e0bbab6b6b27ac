"""What jobs of a session take: read from what the client says, refused, and added up."""

from __future__ import annotations

import pytest

from ppnext.sched.claim import Claim
from ppnext.sched.fairshare import Lump
from ppnext.sched.stock import Stock
from ppnext.server.claims import claim_in, claim_of, lump, refusal, weight
from ppnext.wire.messages import Limits

GPU = (("gpu", 1),)


@pytest.mark.parametrize(
    ("limits", "claim"),
    [
        (None, None),
        (Limits(timeout=1.0), None),
        (Limits(threads=2), Claim(2)),
        (Limits(resources=GPU), Claim(1, GPU)),
        (Limits(resources=(("b", 1), *GPU, *GPU)), Claim(1, (("b", 1), ("gpu", 2)))),
    ],
)
def test_what_a_job_takes_is_said_in_its_limits(limits: Limits | None, claim: Claim | None) -> None:
    assert claim_in(limits) == claim


def test_a_claim_is_all_that_a_job_needs() -> None:
    assert claim_of(Claim(2)) == Claim(2)


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (Claim(2, GPU), None),
        (Claim(3), "it takes 3 slots, and there are 2"),
        (
            Claim(1, (("tpu", 1),)),
            "it claims what is not here: this ppserver offers no tpu (it offers: gpu=1)",
        ),
    ],
)
def test_what_there_is_not_is_refused_in_words(claim: Claim, why: str | None) -> None:
    assert refusal(claim, 2, Stock({"gpu": 1})) == why


@pytest.mark.parametrize(
    ("jobs", "claims", "slots", "lumps"),
    [
        (0, {}, 0, None),
        (5, {}, 5, None),
        (5, {Claim(1, GPU): 2}, 5, None),
        (5, {Claim(3): 2}, 9, Lump(1, 3)),
        (2, {Claim(3): 2}, 6, Lump(3, 3)),
        (3, {Claim(3): 2, Claim(2, GPU): 1}, 8, Lump(2, 3)),
        (3, {Claim(3): 2, Claim(1, GPU): 1}, 7, Lump(1, 3)),
    ],
)
def test_slots_are_added_up(
    jobs: int, claims: dict[Claim, int], slots: int, lumps: Lump | None
) -> None:
    assert weight(jobs, claims) == slots
    assert lump(jobs, claims) == lumps
