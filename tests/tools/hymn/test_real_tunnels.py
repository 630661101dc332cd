"""Two hosts, each configured, started, asked and stopped by ``chancel hymn`` alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.lab.lab import Host, Lab
from chancel.lab.namespace import LabError

PROGRAM = (sys.executable, "-m", "chancel.cli.main")
LIMIT_S = 60.0

pytestmark = pytest.mark.timeout(600)
"""Many programs start here, one after the other."""

TRIES = 300
NO_LOG = "chancel: nobody listens on /dev/log: lines are lost until somebody does\n"


class End:
    """A host with a directory of configurations."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self.options = ("--config-dir", str(folder / "etc"), "--runtime-dir", str(folder / "run"))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command to its end, whatever comes of it."""
        return self._host.run([*PROGRAM, *words, *self.options], LIMIT_S)

    def __call__(self, *words: str) -> str:
        """A command that succeeds; what it printed."""
        done = self.run(*words)
        assert (done.returncode, done.stderr.replace(NO_LOG, "")) == (0, ""), done
        return done.stdout

    def add(self, name: str, number: int, other: int, label: str) -> None:
        """Write the file of a tunnel to the other host."""
        done = self._host.run(
            [
                *(*PROGRAM, "hymn", "add", name, "tunnel", f"10.77.0.{number}/30", "secret"),
                *(str(Path(self.options[1]).parent.parent / "secret"), "user", "root"),
                *("local", f"192.168.201.{number}:2333", "peer", f"192.168.201.{other}:2333"),
                *("name", label, *self.options),
            ],
            LIMIT_S,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, for sockets."""
    with tempfile.TemporaryDirectory(prefix="chancel-hymn-") as path:
        yield Path(path)


@pytest.fixture
def ends(folder: Path) -> Iterator[tuple[End, End]]:
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_bytes(bytes(range(32)))
    try:
        lab = Lab()
    except LabError as error:
        pytest.skip(str(error))
    with lab:
        hosts = [lab.host(name) for name in ("left", "right")]
        lab.veth(hosts[0], "192.168.201.1/24", hosts[1], "192.168.201.2/24")
        pair = End(hosts[0], folder / "left"), End(hosts[1], folder / "right")
        pair[0].add("1-2", 1, 2, "office")
        pair[1].add("2-1", 2, 1, "home")
        yield pair
        for end in pair:
            end.run("hymn", "down")


def wait_online(end: End) -> None:
    for _ in range(TRIES):
        if "online" in end("hymn", "list"):
            return
    pytest.fail(end("hymn", "status"))


def test_up_asked_and_down(ends: tuple[End, End]) -> None:
    left, right = ends
    assert left("hymn", "up", "office") == "waiting for hymn-01-02 to go up ... done\n"
    right("up", "home")
    wait_online(left)
    assert left("hymn", "up", "1-2") == "tunnel hymn-01-02 is up\n"
    assert left("list") == "hymn-01-02  up  (office)\n"
    told = left("hymn", "status")
    assert "\n  peer\t\t192.168.201.2:2333\n" in told
    assert told.count("seconds)") == 2  # both keys are there
    assert left("hymn", "restart", "office") == (
        "waiting for hymn-01-02 to go down ... done\nwaiting for hymn-01-02 to go up ... done\n"
    )
    assert left("hymn", "down") == "waiting for hymn-01-02 to go down ... done\n"
    assert left("hymn", "down") == "tunnel hymn-01-02 is down\n"
    assert list(Path(left.options[3]).glob("*.pid")) == []
    assert left("hymn", "del", "office") == ""
    assert right("down", "home") == ""


def test_a_file_that_names_no_control_socket_is_asked_all_the_same(
    ends: tuple[End, End],
) -> None:
    """Our own socket tells the same figures."""
    left, right = ends
    path = Path(left.options[1]) / "hymn-01-02.conf"
    kept = [line for line in path.read_text().split("\n") if not line.startswith("control ")]
    path.write_text("\n".join(kept))
    left("hymn", "up")
    right("hymn", "up")
    wait_online(left)
    assert left("hymn", "status", "office").count("seconds)") == 2
