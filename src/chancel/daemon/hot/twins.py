"""The compiled twins of the hot functions: whether they are here, and which of them run.

The distribution ``chancel-accel`` is optional. Each of its functions does what the one here in
Python does, byte for byte, so any mixture of the two works. The choice is made before processes are
forked; a hot module asks :func:`compiled` for its twin when a process sets its duty up.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

NAMES: Final = ("read", "seal", "send", "receive", "open", "write", "mask", "turn")
"""What can be compiled, in the order in which a packet meets it; masks are put on by ``send``'s
process and taken off by ``receive``'s. ``turn`` is what goes on around the others: waiting, taking
a batch, handing it on."""

_used: frozenset[str] = frozenset()


def module() -> ModuleType | None:
    """The module ``chancel_accel``, if it is installed."""
    try:
        return importlib.import_module("chancel_accel")
    except ImportError:
        return None


def use(names: Iterable[str] = NAMES) -> frozenset[str]:
    """From now on use the compiled twins of these functions; returns those that there are."""
    global _used  # noqa: PLW0603 - the one choice of a process
    wanted = frozenset(names)
    if unknown := wanted - set(NAMES):
        raise ValueError(f"no hot function {', '.join(sorted(unknown))}")
    _used = wanted if module() is not None else frozenset()
    return _used


def used() -> frozenset[str]:
    """The functions whose compiled twins are in use."""
    return _used


def compiled(name: str) -> Any:
    """The module with the compiled twin of a function, or ``None`` where Python's runs."""
    return module() if name in _used else None
