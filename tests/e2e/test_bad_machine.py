"""What machines refuse: one line on standard error that names it, and nothing stays behind."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.lab.lab import Host, Lab
from tests.e2e.ends import PROGRAM, UP_LIMIT_S, End, eventually, is_alive

FAILED, USAGE = 1, 2
TUNNEL = "tunnel 10.77.0.1/30 1400"
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("left")


@pytest.fixture(scope="module")
def end(host: Host, folder: Path) -> End:
    return End(host, "192.168.201.1", folder, bytes(range(32)))


@pytest.fixture(autouse=True)
def clean(end: End) -> Iterator[None]:
    """Nothing stays behind, whatever was refused: no device, socket, file or process."""
    yield
    for path in end.home.glob("*.conf"):
        path.unlink()
    assert end.devices() == {"lo"}
    assert end.host.call("tests.e2e.inside:udp_ports") == []
    assert not end.runtime.exists() or not list(end.runtime.iterdir())
    assert not list(end.home.glob("*.pid"))
    assert not list(end.home.glob("*.sock"))
    assert programs(end) == []


def programs(end: End) -> list[int]:
    """Processes that were started with a file of this end."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(bytes(end.home)) for word in words):
                found.append(int(entry.name))
    return found


Complain = Callable[..., str]


@pytest.fixture
def complain(end: End, host: Host) -> Complain:
    """Run ``chancel run`` on a file, behind ``before``, on a machine that ``spoil`` was done to;
    the one line that it complains."""

    def complain(path: Path, spoil: str = "", *before: str, status: int = FAILED) -> str:
        program = [*before, *PROGRAM, "run", "--runtime-dir", str(end.runtime), "-c", str(path)]
        script = f"set -e; {spoil}\nexec {shlex.join(program)}"
        done = host.run(["unshare", "--mount", "sh", "-c", script], LIMIT_S)
        assert done.returncode == status, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("chancel: ")
        return line.removeprefix("chancel: ")

    return complain


def without(*capabilities: str) -> list[str]:
    """The lead of a program that lacks them, as in a container."""
    return ["setpriv", f"--bounding-set={','.join('-' + name for name in capabilities)}"]


def small_disk(directory: Path, options: str) -> str:
    """Mount one there."""
    where = shlex.quote(str(directory))
    return f"mkdir -p {where}; mount -t tmpfs -o mode=700,{options} none {where}"


def test_a_runtime_directory_without_room(end: End, complain: Complain) -> None:
    disk = small_disk(end.runtime, "nr_inodes=1")
    line = complain(end.configure("t0", TUNNEL), disk)
    assert f"control socket {end.runtime}/t0." in line
    assert line.endswith("can't be made: No space left on device")
    end.runtime.rmdir()


def test_of_a_runtime_directory_that_is_new_nothing_stays(end: End, complain: Complain) -> None:
    if end.runtime.exists():
        end.runtime.rmdir()
    path = end.configure("t0", TUNNEL, f"pidfile {end.home}/missing/t0.pid")
    complain(path)
    assert not end.runtime.exists()


def test_files_that_may_not_be_large(end: End, complain: Complain) -> None:
    line = complain(end.configure("t0", TUNNEL), "ulimit -f 0")
    assert line == "File too large (see: ulimit -f)"


def test_a_disk_without_room_for_the_pid(end: End, complain: Complain) -> None:
    small = end.home / "small"
    path = end.configure("t0", TUNNEL, f"pidfile {small}/t0.pid")
    fill = f"head -c 4096 /dev/zero >{small}/file"
    line = complain(path, f"{small_disk(small, 'size=4k')}; {fill}")
    assert line == f"{path}: pidfile {small}/t0.pid can't be written: No space left on device"
    small.rmdir()


def test_a_log_without_room_is_no_reason_to_end(end: End) -> None:
    end.configure("t0", TUNNEL)
    end.log.unlink(missing_ok=True)
    end.log.symlink_to("/dev/full")
    end.start()
    try:
        eventually(lambda: "t0" in end.tunnels(), UP_LIMIT_S, "the tunnel is there")
        assert end.stop() == 0
    finally:
        end.log.unlink()


READ_ONLY = """
mkdir -p {0}; mount --bind {0} {0}; mount -o remount,bind,ro {0}
"""


def test_a_runtime_directory_that_is_not_ours_to_write(end: End, complain: Complain) -> None:
    path = end.configure("t0", TUNNEL)
    if end.runtime.exists():
        end.runtime.rmdir()
    line = complain(path, READ_ONLY.format(shlex.quote(str(end.home))), status=USAGE)
    assert line == f"{end.runtime}: Read-only file system (expected a directory of your own)"


