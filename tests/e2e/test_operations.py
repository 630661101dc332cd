"""docs/operations.md as a new user follows it: a TAP bridge from the page's own file, in the
background, through a power cut."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.ends import END_LIMIT_S, PING, PROGRAM, USER, End, Pair, eventually, is_alive

PAGE = Path(__file__).parents[2] / "docs/operations.md"
LIMIT_S = 60.0
LEFT, RIGHT = "192.168.50.1", "192.168.50.2"


def page_file(instance: str) -> str:
    """The configuration of that instance, as the page has it."""
    text = re.search(rf"^```conf\n(instance {instance}\n.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert text, f"{PAGE.name} has no file for {instance}"
    return text[1]


def write(end: End, peer: End, text: str) -> Path:
    """The page's file with this machine's own addresses, files and users in it."""
    for old, new in (
        ("0.0.0.0", end.outer),
        ("198.51.100.2", peer.outer),
        ("/etc/hymn/lan.key", str(end.secret)),
        ("/run/hymn", str(end.home)),
        ("as chancel", f"as {USER}"),
    ):
        assert old in text, f"the page has no {old!r} any more"
        text = text.replace(old, new)
    path = end.home / "lan.conf"
    path.write_text(text)
    return path


def start(end: End) -> dict[str, int]:
    """``chancel run -d``; the processes that were there when it returned."""
    options = ["run", "-d", "--runtime-dir", str(end.runtime), "-c", str(end.home / "lan.conf")]
    done = end.host.run([*PROGRAM, *options], LIMIT_S)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr
    processes = end.processes()
    assert (end.home / "lan.pid").read_text() == str(processes["guardian"])
    return processes


def wait_dead(processes: dict[str, int]) -> None:
    eventually(
        lambda: not any(map(is_alive, processes.values())), END_LIMIT_S, "all processes are gone"
    )


def crosses(end: End, address: str) -> bool:
    return int(end.host.call(PING, address, 3, 0.02, 56, True, 1.0)["received"]) == 3


@pytest.fixture
def sites(pair: Pair) -> Pair:
    text = page_file("lan")
    write(pair.left, pair.right, text)
    write(pair.right, pair.left, text)
    return pair


def test_a_bridge_in_the_background_through_a_power_cut(sites: Pair) -> None:
    left, right = sites.ends
    running = {end.host.name: start(end) for end in sites.ends}
    for end, address in ((left, LEFT), (right, RIGHT)):
        assert end.devices() == {"lo", "eth0", "lan", "br0"}
        end.host.call("tests.e2e.inside:add_address", "br0", f"{address}/24")
    eventually(lambda: crosses(left, RIGHT), LIMIT_S, "the sites are neighbours")

    for processes in running.values():
        for pid in processes.values():
            with contextlib.suppress(ProcessLookupError):  # it followed the others
                os.kill(pid, signal.SIGKILL)
    for end in sites.ends:
        wait_dead(running[end.host.name])
        eventually(lambda: end.devices() == {"lo", "eth0", "br0"}, END_LIMIT_S, "lan is gone")  # noqa: B023
        assert (end.home / "lan.pid").exists()
        assert (end.runtime / "lan.ctl").exists()

    running = {end.host.name: start(end) for end in sites.ends}
    eventually(lambda: crosses(right, LEFT), LIMIT_S, "the sites are neighbours again")

    for end in sites.ends:
        os.kill(int((end.home / "lan.pid").read_text()), signal.SIGTERM)
        wait_dead(running[end.host.name])
        assert end.devices() == {"lo", "eth0", "br0"}
        assert not (end.home / "lan.pid").exists()
        assert list(end.runtime.iterdir()) == []
