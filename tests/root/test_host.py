"""The daemon as root on the machine itself: each process becomes a user of its own.

``make test-root``. The other end is in a network namespace beside it; users are system accounts
that exist anyway. Addresses are those set aside for benchmarks (RFC 2544).
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon import places
from chancel.daemon.config_types import PROCESSES, Mode
from tests.e2e.ends import END_LIMIT_S, PROGRAM, End, eventually, is_alive
from tests.root.machine import CABLE, Machine, neighbours

pytestmark = pytest.mark.skipif(not places.is_machine_root(), reason="needs root: make test-root")

HERE, THERE = "198.18.77.1", "198.18.77.2"
INNER_HERE, INNER_THERE = "198.19.77.1", "198.19.77.2"
NAME = "chancel-t0"
TCP_BYTES = 5_000_000

DUTIES = PROCESSES[Mode.TUNNEL]


def distinct_users() -> dict[str, str]:
    """A system account for each process."""
    by_uid = {each.pw_uid: each.pw_name for each in pwd.getpwall() if 0 < each.pw_uid < 1000}
    names = sorted(by_uid.values())
    if len(names) < len(DUTIES):
        pytest.skip(f"needs {len(DUTIES)} system accounts: apt-get install base-passwd")
    return dict(zip(DUTIES, names, strict=False))


@pytest.fixture(scope="module")
def ends(folder: Path) -> Iterator[tuple[End, End]]:
    key = secrets.token_bytes(32)
    with neighbours(HERE, THERE, 30) as (machine, neighbour):
        here = End(machine, HERE, folder, key, distinct_users())
        there = End(neighbour, THERE, folder, key, distinct_users())
        for end, own, peer in ((here, INNER_HERE, there), (there, INNER_THERE, here)):
            end.configure(
                NAME, f"tunnel {own}/30 auto", f"local {end.outer}:2300", f"peer {peer.outer}:2300"
            )
            end.start()
        try:
            here.wait_up()
            there.wait_up()
            yield here, there
        finally:
            for end in (here, there):
                if end.program is not None and not end.has_ended():
                    end.stop()


def status_field(pid: int, field: str) -> list[str]:
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{field}:(.*)$", text, re.MULTILINE)
    assert match
    return match[1].split()


def test_traffic_flows(ends: tuple[End, End]) -> None:
    here, there = ends
    assert here.ping(INNER_THERE, 20) == there.ping(INNER_HERE, 20) == 20
    for sender, receiver, address in ((here, there, INNER_THERE), (there, here, INNER_HERE)):
        receiving = receiver.host.start("chancel.lab.bulk:receive", address, 5201, True)
        next(receiving.progress)
        sent = sender.host.call("chancel.lab.bulk:send", address, 5201, None, TCP_BYTES, True)
        assert receiving.result()["sha256"] == sent["sha256"]


def test_each_process_is_the_user_that_its_line_names(ends: tuple[End, End]) -> None:
    for end in ends:
        processes = end.processes()
        assert set(status_field(processes["guardian"], "Uid")) == {"0"}
        for duty, user in end.users.items():
            entry = pwd.getpwnam(user)
            assert set(status_field(processes[duty], "Uid")) == {str(entry.pw_uid)}
            assert set(status_field(processes[duty], "Gid")) == {str(entry.pw_gid)}
            assert status_field(processes[duty], "Groups") == [str(entry.pw_gid)]


def test_processes_are_closed_to_each_other_and_to_the_network(ends: tuple[End, End]) -> None:
    here, _ = ends
    processes = here.processes()
    network = Path("/proc/self/ns/net").stat().st_ino
    for duty in DUTIES:
        process = Path(f"/proc/{processes[duty]}")
        assert (process / "environ").stat().st_uid == 0  # as it may not be traced or dumped
        assert (process / "ns/net").stat().st_ino != network
        assert status_field(processes[duty], "CapEff") == ["0" * 16]


@pytest.mark.parametrize("victim", ["bless", "guardian"])
def test_a_process_that_dies_takes_the_group_along(ends: tuple[End, End], victim: str) -> None:
    """The guardian too, which the kernel asks for CAP_KILL when its death ends other users'."""
    here, there = ends
    processes = here.processes()
    os.kill(processes[victim], signal.SIGKILL)
    assert here.wait_ended() == (1 if victim == "bless" else -signal.SIGKILL)
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )
    assert NAME not in here.devices()
    here.start()
    eventually(lambda: there.ping(INNER_HERE, 3) == 3, 10.0, "traffic goes on")


def test_the_end_leaves_nothing_on_the_machine(ends: tuple[End, End]) -> None:
    here, there = ends
    assert [here.stop(), there.stop()] == [0, 0]
    assert NAME not in here.devices()
    assert CABLE in here.devices()
    assert 2300 not in here.host.call("tests.e2e.inside:udp_ports")
    assert list(here.runtime.iterdir()) == []


@pytest.mark.parametrize("capability", ["setuid", "setgid"])
def test_a_root_who_cannot_become_another_user_says_so(folder: Path, capability: str) -> None:
    """As in a container without the capability; nobody goes on as root instead."""
    home = folder / capability
    home.mkdir()
    end = End(Machine("alone"), "127.0.0.1", home, secrets.token_bytes(32), distinct_users())
    path = end.configure(NAME, f"tunnel {INNER_HERE}/30 auto", "local 127.0.0.1:2399")
    lead = ["setpriv", f"--bounding-set=-{capability}"]
    words = ["run", "--runtime-dir", str(end.runtime), "-c", str(path)]
    program = end.host.popen([*lead, *PROGRAM, *words], stderr=subprocess.PIPE, text=True)
    errors = program.communicate(timeout=60)[1]
    assert program.returncode == 1
    assert errors.startswith("chancel: no process can become the user ")
    assert errors.count("\n") == 1
    assert f"root lacks CAP_{capability.upper()} " in errors
    assert not end.runtime.exists()
