"""``chancel exec``: a command has the tunnel or nothing, as an ordinary user on a busy machine.

The left host has a name service cache and a bus, as a machine with a desktop has; its user has no
right at all. The right host is the tunnel's other end, and would answer outside of it too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon.config_types import PROCESSES, Mode
from chancel.daemon.topology import GUARDIAN
from chancel.lab.lab import Host, Task
from tests.e2e.command import PORT
from tests.e2e.ends import PROGRAM, UP_LIMIT_S, End, Pair, eventually, is_alive
from tests.e2e.machine import NAME_SERVER, UID

NAME = "t0"
INNER = "10.77.0.2"
COMMAND = (sys.executable, "-m", "tests.e2e.command")
PACKAGES = {"nscd": "nscd", "dbus-daemon": "dbus-daemon"}
ICMP, UDP = socket.IPPROTO_ICMP, socket.IPPROTO_UDP
UNREACHABLE = 0x0303
"""Type and code of what the kernel answers to datagrams of the peer before our socket exists."""

TUNNEL_PORT = 2300


class Ordinary:
    """The user of the left host. Looks like a host to an :class:`End`."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.name = host.name
        self.start, self.call = host.start, host.call
        self._host = host
        self.holder = host.popen(
            [sys.executable, "-m", "tests.e2e.machine", "hold", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        self._pid = self.holder.stdout.readline().strip()
        assert self._pid, "the machine did not start"

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        words = [sys.executable, "-m", "tests.e2e.machine", "as", self._pid, *command]
        return self._host.popen(words, **options)


class User:
    """An ordinary user, and the tunnel's end that is theirs."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.config = end.home / f"{NAME}.conf"

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """``chancel WORDS``."""
        directories = {
            "CHANCEL_RUNTIME_DIR": str(self.end.runtime),
            "CHANCEL_CONFIG_DIR": str(self.end.home),
        }
        environment = {**os.environ, **directories, **options.pop("env", {})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started: subprocess.Popen[str] = self.end.host.popen(
            [*PROGRAM, *words], env=environment, **{**pipes, **options}
        )
        return started

    def chancel(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """The same to its end: status, output, errors."""
        program = self.popen(*words, **options)
        out, errors = program.communicate(timeout=60)
        return program.returncode, out, errors

    def exec(self, *words: str, **options: Any) -> tuple[int, str, str]:
        """A command in a tunnel of its own."""
        log = ["--log", str(self.end.log)]
        return self.chancel("exec", "-c", str(self.config), *log, "--", *words, **options)


@pytest.fixture(scope="module")
def right(pair: Pair) -> Iterator[End]:
    pair.configure(0, "1400")
    pair.right.start()
    servers = [pair.right.host.start("tests.e2e.inside:echo_tcp", PORT)]
    for server in servers:
        assert next(server.progress) == "listening"
    yield pair.right
    for server in servers:
        server.program.kill()
    assert pair.right.stop() == 0


@pytest.fixture(scope="module")
def user(pair: Pair, right: End) -> Iterator[User]:
    for program, package in PACKAGES.items():
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"{program} is not installed: sudo apt-get install {package}")
    end = pair.left
    end.users = {}
    end.secret.unlink()
    end.write_secret(end.secret, pair.key)
    end.configure(
        NAME,
        "tunnel 10.77.0.1/30 1400",
        f"local {end.outer}:{TUNNEL_PORT}",
        f"peer {right.outer}:{TUNNEL_PORT}",
    )
    assert isinstance(end.host, Host)
    machine = Ordinary(end.host, end.home)
    end.host = machine
    yield User(end)
    machine.holder.kill()
    machine.holder.wait()


def sniffing(end: End, flag: Path) -> Task:
    task = end.host.start("tests.e2e.inside:sniff", "eth0", str(flag))
    assert next(task.progress) == "listening"
    return task


def test_the_command_reaches_the_peer_and_nothing_else(
    user: User, right: End, tmp_path: Path
) -> None:
    flag = tmp_path / "done"
    sniffed = sniffing(user.end, flag)
    named_bus = user.end.home / "bus"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(named_bus))
    listener.listen()
    environment = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={named_bus}"}
    environment["NAMED_BUS"] = str(named_bus)
    with listener:
        others = [right.outer, user.end.outer, "192.0.2.1"]
        words = [*COMMAND, INNER, "in-the-cell.example", *others]
        status, out, errors = user.exec(*words, env=environment)
    flag.touch()
    assert (status, errors) == (0, "")
    found = json.loads(out)
    assert found["peer"] == "yes"
    assert "yes" not in found["others"]
    assert found["devices"] == ["lo", NAME]
    assert found["name"] == "gaierror"
    assert found["bus"] == found["cache"] == "FileNotFoundError"
    assert found["named_bus"] != "yes"
    assert found["environment"] == []
    assert "nameserver" not in found["resolv.conf"]
    assert found["hosts"]
    assert (found["uid"], found["groups"]) == (UID, [UID, UID])
    assert found["capabilities"] == [0, 0, 0]
    assert found["no_new_privs"] == "1"
    assert found["descriptors"] == [0, 1, 2]
    assert found["vsock"] == os.strerror(97)
    seen = [each for each in sniffed.result() if each[:3] != [ICMP, user.end.outer, UNREACHABLE]]
    assert {tuple(each) for each in seen} == {
        (UDP, user.end.outer, TUNNEL_PORT, right.outer, TUNNEL_PORT),
        (UDP, right.outer, TUNNEL_PORT, user.end.outer, TUNNEL_PORT),
    }


def test_without_chancel_all_of_that_can_be_reached(user: User, right: End, tmp_path: Path) -> None:
    """So the test above could fail: same user, same machine."""
    flag = tmp_path / "done"
    sniffed = sniffing(user.end, flag)
    words = [*COMMAND, right.outer, "on-the-machine.example", right.outer]
    program = user.end.host.popen(words, stdout=subprocess.PIPE, text=True)
    found = json.loads(program.communicate(timeout=60)[0])
    flag.touch()
    assert found["peer"] == found["bus"] == found["cache"] == "yes"
    assert any(each[0] == UDP and each[3:] == [NAME_SERVER, 53] for each in sniffed.result())


def test_a_name_server_behind_the_tunnel(user: User) -> None:
    words = ["--dns", INNER, "--dns", "10.77.0.9", "--", "cat", "/etc/resolv.conf"]
    status, out, _ = user.chancel("exec", "-c", str(user.config), *words)
    assert status == 0
    assert [line for line in out.splitlines() if not line.startswith("#")] == [
        f"nameserver {INNER}",
        "nameserver 10.77.0.9",
    ]


@pytest.mark.parametrize(
    ("command", "status", "complaint"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM, ""),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["/etc"], 126, "/etc: a directory (expected a program)"),
        (["{}/script"], 126, "{}/script: its interpreter is missing (/nonexistent)"),
        (["no-such-program"], 127, "no-such-program: not found"),
        (["/etc/passwd/nothing"], 127, "/etc/passwd/nothing: not found"),
        ([""], 127, "'': not found (expected the name of a program)"),
    ],
)
def test_the_commands_status_is_returned(
    user: User, command: list[str], status: int, complaint: str
) -> None:
    script = user.end.home / "script"
    script.write_text("#!/nonexistent -x\n")
    script.chmod(0o755)
    words = [word.format(user.end.home) for word in command]
    line = f"chancel: {complaint.format(user.end.home)}\n" if complaint else ""
    assert user.exec(*words) == (status, "", line)
    assert not list(user.end.runtime.glob("*"))


def test_a_command_needs_neither_streams_nor_a_directory(user: User) -> None:
    words = [*PROGRAM, "exec", "-c", str(user.config), "--", "sh", "-c", "pwd; exit 7"]
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(user.end.runtime)}
    for redirection, out in (("", "/\n"), ("<&- >&- 2>&-", "")):
        program = user.end.host.popen(
            ["sh", "-c", f"{script} {redirection}", "sh", *words],
            cwd=user.end.home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        found, errors = program.communicate(timeout=60)
        assert (program.returncode, found, errors) == (7, out, "")


@pytest.fixture
def away(user: User) -> Iterator[Path]:
    """A tunnel whose peer never answers: ``exec`` waits for it."""
    path = user.end.home / "away.conf"
    text = user.config.read_text()
    for old, new in ((f"instance {NAME}", "instance away"), (f":{TUNNEL_PORT}\n", ":2399\n")):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    yield path
    path.unlink()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=str
)
def test_an_exec_that_is_ended_while_it_waits_leaves_nothing(
    user: User, away: Path, number: signal.Signals
) -> None:
    program = user.popen("exec", "-c", str(away), "--", "echo", "ran")
    eventually(lambda: bool(user.end.tunnels()), UP_LIMIT_S, "the tunnel is there")
    processes = user.end.processes()
    program.send_signal(number)
    out, errors = program.communicate(timeout=60)
    assert out == ""
    if number == signal.SIGKILL:
        assert program.returncode == -number
        eventually(lambda: not list(user.end.runtime.glob("*")), UP_LIMIT_S, "no socket is left")
    else:
        assert (program.returncode, errors) == (128 + number, "")
    assert not list(user.end.runtime.glob("*"))
    eventually(lambda: not any(map(is_alive, processes.values())), UP_LIMIT_S, "all are gone")


def test_a_signal_that_is_ignored_stays_so(user: User) -> None:
    """``nohup chancel exec``."""
    words = [*PROGRAM, "exec", "-c", str(user.config), "--"]
    words += ["sh", "-c", "kill -HUP $PPID; kill -HUP $$; echo lives"]
    environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(user.end.runtime)}
    program = user.end.host.popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *words],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.communicate(timeout=60)[0] == "lives\n"
    assert program.returncode == 0


def test_a_command_whose_exec_was_killed_has_no_network(user: User) -> None:
    flag = user.end.home / "alone"
    script = (
        "import socket, pathlib\n"
        "print('ready', flush=True)\n"
        "while [name for _, name in socket.if_nameindex()] != ['lo']: pass\n"
        f"pathlib.Path({str(flag)!r}).touch()"
    )
    program = user.popen("exec", "-c", str(user.config), "--", sys.executable, "-c", script)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    processes = user.end.processes()
    program.kill()
    eventually(flag.exists, UP_LIMIT_S, "only loopback is left")
    eventually(lambda: not any(map(is_alive, processes.values())), UP_LIMIT_S, "all are gone")
    assert not list(user.end.runtime.glob("*"))
    program.communicate(timeout=30)
    flag.unlink()


def test_signals_reach_the_command_and_the_group_ends_with_it(user: User) -> None:
    program = user.popen(
        *("exec", "-c", str(user.config), "--", "sh", "-c"),
        "trap 'echo heard; exit 3' USR1; echo ready; while :; do sleep 0.05; done",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    processes = user.end.processes()
    program.send_signal(signal.SIGUSR1)
    out, _ = program.communicate(timeout=30)
    assert (program.returncode, out) == (3, "heard\n")
    assert not any(map(is_alive, processes.values()))


@pytest.mark.parametrize("victim", [*PROCESSES[Mode.TUNNEL], GUARDIAN])
def test_any_dead_process_leaves_the_command_without_network(
    user: User, right: End, tmp_path: Path, victim: str
) -> None:
    script = (
        "import sys; from tests.e2e.command import reach; import socket\n"
        "for line in sys.stdin: print([reach(host, 1.0) for host in line.split()],"
        " sorted(name for _, name in socket.if_nameindex()), flush=True)"
    )
    program = user.popen(
        *("exec", "-c", str(user.config), "--log", str(user.end.log)),
        *("--", sys.executable, "-c", script),
        stdin=subprocess.PIPE,
    )
    assert program.stdin is not None
    assert program.stdout is not None

    def ask() -> str:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"{INNER} {right.outer}\n")
        program.stdin.flush()
        return str(program.stdout.readline())

    first = ask()
    assert first.startswith("['yes', "), program.stderr and program.stderr.read()
    assert first.count("yes") == 1
    processes = user.end.processes()
    os.kill(processes[victim], signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, processes.values())), UP_LIMIT_S, "the group is gone")
    eventually(lambda: ask() == "['OSError', 'OSError'] ['lo']\n", UP_LIMIT_S, "no network is left")
    _, errors = program.communicate(timeout=30)
    assert program.returncode == 0
    assert "the tunnel has ended" in errors


def test_a_tunnel_that_is_up_takes_commands(user: User, right: End) -> None:
    assert user.chancel("list")[1].split() == [NAME, "down"]
    status, _, errors = user.chancel("up", NAME)
    assert status == 0, errors
    try:
        eventually(lambda: _state(user) == "up", UP_LIMIT_S, "it is up")
        status, out, _ = user.chancel(
            "exec", NAME, "--", *COMMAND, INNER, "name.example", right.outer
        )
        found = json.loads(out)
        assert status == 0
        assert found["peer"] == "yes"
        assert "yes" not in found["others"]
        assert found["devices"] == ["lo", NAME]
        assert user.chancel("exec", NAME, "sh", "-c", "exit 9")[0] == 9
        status, _, errors = user.chancel("up", NAME)
        assert (status, "already running" in errors) == (1, True)
        processes = user.end.processes()
    finally:
        status, _, errors = user.chancel("down", NAME)
    assert (status, errors) == (0, "")
    assert not any(map(is_alive, processes.values()))
    assert _state(user) == "down"
    status, _, errors = user.chancel("exec", NAME, "--", "true")
    assert (status, "no tunnel called 't0' is running" in errors) == (1, True)


def _state(user: User) -> str:
    (row,) = json.loads(user.chancel("list", "--json")[1])
    assert (row["name"], row["instance"]) == (NAME, NAME)
    return str(row["state"])


def test_a_tunnel_of_the_machine_takes_no_commands(user: User, right: End) -> None:
    """The right end's group is on its host's own network."""
    program = right.host.popen(
        [*PROGRAM, "exec", "--runtime-dir", str(right.runtime), NAME, "--", "true"],
        stderr=subprocess.PIPE,
        text=True,
    )
    errors = program.communicate(timeout=30)[1]
    assert program.returncode == 1
    assert "its tunnels are on this machine's own network" in errors
