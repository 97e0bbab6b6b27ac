"""The one error tree of ppnext.

::

    PpnextError
    ├── JobError                  a job ended without a result; the job knows why
    │   ├── RemoteError           it raised something that cannot be rebuilt here
    │   │   ├── JobExited         it raised SystemExit or another non-Exception
    │   │   └── UnsuitablePython  the node's Python cannot load what was sent
    │   ├── ResultNotShippable    its result cannot be pickled
    │   ├── WorkerDied            its worker process died and it may not be run again
    │   │   └── PoisonedJob       its worker died under it too often
    │   ├── NodeLost              its node was lost and it may not be run again
    │   ├── JobStopped            it went beyond a limit
    │   │   ├── JobTimeout        it ran longer than it may
    │   │   └── JobMemoryExceeded it had more memory than it may
    │   ├── NoNodes               no node had started it before its deadline
    │   └── JobCancelled          it was cancelled (also a CancelledError)
    ├── DestroyedServerError      the Server it was given to has been destroyed
    ├── NotShippable              a function or argument cannot be pickled (raised by submit)
    ├── ConfigError               a setting is wrong: option, config file, environment
    │   ├── AddressError          a server name is malformed
    │   └── KeyFileError          the key file is missing, unsafe or malformed
    │       └── WeakSecretError   a secret is not a generated key
    ├── NetworkError              talking to another machine did not work
    │   ├── ListenError           the port cannot be listened on
    │   ├── HandshakeError        the peer was refused, or refused us
    │   └── ProtocolError         the peer sent what the protocol forbids
    └── DiscoveryUnavailable      mDNS cannot be used on this machine

Errors that a wrong call deserves (``TypeError``, ``ValueError``) are raised as such, or as
a class here that is one of them as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppnext.cancelled import JobCancelled

__all__ = [
    "AddressError",
    "ConfigError",
    "DestroyedServerError",
    "DiscoveryUnavailable",
    "HandshakeError",
    "JobCancelled",
    "JobError",
    "JobExited",
    "JobMemoryExceeded",
    "JobStopped",
    "JobTimeout",
    "KeyFileError",
    "ListenError",
    "NetworkError",
    "NoNodes",
    "NodeLost",
    "NotShippable",
    "PoisonedJob",
    "PpnextError",
    "ProtocolError",
    "RemoteError",
    "ResultNotShippable",
    "UnsuitablePython",
    "WeakSecretError",
    "WorkerDied",
]


class PpnextError(Exception):
    """The root of every error that ppnext raises on its own account."""


class JobError(PpnextError):
    """A job ended without a result. The message says what happened; if it was ppnext that ended the
    job, it also says which job that was, and where it ran."""


class RemoteError(JobError):
    """A job raised an exception that cannot be rebuilt in this process.

    Attributes:
        type_name: qualified name of the exception's class on the node.
        traceback_text: the remote traceback, as Python prints it.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str, str]]:
        return type(self), (str(self), self.type_name, self.traceback_text)


class JobExited(RemoteError):
    """A job raised ``SystemExit``, ``KeyboardInterrupt`` or the like, which is no ``Exception``.

    It is not raised as itself: that would end the client's program instead of one job.
    """


class UnsuitablePython(RemoteError):
    """The Python of a node cannot load a function or arguments; that of another node may.

    Jobs are then run elsewhere. It is raised where there is no job: by what a job unpickles itself.
    """


class ResultNotShippable(JobError):
    """A job returned, but what it returned (or raised) cannot be pickled."""


class WorkerDied(JobError):
    """A job's worker process died while running it, and the job may not be run again."""


class PoisonedJob(WorkerDied):
    """Three workers have died under a job. The message says on which nodes, and how."""


class NodeLost(JobError):
    """A job's node was lost, and the job may not be run again: it may have run, once."""


class JobStopped(JobError):
    """A job was stopped where it ran, because it went beyond a limit.

    Attributes:
        stack: where it was when that was found out, one line for each call, the innermost last;
            empty if that could not be seen.
        peak: most bytes of memory that it was seen to have; 0 if nobody looked.
    """

    def __init__(self, message: str, stack: str = "", peak: int = 0) -> None:
        super().__init__(message)
        self.stack = stack
        self.peak = peak

    def __reduce__(self) -> tuple[type[JobStopped], tuple[str, str, int]]:
        return type(self), (str(self), self.stack, self.peak)


class JobTimeout(JobStopped):
    """A job ran longer than its ``timeout``."""


class JobMemoryExceeded(JobStopped):
    """A job had more memory than its ``max_memory``, with its child processes, or was stopped too
    often because it was the largest on a machine that ran short of memory."""


class NoNodes(JobError):
    """No node had started a job before its deadline; the message says why it waited."""


class DestroyedServerError(PpnextError, RuntimeError):
    """The job server has been destroyed: it takes no jobs, and those it had have ended."""


class NotShippable(PpnextError, TypeError):
    """A function or an argument cannot be pickled; the message names the culprit."""


class ConfigError(PpnextError, ValueError):
    """A setting is wrong; the message says which, where it was read, and what it may be."""


class AddressError(ConfigError):
    """A server name is malformed; the message shows the forms that are understood."""


class KeyFileError(ConfigError):
    """The key file is missing, unsafe or malformed; the message gives the command that mends it."""


class WeakSecretError(KeyFileError):
    """A secret is not a key made by ``ppserver --new-key``."""


class NetworkError(PpnextError, ConnectionError):
    """Talking to another machine did not work."""


class ListenError(NetworkError):
    """The daemon cannot listen where it was told to."""


class HandshakeError(NetworkError):
    """Two ends did not come to trust each other. On the daemon the reason stays in its own log."""


class ProtocolError(NetworkError):
    """An authenticated peer sent what the protocol forbids. The connection is closed."""


class DiscoveryUnavailable(PpnextError):
    """mDNS cannot be used here; servers named explicitly still work."""


def __getattr__(name: str) -> type[PpnextError]:
    # Its other base belongs to a package that takes long to load, and a worker never raises it.
    if name == "JobCancelled":
        cancelled: type[PpnextError] = import_module("ppnext.cancelled").JobCancelled
        return cancelled
    raise AttributeError(f"module 'ppnext.errors' has no attribute {name!r}")
