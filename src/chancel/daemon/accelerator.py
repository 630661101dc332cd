"""The accelerator: whether a group uses the compiled twins of its hot functions, and why not.

It is a distribution of its own, ``chancel-accel``, and has to be of our release: the two are tested
together. Without it everything works, slower.
"""

from __future__ import annotations

import enum
import logging

from chancel import __version__
from chancel.daemon import arrays
from chancel.daemon.hot import twins

log = logging.getLogger("chancel.daemon")


class Accelerator(enum.StrEnum):
    """How it stands; the value is the word in ``status``."""

    ON = "on"
    OFF = "off"
    """Switched off by configuration."""
    NOT_INSTALLED = "not installed"
    ANOTHER_VERSION = "another version"


def engage(*, wanted: bool) -> Accelerator:
    """Decide for the processes that are forked from here on, and say so."""
    state = _find() if wanted else Accelerator.OFF
    twins.use(twins.NAMES if state is Accelerator.ON else ())
    if state is not Accelerator.ON:
        arrays.load()
    if state is Accelerator.NOT_INSTALLED:
        log.info("no accelerator is installed: Python carries the packets (make accel builds it)")
    elif state is not Accelerator.ANOTHER_VERSION:
        log.info("the accelerator is %s", state)
    return state


def _find() -> Accelerator:
    module = twins.module()
    if module is None:
        return Accelerator.NOT_INSTALLED
    found = getattr(module, "__version__", "unknown")
    if found != __version__:
        log.warning(
            "the accelerator is of another version, so Python carries the packets found=%s"
            " expected=%s (make accel, or pip install chancel-accel==%s)",
            found,
            __version__,
            __version__,
        )
        return Accelerator.ANOTHER_VERSION
    return Accelerator.ON
