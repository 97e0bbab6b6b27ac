"""What is measured, in groups; each group is one run of a child, in so many rounds.

* calls: jobs that do nothing, each submitted by itself, then all results collected; processor time
  of the client's process for each; then one job after the other.
* map: a map over many calls that do nothing, with the best of several chunk sizes.
* uneven: a map over calls of log-normal length. They sleep: on two cores, workers that computed
  would measure who gets the cores, and the client's own work would count twice.
* array: a large array there and back; both sides read a number of each page.
* broadcast: one array that many jobs use, against one job with the array as an argument.
* queue: jobs that nobody runs yet: what they hold in the client, what one more costs.
* shipping: functions by reference, by source and by value, and a package of modules that comes
  along: what submitting costs, the first job and later ones.
* control: jobs that are cancelled while they run, or have a time that runs out.
* idle: processor time of a system with nothing to do.
* share: a client's single jobs, while another client of the daemon has very many queued.
* scheduler: the scheduler by itself, on clusters that do not exist.
* cold: from the start of a fresh interpreter to the first result, and the import alone.

A child brings values, of which each round gives one, and curves, which are shown as plots.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DEFAULT", "GROUPS", "MEASURES", "QUICK", "Found", "Group", "Measure", "Sizes"]


class Measure(NamedTuple):
    """A measure; ``more_is_better`` says which way. One without a title is not in the tables."""

    name: str
    title: str
    unit: str
    more_is_better: bool


class Group(NamedTuple):
    """A group of measures.

    Attributes:
        rounds: of a full run.
        quick: rounds of a quick run.
        seconds: after which a child is ended.
        until: the share of a run's time after which no further round of the group is begun.
    """

    rounds: int
    quick: int
    seconds: float
    until: float


class Sizes(NamedTuple):
    """How much is measured; of calls, a slow peer gets a share."""

    jobs: int = 20_000
    single: int = 500
    calls: int = 100_000
    uneven: int = 2_000
    array_mib: int = 64
    trips: int = 9
    shared_mib: int = 256
    sharers: int = 200
    queued: int = 1_000_000
    submits: int = 10_000
    firsts: int = 25
    stops: int = 15
    idle_seconds: float = 10.0
    queued_by_another: int = 100_000
    guests: int = 20

    def scaled(self, share: float, single: float, calls: float) -> Sizes:
        """Return these sizes for a slow peer."""
        return self._replace(
            jobs=max(15, int(self.jobs * share)),
            single=max(10, int(self.single * single)),
            calls=max(1_000, int(self.calls * calls)),
        )


class Found(NamedTuple):
    """What a child has measured."""

    values: dict[str, float]
    curves: dict[str, list[list[float]]]


DEFAULT = Sizes()
QUICK = Sizes(
    jobs=5_000,
    single=200,
    calls=50_000,
    uneven=500,
    trips=5,
    shared_mib=64,
    sharers=50,
    queued=200_000,
    submits=2_000,
    firsts=10,
    stops=7,
    idle_seconds=5.0,
    queued_by_another=20_000,
    guests=10,
)

GROUPS = {
    "cold": Group(15, 5, 20, 0.05),
    "calls": Group(9, 3, 60, 0.35),
    "map": Group(9, 2, 60, 0.5),
    "uneven": Group(3, 1, 60, 0.65),
    "array": Group(5, 2, 60, 0.8),
    "broadcast": Group(3, 1, 90, 0.85),
    "queue": Group(2, 1, 120, 0.9),
    "shipping": Group(5, 2, 60, 0.93),
    "control": Group(3, 1, 60, 0.94),
    "idle": Group(1, 1, 40, 0.95),
    "share": Group(3, 1, 60, 0.97),
    "scheduler": Group(1, 1, 300, 1.0),
}

MEASURES = {
    measure.name: measure
    for measure in (
        Measure("throughput", "submit and collect", "jobs/s", True),
        Measure("client", "client's CPU time a job", "µs", False),
        Measure("latency", "one job at a time, median", "µs", False),
        Measure("latency_high", "one job at a time, 99th percentile", "µs", False),
        Measure("latency_floors", "one job ÷ bare ping-pong", "×", False),
        Measure("latency_apart", "one job ÷ bare ping-pong of two processors", "×", False),
        Measure("map", "map of small calls, best chunk size", "calls/s", True),
        Measure("uneven", "efficiency on uneven calls, best chunk size", "", True),
        Measure("array", "64 MiB array there and back", "MB/s", True),
        Measure("array_share", "the same ÷ two memcpy of it", "×", True),
        Measure("shared", "one array, many jobs", "ms", False),
        Measure("shared_once", "the same ÷ one job with the array", "×", False),
        Measure("shared_copies", "copies of it in memory", "", False),
        Measure("queued_bytes", "memory of a queued job", "bytes", False),
        Measure("queued_rate", "submit rate, long queue ÷ short", "×", True),
        Measure("queued_rate_between", "the same between passes of the collector", "×", True),
        Measure("submit_reference", "CPU time of submit, by reference", "µs", False),
        Measure("submit_source", "the same, by source", "µs", False),
        Measure("submit_value", "the same, by value", "µs", False),
        Measure("submit_package", "the same, of a shipped package", "µs", False),
        Measure("submit_forms", "submit, dearest form ÷ cheapest", "×", False),
        Measure("client_reference", "client's CPU time a job, by reference", "µs", False),
        Measure("client_source", "the same, by source", "µs", False),
        Measure("client_value", "the same, by value", "µs", False),
        Measure("client_package", "the same, of a shipped package", "µs", False),
        Measure("single_reference", "one job at a time, by reference", "µs", False),
        Measure("single_source", "the same, by source", "µs", False),
        Measure("single_value", "the same, by value", "µs", False),
        Measure("single_package", "the same, of a shipped package", "µs", False),
        Measure("client_forms", "client's CPU a job, dearest form ÷ cheapest", "×", False),
        Measure("single_forms", "one job at a time, dearest form ÷ cheapest", "×", False),
        Measure("first_reference", "first use over a known one, by reference", "ms", False),
        Measure("first_source", "the same, by source", "ms", False),
        Measure("first_value", "the same, by value", "ms", False),
        Measure("package_first", "first job with a package of 20 modules", "ms", False),
        Measure("package_next", "the same, with a second package", "ms", False),
        Measure("package_switch", "a bare job and one with it in turn, over a row", "µs", False),
        Measure("package_later", "later jobs with it ÷ bare ones", "×", False),
        Measure("stop_reuse", "cancel to next job in its slot", "ms", False),
        Measure("timeout_late", "end of a job's time to its error", "ms", False),
        Measure("idle", "CPU with nothing to do, client's side", "%", False),
        Measure("idle_daemon", "CPU with nothing to do, ppserver", "%", False),
        Measure("share_delay", "a job among 100,000 of another, worst, over one", "ms", False),
        Measure("startup", "start-up and first result", "ms", False),
        Measure("cold", "cold process to first result", "ms", False),
        Measure("import", "import", "ms", False),
    )
}