@pytest.mark.parametrize(
    ("directive", "problem"),
    [
        ("pidfile {0}/t0.pid", "pidfile {0}/t0.pid can't be written: {1}"),
        ("control {0}/t0.sock root", "control socket {0}/t0.sock can't be made: {1}"),
    ],
    ids=["pidfile", "control"],
)
def test_files_in_places_that_take_none(
    end: End, complain: Complain, directive: str, problem: str
) -> None:
    missing, sealed = end.home / "missing", end.home / "sealed"
    path = end.configure("t0", TUNNEL, directive.format(missing))
    assert complain(path) == f"{path}: {problem.format(missing, 'No such file or directory')}"
    path = end.configure("t0", TUNNEL, directive.format(sealed))
    line = complain(path, READ_ONLY.format(sealed))
    assert line == f"{path}: {problem.format(sealed, 'Read-only file system')}"
    sealed.rmdir()


def test_files_that_may_not_be_read(end: End, complain: Complain) -> None:
    path = end.configure("t0", TUNNEL)
    path.chmod(0)
    line = complain(path, "", *without("dac_override", "dac_read_search"), status=USAGE)
    assert f"path '{path}' is not readable" in line
    path.chmod(0o600)
    end.secret.chmod(0)
    try:
        line = complain(path, status=USAGE)
    finally:
        end.secret.chmod(0o600)
    assert line.startswith(f"{path}:2: secret: '{end.secret}' can't be read by its own owner")


@pytest.fixture
def dummy(host: Host) -> Iterator[str]:
    """Another interface of the host, up, with 10.77.0.1 and a route to 10.78.0.0/24."""
    host.call("tests.e2e.inside:add_interface", "dummy0", "10.77.0.1/24", "10.78.0.0/24")
    yield "dummy0"
    host.call("tests.e2e.inside:delete_interface", "dummy0")


def test_addresses_and_routes_that_exist(end: End, complain: Complain, dummy: str) -> None:
    path = end.configure("t0", TUNNEL)
    line = complain(path)
    assert line == f"{path}: address 10.77.0.1 is already on {dummy} (expected one of its own)"
    path = end.configure("t0", "tunnel 10.79.0.1/30 1400", "route 10.78.0.0/24")
    line = complain(path)
    assert line == (f"{path}: route 10.78.0.0/24 already exists (see: ip route show 10.78.0.0/24)")


def test_an_address_may_be_shared_when_it_has_no_network(end: End, dummy: str) -> None:
    end.configure("t0", "tunnel 10.77.0.1/32 1400")
    end.start()
    eventually(lambda: "t0" in end.tunnels(), UP_LIMIT_S, "the tunnel is there")
    assert end.stop() == 0


NO_DEVICE = "mount -t tmpfs none /dev/net"


@pytest.mark.parametrize("spoil", ["", NO_DEVICE], ids=["as it is", "no /dev/net/tun"])
def test_no_device_to_be_had(end: End, complain: Complain, spoil: str) -> None:
    path = end.configure("t0", TUNNEL)
    line = complain(path, spoil, *without("net_admin"))
    assert line.startswith(f"{path}: network device t0 can't be made: ")
    assert "Operation not permitted" in line
    assert "(run as root" in line
    assert "chancel exec" in line
    assert "chmod" not in line  # whoever could open it could still make no device


def test_no_namespaces_to_be_had(lab: Lab) -> None:
    """``chancel lab`` where the limits of a container, or of a distribution, are zero."""
    for limit in ("user", "net"):
        script = f"echo 0 >/proc/sys/user/max_{limit}_namespaces; exec {shlex.join(PROGRAM)} lab"
        nested = ["unshare", "--user", "--map-root-user", "--", *without("sys_admin")]
        lead = nested if limit == "user" else nested[:4]
        done = subprocess.run(
            [*lead, "sh", "-c", script], capture_output=True, text=True, check=False
        )
        assert done.returncode == FAILED
        (line,) = done.stderr.splitlines()
        assert line.startswith("chancel: ")
        assert f"user.max_{limit}_namespaces" in line


def test_a_device_that_vanishes_ends_the_group_by_name(end: End, host: Host) -> None:
    """Whoever starts it again (systemd does) has the tunnel back; all others would miss it."""
    end.configure("t0", TUNNEL)
    end.configure("t1", "tunnel 10.77.1.1/30 1400")
    end.start()
    eventually(lambda: set(end.tunnels()) == {"t0", "t1"}, UP_LIMIT_S, "the tunnels are there")
    host.call("tests.e2e.inside:delete_interface", "t0")
    assert end.wait_ended() == FAILED
    (reason,) = end.logged("network device t0 is gone: ")
    assert "[heaven-rx]" in reason
    assert not end.logged("Traceback")
    assert end.logged("[guardian]: heaven-rx exited (status 1)")
