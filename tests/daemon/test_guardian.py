"""The guardian with idle duties and the real control, on devices and sockets of the real kernel."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import config, ctl, guardian, netconf
from chancel.daemon.duties import control
from chancel.daemon.linux import MachineError
from chancel.daemon.process import Process
from chancel.daemon.records import HeavenRxRecord
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.topology import DUTIES
from chancel.errors import ConfigError, LinkClosed, LocalProtocolError

InNetwork = Callable[[Callable[[], None]], None]

LIMIT_S = 10.0


class Idle:
    """A duty that holds its descriptors and does nothing."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.fds: dict[int, list[int]] = {}

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        self.fds[tunnel] = fds

    def remove(self, tunnel: int) -> None:
        for fd in self.fds.pop(tunnel):
            os.close(fd)

    def wake_at(self) -> float | None:
        return None

    def wake(self, now: float) -> None:
        raise AssertionError("nothing was to be woken for")


class Prober(Idle):
    """Stands for heaven-rx: what is written to the device is the MTU it claims to have found."""

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        super().add(tunnel, settings, fds)
        assert self.process.board is not None
        self.process.board.write(tunnel, HeavenRxRecord(mtu=int(settings.spi_prefix)), {})
        self.process.ring()


MAKERS: dict[str, Any] = dict.fromkeys(DUTIES, Idle) | {"control": control.make}


def text(tmp: Path, number: int, *lines: str) -> str:
    secret = tmp / "secret"
    if not secret.exists():
        secret.write_bytes(os.urandom(32))
        secret.chmod(0o400)
    return "\n".join(
        [
            f"instance dm{number}",
            f"secret {secret}",
            f"tunnel 10.77.{number}.1/30 1400",
            f"local 127.0.0.1:{7000 + number}",
            *lines,
        ]
    )


class Running:
    """A group in a process of its own, as ``chancel run`` is one."""

    def __init__(self, tmp: Path, *texts: str, makers: dict[str, Any] = MAKERS) -> None:
        self.dir = tmp
        self.output = tmp / "output"
        configs = [config.parse(each, f"{n}.conf") for n, each in enumerate(texts)]
        self.pid = os.fork()
        if self.pid == 0:
            self._be_guardian(configs, makers)
        deadline = time.monotonic() + LIMIT_S
        while "chancel started" not in self.log():
            assert time.monotonic() < deadline, self.log()
            assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.log()
            time.sleep(0.01)
        self.processes: dict[str, int] = self.ask({"do": "status"})["group"]["processes"]

    def _be_guardian(self, configs: list[config.TunnelConfig], makers: dict[str, Any]) -> None:
        status = 77
        try:
            fd = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(fd, 1)
            status = guardian.serve(configs, self.dir, makers)
        except BaseException as error:
            os.write(1, f"{error!r}\n".encode())
        finally:
            os._exit(status)

    def log(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def ask(self, request: dict[str, Any], *fds: int) -> dict[str, Any]:
        socket_path = next(iter(sorted(self.dir.glob("*.ctl"))))
        return ctl.ask(socket_path, request, fds)

    def instances(self) -> list[str]:
        return [tunnel["instance"] for tunnel in self.ask({"do": "status"})["tunnels"]]

    def add(self, content: str) -> dict[str, Any]:
        path = self.dir / "added.conf"
        path.write_text(content)
        with path.open("rb") as file:
            return self.ask({"do": "add", "name": "added.conf"}, file.fileno())

    def wait(self) -> int:
        """The guardian's exit status; all its children are gone by then."""
        _pid, status = os.waitpid(self.pid, 0)
        assert not any(alive(pid) for pid in self.processes.values()), self.log()
        return os.waitstatus_to_exitcode(status)

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextmanager
def eventually() -> Iterator[Callable[[Callable[[], bool]], None]]:
    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    yield wait


@pytest.fixture
def tmp(tmp_path: Path) -> Iterator[Path]:
    """Short enough for a socket's name."""
    path = Path(f"/tmp/chancel-test-{os.getpid()}")
    path.symlink_to(tmp_path)
    yield path
    path.unlink()


def test_a_group_starts_and_stops_clean(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1, f"pidfile {tmp}/pid"), text(tmp, 2, "offload off"))
        assert (tmp / "pid").read_text() == str(running.pid)
        assert netconf.exists("dm1")
        assert netconf.exists("dm2")
        assert running.instances() == ["dm1", "dm2"]
        assert (tmp / "dm1.ctl").stat().st_mode & 0o777 == 0o600
        assert running.stop() == 0
        assert not netconf.exists("dm1")
        assert not netconf.exists("dm2")
        assert {path.name for path in tmp.iterdir()} == {"secret", "output"}
        assert "started heaven-rx (pid=" in running.log()
        assert " UTC [guardian]: chancel started (pid=" in running.log()

    in_network(test)


