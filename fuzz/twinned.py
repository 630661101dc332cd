"""Both twins of the hot functions on the same input: what can be seen of each, side by side.

What runs compiled is chosen when something is made that has twins. So a target says how to make it
and what it does with an input, and this does so twice. The accelerator may be missing; a target
whose name begins with ``twins_`` is then left out, and whoever runs it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chancel.daemon.hot import twins
from chancel.errors import ChancelError

T = TypeVar("T")

PREFIX = "twins_"
MISSING = "needs cargo: `make setup` builds chancel_accel where it is found"

_REFUSALS = (ChancelError, OSError, ValueError, IndexError)


def is_missing(name: str) -> bool:
    """Whether a target wants compiled twins and there are none."""
    return name.startswith(PREFIX) and twins.module() is None


def compare(do: Callable[[], T]) -> T | str:
    """What both twins make of something; an AssertionError when that is not the same.

    ``do`` makes what it needs, and returns all that can be seen afterwards. An error is its kind.
    """
    before = twins.used()
    try:
        twins.use(())
        python = _outcome(do)
        twins.use()
        compiled = _outcome(do)
    finally:
        twins.use(before)
    assert compiled == python
    return python


def _outcome(do: Callable[[], T]) -> T | str:
    try:
        return do()
    except _REFUSALS as error:
        return type(error).__name__
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # none of ours: it would end the process
            raise AssertionError(f"a compiled twin panicked: {error}") from error
        raise
