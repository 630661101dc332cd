"""The shared secret is in one file, and in one process: nowhere else can it be found."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon.config_types import PROCESSES, Mode
from tests.e2e.ends import Pair

MAX_REGION_BYTES = 64 << 20
"""Larger mappings are reserved addresses; what is in use of them is in smaller ones beside."""


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    pair.configure(0, "auto")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


def spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret), repr(secret)[2:-1].encode()]


def found_in(secret: bytes, *texts: bytes) -> bool:
    return any(spelt in text for spelt in spellings(secret) for text in texts)


def memory(pid: int) -> Iterator[bytes]:
    """Everything that a process could write to, mapping by mapping."""
    mappings = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as contents:
        for line in mappings:
            start, stop, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
            size = int(stop, 16) - int(start, 16)
            if mode.startswith("rw") and size <= MAX_REGION_BYTES:
                contents.seek(int(start, 16))
                yield contents.read(size)


def test_nothing_that_is_said_or_shown_has_the_secret(running: Pair) -> None:
    for end in running.ends:
        assert not found_in(running.key, end.log.read_bytes())
        assert not found_in(running.key, json.dumps(end.ask({"do": "status"})).encode())
        for pid in end.processes().values():
            process = Path(f"/proc/{pid}")
            shown = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            assert not found_in(running.key, *shown)


@pytest.mark.parametrize("duty", [*PROCESSES[Mode.TUNNEL], "guardian"])
def test_no_memory_has_the_secret(running: Pair, duty: str) -> None:
    """Not even that of chapel, which keeps it masked between two uses."""
    pid = running.left.processes()[duty]
    regions = list(memory(pid))
    assert any(b"chancel.daemon.guardian" in region for region in regions)  # we do see memory
    assert not any(running.key in region for region in regions)


def test_no_process_can_leave_a_core_or_gain_rights(running: Pair) -> None:
    processes = running.left.processes()
    for duty in PROCESSES[Mode.TUNNEL]:
        process = Path(f"/proc/{processes[duty]}")
        limits = (process / "limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        status = (process / "status").read_text()
        assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert re.search(rf"^{kind}:\s0+$", status, re.MULTILINE)
