"""Checks: what must hold in an engine after every turn of its loop, and when no job is left."""

from __future__ import annotations

from ppnext.engine import Engine
from ppnext.sched.actions import Action
from ppnext.sched.invariants import check

__all__ = ["EngineCheck", "check_idle"]


class EngineCheck:
    """Checks an engine whenever its jobs or nodes may have changed.

    Its scheduler keeps its own promises; and it and the links agree on which nodes there are and on
    how many jobs each of them holds.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scheduler = engine._scheduler  # what is checked is inside
        # Every event ends with a look at what is to be done.
        self._take_actions, self._has_changed = self._scheduler.take_actions, True
        self._scheduler.take_actions = self._note  # type: ignore[method-assign]  # a spy, for one look

    def _note(self) -> list[Action]:
        self._has_changed = True
        return self._take_actions()

    def __call__(self) -> None:
        """Raise AssertionError if the engine contradicts itself."""
        scheduler = self._scheduler
        if not self._has_changed:
            return  # it has been looked at like this
        self._has_changed = False
        check(scheduler, scheduler._policy)
        assert self._engine.links.keys() == scheduler.nodes.keys(), "links are not the nodes"
        for number, link in self._engine.links.items():
            held = len(scheduler.nodes[number].held)
            assert link.held == held, f"{link.name} holds {held} jobs, and its link {link.held}"


def check_idle(engine: Engine) -> None:
    """Raise AssertionError if an engine whose jobs have all ended has kept anything of them."""
    scheduler = engine._scheduler  # what is checked is inside
    assert not scheduler.jobs, f"{len(scheduler.jobs)} jobs are left in a scheduler"
    assert scheduler.waiting == 0, "a scheduler counts jobs that wait"
    for node in scheduler.nodes.values():
        assert not node.held, f"{node.name} holds a job"
        assert not node.asked, f"{node.name} owes an answer"
        assert not node.draining, f"{node.name} was to go"
