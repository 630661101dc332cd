"""The engine without coverage: every input of the corpus, then mutations of them.

Slower to find its way than the other one, but it needs nothing, and the same seed gives the same
inputs: the test suite runs some thousand of them each time.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fuzz import corpus
from fuzz.mutate import mutate
from fuzz.targets import Target

HANG_LIMIT_S = 20.0
"""A verdict takes milliseconds; a busy machine may pause for a while."""

_TOLD_EVERY_S = 1.0


class Broken(Exception):  # noqa: N818 - what happened to the input
    """An input broke the invariant; ``__cause__`` says how."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"{len(data)} bytes")
        self.data = data


def run(target: Target, seconds: float, seed: int, tell: Callable[[str], None]) -> None:
    """Try inputs for a time. Raises :class:`Broken`."""
    end = time.monotonic() + seconds
    told = 0.0
    for number, data in enumerate(inputs(target, seed), start=1):
        judge(target, data)
        now = time.monotonic()
        if now >= told + _TOLD_EVERY_S or now >= end:
            told = now
            tell(f"#{number} random")
        if now >= end:
            return


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """The corpus, then mutations of it without end."""
    known = corpus.load(target)
    yield from known
    rng = random.Random(f"{target.name} {seed}")
    while True:
        yield mutate(rng, rng.choice(known), known, target.most_bytes)


def judge(target: Target, data: bytes) -> None:
    """Try one input. Raises :class:`Broken`."""
    try:
        with _limited():
            target.check(data)
    except Exception as error:
        raise Broken(data) from error


@contextmanager
def _limited() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, HANG_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError(f"no verdict within {HANG_LIMIT_S:g} s")
