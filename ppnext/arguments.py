"""Arguments: what a call of ``submit`` can get wrong, said before anything is pickled."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["check_call"]


def _not_a_tuple(name: str, value: object) -> str:
    shown = f"{value!r:.60}"
    return f"{name} must be a tuple, not {shown}; did you mean ({shown},)?"


def check_call(
    func: object,
    args: object,
    depfuncs: object,
    modules: object,
    callback: object,
    callbackargs: object,
    group: object,
    namespace: object,
    kwargs: object,
) -> None:
    """Check the arguments of ``Server.submit``.

    Raises:
        TypeError: one is of the wrong type; the message says what was probably meant.
    """
    if not callable(func):
        raise TypeError(f"func must be a function, not {func!r}; it is called on the node")
    for name, value in (("args", args), ("depfuncs", depfuncs), ("callbackargs", callbackargs)):
        if not isinstance(value, tuple):
            raise TypeError(_not_a_tuple(name, value))
    if not isinstance(modules, tuple) or not all(isinstance(name, str) for name in modules):
        hint = f"; did you mean ({modules!r:.60},)?" if isinstance(modules, str) else ""
        raise TypeError(f"modules must be a tuple of strings, not {modules!r:.60}{hint}")
    for function in depfuncs:  # type: ignore[attr-defined]  # a tuple, as was checked
        if not callable(function) or not hasattr(function, "__name__"):
            raise TypeError(f"depfuncs must be functions or classes, not {function!r:.60}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function, not {callback!r:.60}")
    if not isinstance(group, str):
        raise TypeError(f"group must be a string, not {group!r:.60}")
    for name, mapping in (("globals", namespace), ("kwargs", kwargs)):
        if mapping is not None and not isinstance(mapping, Mapping):
            raise TypeError(f"{name} must be a dictionary, not {mapping!r:.60}")
