"""The guardian with idle duties and the real control, on devices and sockets of the real kernel."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import config, guardian, netconf
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.duties import control
from chancel.daemon.group import GroupBroken
from chancel.daemon.linux import MachineError
from chancel.daemon.process import Process
from chancel.daemon.records import HeavenRxRecord
from chancel.daemon.settings import TunnelSettings
from chancel.errors import ConfigError, LinkClosed, LocalProtocolError
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S, Running, alive, eventually, print_to, text


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
        self.process.board.write(tunnel, HeavenRxRecord(mtu=int(settings.spi_prefix)))
        self.process.ring()


MAKERS: dict[str, Any] = dict.fromkeys(PROCESSES[Mode.TUNNEL], Idle) | {"control": control.make}


def test_a_group_starts_and_stops_clean(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(
            tmp, text(tmp, 1, f"pidfile {tmp}/pid"), text(tmp, 2, "offload off"), makers=MAKERS
        )
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


@pytest.mark.parametrize(
    ("mode", "duty"), [(mode, duty) for mode in PROCESSES for duty in PROCESSES[mode]]
)
def test_all_end_loudly_when_one_dies(
    in_network: InNetwork, tmp: Path, mode: Mode, duty: str
) -> None:
    def test() -> None:
        makers = dict.fromkeys(PROCESSES[mode], Idle) | {"control": control.make}
        running = Running(tmp, text(tmp, 1, f"mode {mode}", "peer 127.0.0.1:9"), makers=makers)
        os.kill(running.processes[duty], signal.SIGKILL)
        assert running.wait() == 1
        assert f"[guardian]: {duty} exited (signal 9)\n" in running.log()
        assert not netconf.exists("dm1")
        assert not (tmp / "dm1.ctl").exists()

    in_network(test)


def test_nobody_outlives_the_guardian(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
        eventually(lambda: not any(map(alive, running.processes.values())))
        eventually(lambda: not netconf.exists("dm1"))
        again = Running(tmp, text(tmp, 1), makers=MAKERS)  # takes the dead group's socket over
        assert again.stop() == 0

    in_network(test)


def test_children_have_only_their_own_descriptors_and_no_rights(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
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
                Path(f"/proc/{pid}/ns/net").readlink()
        assert running.stop() == 0

    in_network(test)


class Witness(Idle):
    """Tells what it holds, and what of the network it sees, by ending with a sentence.

    At once: behind its filter it could ask for neither.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        kinds = Counter(stat.S_IFMT(mode) for fd in range(3, 1024) if (mode := mode_of(fd)))
        raise LookupError(
            f"{kinds[stat.S_IFSOCK]} sockets, {kinds[stat.S_IFREG]} files,"
            f" {kinds[0]} others, {len(socket.if_nameindex())} interface"
        )


def mode_of(fd: int) -> int | None:
    try:
        return os.fstat(fd).st_mode
    except OSError:
        return None


def test_bless_holds_its_ends_and_an_empty_network(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        output = tmp / "output"
        print_to(output)
        parsed = [config.parse(text(tmp, 1), "1.conf")]
        with pytest.raises(GroupBroken, match=r"^bless exited \(status 1\)$"):
            guardian.serve(parsed, tmp, MAKERS | {"bless": Witness})
        # Sockets: two lanes, the keys, the guardian. Memories are mapped, and their descriptors
        # closed, so the one file is its own times. Others: epoll, its own bell and heaven-rx's.
        expected = "LookupError: 4 sockets, 1 files, 3 others, 1 interface"
        assert expected in output.read_text()

    in_network(test)


def test_tunnels_join_and_leave(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
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
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        with pytest.raises(LocalProtocolError, match=r"added\.conf:1: instance: .*taken"):
            running.add(text(tmp, 1).replace("7001", "7009").replace("77.1", "77.9"))
        with pytest.raises(LocalProtocolError, match=r"added\.conf:1: unknown directive"):
            running.add("nonsense 1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 7002))
            with pytest.raises(LocalProtocolError, match=r"local 127\.0\.0\.1:7002 is in use"):
                running.add(text(tmp, 2))
        with pytest.raises(LocalProtocolError, match=r"route 10\.77\.1\.0/30 already exists"):
            running.add(text(tmp, 2, "route 10.77.1.0/30"))
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
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        with pytest.raises(MachineError, match="dm1 is already running"):
            guardian.serve([config.parse(text(tmp, 1), "1.conf")], tmp, MAKERS)
        assert running.instances() == ["dm1"]
        assert running.stop() == 0

    in_network(test)


def test_the_device_follows_the_mtu_that_was_found(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        small, large = text(tmp, 1, f"spi {1200:x}"), text(tmp, 2, f"spi {9000:x}")
        running = Running(tmp, small, large, makers=MAKERS | {"heaven-rx": Prober})
        eventually(lambda: "MTU has been set to 1200 tunnel=dm1" in running.log())
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
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
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
            flood.sendall(b"x" * 10_000_000)
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
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
        streams = [socket.socket(socket.AF_UNIX) for _ in range(16)]
        for stream in streams:
            stream.connect(str(tmp / "dm1.ctl"))
        with pytest.raises(LinkClosed):
            running.instances()
        for stream in streams:
            stream.close()
        eventually(lambda: not refused(running.instances))
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
        running = Running(tmp, text(tmp, 1), makers=MAKERS)
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
        running = Running(
            tmp, text(tmp, 1, f"control {path} root", "peer 192.0.2.7:2333"), makers=MAKERS
        )
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
        with pytest.raises(GroupBroken, match=r"^chapel exited \(status 1\)$"):
            guardian.serve(parsed, tmp, MAKERS | {"chapel": broken})

    in_network(test)


def test_users_that_cannot_be_had_are_told_once(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        lines = [f"run {duty} as daemon" for duty in PROCESSES[Mode.TUNNEL]]
        running = Running(tmp, text(tmp, 1, *lines), makers=MAKERS)
        assert running.log().count("users of the run lines can't be had here") == 1
        assert running.stop() == 0

    in_network(test)