@pytest.mark.parametrize("duty", DUTIES)
def test_all_end_loudly_when_one_dies(in_network: InNetwork, tmp: Path, duty: str) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        os.kill(running.processes[duty], signal.SIGKILL)
        assert running.wait() == 1
        assert f"[guardian]: {duty} exited (signal 9)\n" in running.log()
        assert not netconf.exists("dm1")
        assert not (tmp / "dm1.ctl").exists()

    in_network(test)


def test_nobody_outlives_the_guardian(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
        with eventually() as wait:
            wait(lambda: not any(map(alive, running.processes.values())))
            wait(lambda: not netconf.exists("dm1"))
        again = Running(tmp, text(tmp, 1))  # takes the dead group's socket over
        assert again.stop() == 0

    in_network(test)


def test_children_have_only_their_own_descriptors_and_no_rights(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        for duty, pid in running.processes.items():
            fields = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert fields["Name"] == duty
            assert fields["NoNewPrivs"] == "1"
            assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
            with pytest.raises(PermissionError):  # not dumpable
                os.readlink(f"/proc/{pid}/ns/net")
        assert running.stop() == 0

    in_network(test)


class Witness(Idle):
    """Tells what it holds by ending with a sentence."""

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        held = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
        kinds = sorted(
            target.split(":")[0].removesuffix(" (deleted)").removeprefix("/memfd")
            if "memfd" not in target
            else target.removesuffix(" (deleted)")
            for fd, target in held.items()
            if int(fd) > 2 and not target.endswith("/fd")
        )
        raise LookupError(json.dumps([kinds, os.readlink("/proc/self/ns/net")]))


def test_bless_holds_its_ends_and_an_empty_network(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        output = tmp / "output"
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 1)
            parsed = [config.parse(text(tmp, 1), "1.conf")]
            os._exit(guardian.serve(parsed, tmp, MAKERS | {"bless": Witness}))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        log = output.read_text()
        assert "bless exited (status 1)" in log
        kinds, network = json.loads(log.partition("LookupError: ")[2].splitlines()[0])
        memories = {"/memfd:lane-bless", "/memfd:lane-purgatory", "/memfd:board-bless"}
        assert {kind for kind in kinds if "memfd" in kind} == memories
        assert kinds.count("socket") == 4  # two lanes, the keys, the guardian
        assert kinds.count("anon_inode") == 3  # epoll, its own bell and heaven-rx's
        assert network != os.readlink("/proc/self/ns/net")

    in_network(test)


def test_tunnels_join_and_leave(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        assert running.add(text(tmp, 2)) == {"ok": True}
        assert running.instances() == ["dm1", "dm2"]
        assert netconf.exists("dm2")
        assert running.ask({"do": "remove", "instance": "dm2"}) == {"ok": True}
        assert running.instances() == ["dm1"]
        assert not netconf.exists("dm2")
        assert not (tmp / "dm2.ctl").exists()
        assert running.add(text(tmp, 2)) == {"ok": True}
        assert running.ask({"do": "remove", "instance": "dm1"}) == {"ok": True}
        assert running.instances() == ["dm2"]
        assert running.stop() == 0

    in_network(test)


def test_what_cannot_join_leaves_nothing(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        with pytest.raises(LocalProtocolError, match="added.conf:1: instance: .*taken"):
            running.add(text(tmp, 1).replace("7001", "7009").replace("77.1", "77.9"))
        with pytest.raises(LocalProtocolError, match="added.conf:1: unknown directive"):
            running.add("nonsense 1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 7002))
            with pytest.raises(LocalProtocolError, match=r"local 127\.0\.0\.1:7002 is in use"):
                running.add(text(tmp, 2))
        with pytest.raises(LocalProtocolError, match=r"route 10\.77\.1\.0/30 already exists"):
            running.add(text(tmp, 2, "route 10.77.8.0/30", "route 10.77.8.0/30").replace("8", "1"))
        assert not (tmp / "dm2.ctl").exists()
        assert not netconf.exists("dm2")
        with pytest.raises(LocalProtocolError, match="no tunnel called 'dm7'"):
            running.ask({"do": "remove", "instance": "dm7"})
        with pytest.raises(LocalProtocolError, match="last tunnel"):
            running.ask({"do": "remove", "instance": "dm1"})
        with pytest.raises(LocalProtocolError, match="expected status, watch"):
            running.ask({"do": "add", "name": "without a descriptor"})
        assert running.stop() == 0

    in_network(test)


def test_a_start_that_fails_leaves_nothing(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        configs = [config.parse(text(tmp, n), f"{n}.conf") for n in (1, 2)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 7002))
            with pytest.raises(MachineError, match=r"2\.conf: local 127\.0\.0\.1:7002 is in use"):
                guardian.serve(configs, tmp, MAKERS)
        assert not netconf.exists("dm1")
        assert {path.name for path in tmp.iterdir()} == {"secret"}
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    in_network(test)


def test_a_second_group_with_the_same_name_is_refused(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        with pytest.raises(MachineError, match="dm1 is already running"):
            guardian.serve([config.parse(text(tmp, 1), "1.conf")], tmp, MAKERS)
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


def test_the_device_follows_the_mtu_that_was_found(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        small, large = text(tmp, 1, f"spi {1200:x}"), text(tmp, 2, f"spi {9000:x}")
        running = Running(tmp, small, large, makers=MAKERS | {"heaven-rx": Prober})
        with eventually() as wait:
            wait(lambda: "MTU has been set to 1200 tunnel=dm1" in running.log())
        with netconf.netlink() as ip:
            found = [
                ip.link("get", index=socket.if_nametoindex(name))[0].get_attr("IFLA_MTU")
                for name in ("dm1", "dm2")
            ]
        assert found == [1200, 1400]  # never above what the file says
        assert running.stop() == 0

    in_network(test)


def test_silent_and_slow_clients_hold_nobody_up(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        path = str(tmp / "dm1.ctl")
        silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for stream in silent:
            stream.connect(path)
            stream.send(b'{"do"')
        assert running.instances() == ["dm1"]
        flood = socket.socket(socket.AF_UNIX)
        flood.settimeout(LIMIT_S)
        flood.connect(path)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                flood.sendall(b"x" * 4096)
        talkative = socket.socket(socket.AF_UNIX)
        talkative.settimeout(LIMIT_S)
        talkative.connect(path)
        talkative.sendall(b"[]\n")
        assert json.loads(talkative.recv(1000))["error"].startswith("expected one JSON object")
        talkative.sendall(b"{}\n{}\n")
        assert talkative.recv(1000) == b""
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


def test_too_many_clients_are_refused(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        streams = [socket.socket(socket.AF_UNIX) for _ in range(16)]
        for stream in streams:
            stream.connect(str(tmp / "dm1.ctl"))
        with pytest.raises(LinkClosed):
            running.instances()
        for stream in streams:
            stream.close()
        with eventually() as wait:
            wait(lambda: not refused(running.instances))
        assert "control client refused" in running.log()
        assert running.stop() == 0

    in_network(test)


def refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except LinkClosed:
        return True
    return False


def test_watching(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1))
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(str(tmp / "dm1.ctl"))
        stream.settimeout(LIMIT_S)
        stream.send(b'{"do": "watch", "interval_s": 0.5}\n')
        with stream.makefile("rb") as lines:
            for _ in range(3):
                assert json.loads(lines.readline())["tunnels"][0]["instance"] == "dm1"
        stream.close()
        assert running.stop() == 0

    in_network(test)


def test_the_tools_of_the_reference_get_88_bytes(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        path = f"{tmp}/ref.sock"
        running = Running(tmp, text(tmp, 1, f"control {path} root", "peer 192.0.2.7:2333"))
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        client.bind(f"{tmp}/client.sock")
        for harmless in (b"", b"\x02"):
            client.sendto(harmless, path)
        client.sendto(b"\x01and more", path)
        assert select.select([client], [], [], LIMIT_S)[0]
        status = client.recv(1000)
        assert len(status) == 88
        assert status[80:86] == socket.inet_aton("192.0.2.7") + struct.pack("!H", 2333)
        assert struct.unpack("=H", status[86:]) == (1400,)
        assert not select.select([client], [], [], 0.1)[0]
        client.close()
        assert running.stop() == 0
        assert not Path(path).exists()

    in_network(test)


def test_a_duty_that_fails_at_start_is_named(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        def broken(process: Process) -> Idle:
            raise ConfigError("x", None, None, "no such thing")

        parsed = [config.parse(text(tmp, 1), "1.conf")]
        saved = os.dup(1)
        os.dup2(os.open(tmp / "output", os.O_WRONLY | os.O_CREAT), 1)
        assert guardian.serve(parsed, tmp, MAKERS | {"chapel": broken}) == 1
        os.dup2(saved, 1)
        assert "[guardian]: chapel exited (status 1)" in (tmp / "output").read_text()
        assert resource.getrlimit(resource.RLIMIT_CORE) is not None

    in_network(test)
