"""Cases with a parish at work, each role played by the reference or by Chancel, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from chancel.demo.programs import CHANCEL, Program

AT_ONCE = 8
"""Parishes that are at work together: most of their time is spent on waiting."""

T = TypeVar("T")
Case = TypeVar("Case")


def programs(reference: Program, *who: str) -> list[Program]:
    """The programs called ``chancel`` and ``reference``."""
    known = {CHANCEL.name: CHANCEL, reference.name: reference}
    return [known[name] for name in who]


@contextlib.contextmanager
def side_by_side(
    request: pytest.FixtureRequest, play: Callable[[Case, Path], T]
) -> Iterator[dict[Case, Future[T]]]:
    """Play all cases (a module's parameter ``case``) that were asked for, each in a folder."""
    asked: list[Case] = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(play, case, factory.mktemp("parish")) for case in asked}
