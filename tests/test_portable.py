"""Everything below the daemon, and the library, work where there is nothing of Linux.

``portable_program`` takes it away in a process of its own, then imports and runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

TIMEOUT_S = 100
"""Bounds a hang; it takes a few seconds."""


Outcome = TypedDict(
    "Outcome", {"refused": dict[str, str], "done": dict[str, int], "still there": list[str]}
)
"""What the program prints."""


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """One run for all tests here."""
    program = Path(__file__).with_name("portable_program.py")
    finished = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert finished.returncode == 0, finished.stderr
    result: Outcome = json.loads(finished.stdout)
    return result


def test_the_program_had_nothing_of_linux(outcome: Outcome) -> None:
    assert outcome["still there"] == []


def test_every_module_can_be_imported_but_those_that_need_a_package(outcome: Outcome) -> None:
    assert outcome["refused"] == {
        f"chancel.links.{extra}": (
            f"{what} need the package {package}: pip install 'chancel[{extra}]'"
        )
        for extra, what, package in (
            ("serial", "serial links", "pyserial"),
            ("websocket", "WebSocket links", "websockets"),
        )
    }


@pytest.mark.parametrize("way", ["over_memory", "over_udp", "over_tcp"])
def test_a_tunnel_carries_messages(outcome: Outcome, way: str) -> None:
    assert outcome["done"][way] == 200


def test_libkyrka_carries_messages(outcome: Outcome) -> None:
    assert outcome["done"]["with_libkyrka"] >= 2
