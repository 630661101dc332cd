"""``docs/processes.md``, process by process, on a group that runs: what /proc shows of each."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon import landlock, places
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN, TIMES, WIRED_FROM, End
from tests.docs.processes import PAGE
from tests.e2e.ends import END_LIMIT_S, Pair, eventually

DUTIES = PROCESSES[Mode.TUNNEL]
TUNNELS = 2
FOR_EACH_TUNNEL = {
    "none": 0,
    "device": 1,
    "UDP socket": 1,
    "`NAME.ctl`, the `control` socket": 1,
    "`NAME.peers`": 0,
}
"""Descriptors; the files here have no ``control`` line, and addresses for their peers."""

CAPABILITIES = 1 << 0 | 1 << 5 | 1 << 10 | 1 << 12
"""CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE, CAP_NET_ADMIN."""
FOR_VETH_PAIRS = 1 << 13 | 1 << 21
"""CAP_NET_RAW, CAP_SYS_ADMIN."""


@pytest.fixture(scope="module")
def running(pair: Pair) -> Iterator[Pair]:
    for number in range(TUNNELS):
        pair.configure(number, "1400")
    pair.start()
    yield pair
    assert pair.stop() == [0, 0]


@pytest.fixture(scope="module")
def pids(running: Pair) -> dict[str, int]:
    return running.left.processes()


def documented(duty: str) -> list[str]:
    """A process's row in the table of the page."""
    table = PAGE.read_text().partition("<!-- begin processes-tunnel -->")[2].partition("<!--")[0]
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {duty} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def descriptors(pid: int) -> dict[int, str]:
    found = {}
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(each.name)] = str(each.readlink())
    return found


def memories(pid: int) -> set[tuple[str, str]]:
    """Shared mappings: their rights, and the memory object."""
    found = re.findall(
        r"^\S+ (...s) .*?/memfd:(\S+)", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE
    )
    return set(found)


@pytest.mark.parametrize("duty", DUTIES)
def test_descriptors(pids: dict[str, int], duty: str) -> None:
    _, wired, passed, *_ = documented(duty)
    held = descriptors(pids[duty])
    assert held.pop(0) == "/dev/null"
    del held[1], held[2]
    lanes = re.search(r"lanes ([^;]+)", wired)
    links = re.search(r"key links ([^;]+)", wired)
    sockets = 1 + sum(len(found[1].split(", ")) for found in (lanes, links) if found)
    bells = sum(word.startswith("bell") for word in wired.split("; "))
    times = [held.pop(TIMES)] if TIMES in held else []
    assert times == [f"/proc/{pids[duty]}/schedstat"] * wired.endswith(End.TIMES.value)
    high = Counter(held[fd].partition(":")[0] for fd in held if fd >= WIRED_FROM)
    assert high == {"socket": sockets, "anon_inode": bells}
    assert list(held.values()).count("anon_inode:[eventpoll]") == 1
    low = 1 + TUNNELS * FOR_EACH_TUNNEL[passed] + (duty == "control")  # the metrics' socket
    eventually(  # clients of control may still be on their way out
        lambda: sum(2 < fd < WIRED_FROM for fd in descriptors(pids[duty])) == low,
        END_LIMIT_S,
        f"{duty} holds {low} descriptors besides its wiring",
    )


@pytest.mark.parametrize("duty", DUTIES)
def test_mappings(pids: dict[str, int], duty: str) -> None:
    *_, written, read = documented(duty)
    assert memories(pids[duty]) == {("rw-s", name) for name in names(written)} | {
        ("r--s", name) for name in names(read)
    }
    assert not any("memfd:" in target for target in descriptors(pids[duty]).values())


def test_the_guardian_maps_two_boards(pids: dict[str, int]) -> None:
    assert memories(pids[GUARDIAN]) == {("r--s", "board-heaven-rx"), ("r--s", "board-keeper")}


@pytest.mark.parametrize("duty", DUTIES)
def test_what_was_given_up(pids: dict[str, int], duty: str) -> None:
    fields = status(pids[duty])
    assert fields["Name"] == duty
    assert fields["Seccomp"] == "2"
    assert fields["NoNewPrivs"] == "1"
    assert fields["Threads"] == "1"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(fields[kind], 16) == 0
    assert len(set(fields["Uid"].split())) == 1
    network = Path(f"/proc/{pids[duty]}/ns/net").stat().st_ino
    assert network != Path(f"/proc/{pids[GUARDIAN]}/ns/net").stat().st_ino
    if places.is_machine_root():
        assert Path(f"/proc/{pids[duty]}/environ").stat().st_uid == 0  # not dumpable


def test_each_has_a_network_of_its_own(pids: dict[str, int]) -> None:
    networks = {Path(f"/proc/{pids[duty]}/ns/net").stat().st_ino for duty in DUTIES}
    assert len(networks) == len(DUTIES)


def test_what_the_guardian_keeps(pids: dict[str, int]) -> None:
    fields = status(pids[GUARDIAN])
    assert fields["Seccomp"] == "2"
    assert fields["NoNewPrivs"] == "1"
    kept = int(fields["CapEff"], 16)
    assert kept == int(fields["CapPrm"], 16)
    assert kept in (CAPABILITIES, CAPABILITIES | FOR_VETH_PAIRS)
    limits = Path(f"/proc/{pids[GUARDIAN]}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_status_tells(running: Pair) -> None:
    group = running.left.ask({"do": "status"})["group"]
    assert (group["sandbox"], group["landlock"]) == ("on", landlock.abi())
