"""Aftermath: what becomes of a job that its node gives back, keeps, or has lost.

It waits again, is stopped, or ends. Whoever asked for it is answered here, with one action.
"""

from __future__ import annotations

from ppnext.sched.actions import End, Failed, Kept, Stop, Withdrawn
from ppnext.sched.dispatcher import Dispatcher
from ppnext.sched.model import (
    CANCEL,
    RUN,
    WITHDRAW,
    JobId,
    JobState,
    Mishap,
    NodeState,
)
from ppnext.sched.policy import Policy
from ppnext.sched.pools import Pools

__all__ = ["Aftermath"]


class Aftermath:
    """Decides what follows when a job does not simply run and finish.

    Args:
        jobs: those that have not ended; forgotten here when they end.
        pools: where they wait.
        dispatcher: whose actions say what is to be done.
        policy: when a job is given up.

    Attributes:
        rescheduled: how many attempts ended without a result and were followed by another.
    """

    def __init__(
        self, jobs: dict[JobId, JobState], pools: Pools, dispatcher: Dispatcher, policy: Policy
    ) -> None:
        self.rescheduled = 0
        self._jobs = jobs
        self._pools = pools
        self._dispatcher = dispatcher
        self._policy = policy
        # Of cancelled jobs that have been asked back: seconds to end in if they are kept.
        self._graces: dict[JobId, float] = {}

    def cancel(self, state: JobState, node: NodeState, grace: float) -> None:
        """Nobody wants a job any more that a node holds."""
        self.answer_kept(state)
        state.intent = CANCEL
        if state.kept:
            self._stop(state, node, grace)
        else:
            self._graces[state.id] = grace
            self._dispatcher.ask(node, [state])

    def note_kept(self, state: JobState, node: NodeState) -> None:
        """A node was asked for a job and has started it."""
        if state.id not in node.asked:
            return
        state.move("kept")
        state.kept = True
        node.asked.discard(state.id)
        if state.id in self._graces:
            self._stop(state, node, self._graces.pop(state.id))
        self.answer_kept(state)

    def answer_kept(self, state: JobState) -> None:
        """If the owner has asked for a job, it hears that it stays."""
        if state.intent is WITHDRAW:
            state.intent = RUN
            self._dispatcher.actions.append(Kept(state.id))

    def give_back(self, state: JobState, event: str = "returned") -> None:
        """A job has not been started where it was: what now?"""
        if state.intent is CANCEL:
            self._end(state, "cancelled")
        elif state.intent is WITHDRAW:
            self._end(state, "withdrawn")
            self._dispatcher.actions.append(Withdrawn(state))
        else:
            state.move(event)
            self._pools.put_first(state)

    def retry(self, state: JobState, mishap: Mishap) -> None:
        """An attempt ended without a result: run the job again, or give it up."""
        state.mishaps += (mishap,)
        if state.intent is CANCEL:
            self._end(state, "cancelled")
            return
        self._dispatcher.actions.append(Failed(state, mishap))
        self.answer_kept(state)
        cause = self._policy.reason_to_give_up(state)
        if cause is None:
            self.rescheduled += 1
            state.move("worker died" if mishap.blamed else "node lost")
            self._pools.put_first(state)
        else:
            self._end(state, "given up")
            self._dispatcher.actions.append(End(state, cause, state.mishaps))

    def blame(self, state: JobState, node: NodeState | None, mishaps: tuple[Mishap, ...]) -> None:
        """A job is to blame for more than has happened to it: go on, or give it up.

        Args:
            node: the one that holds it; it is stopped there, at once.
        """
        state.mishaps += mishaps
        cause = self._policy.reason_to_give_up(state)
        if cause is None or state.intent is CANCEL:
            return
        if node is None:
            self.end_waiting(state, "cancelled")
        else:
            self.cancel(state, node, 0.0)
        self._dispatcher.actions.append(End(state, cause, state.mishaps))

    def finished(self, job: JobId) -> None:
        """A cancelled job has ended by itself."""
        self._graces.pop(job, None)

    def end_waiting(self, state: JobState, event: str) -> None:
        """A waiting job has ended."""
        state.move(event)
        self._pools.drop(state)
        self._forget(state)
        if state.need is not None:
            self._dispatcher.look_again()  # something may have been held for it

    def _stop(self, state: JobState, node: NodeState, grace: float) -> None:
        self._dispatcher.actions.append(Stop(node.id, (state.id, state.attempt), grace))

    def _end(self, state: JobState, event: str) -> None:
        state.move(event)
        self._forget(state)

    def _forget(self, state: JobState) -> None:
        del self._jobs[state.id]
        self._graces.pop(state.id, None)
        if state.need is not None:
            self._pools.leave(state.need)
