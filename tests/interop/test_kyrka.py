"""Our module ``libkyrka`` and the reference's: its example, its library, daemons."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chancel.demo.programs import CHANCEL, Program
from chancel.lab.lab import Host, Lab
from tests.interop import kyrka
from tests.interop.ends import End
from tests.interop.kyrka import Both, Example, named
from tests.libkyrka.ends import Told
from tests.libkyrka.reference import Library

Make = Callable[[], Any]

SECRET = bytes(range(32))
HEARD = "heaven_recv: 24 <b'Blessed sanctum, save us'> 1"
PING_BYTES = 84
DAEMON, PROGRAM = "192.168.201.1", "192.168.201.2"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The reference's example of a tunnel, and its secret beside us."""
    (tmp_path / "secret.key").write_bytes(SECRET)
    return kyrka.example("tunnel.py")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The reference's library."""
    return kyrka.library(tmp_path_factory.mktemp("kyrka"))


def assert_a_tunnel_was_told(lines: list[str]) -> None:
    """The first lines as with the reference's library, where the peer began maybe without one."""
    told = [line for line in lines[1:] if line != "event: 3 {'reason': 'no keys'}"]
    assert told[0].startswith("event: 1 {'tx': 0, 'rx': ")
    received = told[0].split("'rx': ")[1]
    assert told[1].startswith("event: 1 {'tx': ")
    assert told[1].endswith(f"'rx': {received}")
    assert told[2] == "tunnel established"
    assert not [line for line in lines if "purgatory_input" in line or "key manage" in line]


def test_the_example_with_itself(example: Path, tmp_path: Path) -> None:
    addresses = free_addresses()
    with contextlib.ExitStack() as stack:
        ends = [
            Example(example, tmp_path, local, remote)
            for local, remote in (addresses, addresses[::-1])
        ]
        for end in ends:
            stack.callback(end.close)
        for end in ends:
            end.wait_for(lambda line: line == HEARD, HEARD)
            end.wait_for(lambda line: "key offer cleared" in line, "key offer cleared")
            assert_a_tunnel_was_told(end.lines)


class Beside:
    """A daemon on one host, and another host for a program with our module."""

    def __init__(self, lab: Lab, daemon: Program, folder: Path) -> None:
        self.left, self.right = lab.host("left"), lab.host("right")
        lab.veth(self.left, f"{DAEMON}/24", self.right, f"{PROGRAM}/24")
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_bytes(SECRET)
        self.daemon = End(self.left, daemon, 1, folder)
        self.daemon.configure("1400", secret, f"{PROGRAM}:2333", "")
        self.daemon.start()

    def ping_the_program(self) -> None:
        """Have the daemon carry a packet, which nobody answers."""
        self.left.call("chancel.lab.ping:ping", "10.77.0.2", 1, 0.0, 56, True, 0.2)


@contextlib.contextmanager
def beside(daemon: Program, folder: Path) -> Iterator[Beside]:
    with Lab() as lab:
        both = Beside(lab, daemon, folder)
        try:
            yield both
        finally:
            both.daemon.close()


@pytest.fixture(params=["chancel", "reference"])
def daemon(request: pytest.FixtureRequest) -> Program:
    """Ours; and the reference, if there is one and we are root."""
    if request.param == "chancel":
        return CHANCEL
    program: Program = request.getfixturevalue("reference")
    return program


def test_the_example_with_a_daemon(example: Path, daemon: Program, tmp_path: Path) -> None:
    with beside(daemon, tmp_path) as both:
        addresses = f"{PROGRAM}:2333", f"{DAEMON}:2333"
        program = Example(example, tmp_path, *addresses, popen=both.right.popen)
        try:
            program.wait_for(lambda line: line == "tunnel established", "tunnel established")
            heard = f"heaven_recv: {PING_BYTES} "
            program.wait_for(lambda line: line.startswith(heard), heard, both.ping_the_program)
            program.wait_for(lambda line: "key offer cleared" in line, "key offer cleared")
            assert_a_tunnel_was_told(program.lines)
        finally:
            program.close()


def test_a_daemon_answers_pings_of_a_program(daemon: Program, tmp_path: Path) -> None:
    with beside(daemon, tmp_path) as both:
        assert ping(both.right) == 20


def ping(host: Host, count: int = 20) -> int:
    """How many echoes come back to a program on the host that has no device."""
    return int(host.call("tests.libkyrka.pinging:ping", PROGRAM, DAEMON, SECRET.hex(), count))


class Party:
    """A context of either kind, and what its callbacks were told."""

    def __init__(self, context: Any, *, shroud: bool) -> None:
        self.context = context
        self.sent: list[bytes] = []
        self.heard: list[tuple[bytes, int]] = []
        self.events: list[Told] = []
        context.secret_load(SECRET)
        if shroud:
            context.shroud_enable()
        context.purgatory_callback(lambda _, data, number, __: self.sent.append(data), None)
        context.heaven_callback(lambda _, data, number, __: self.heard.append((data, number)), None)
        context.event_callback(lambda _, event, info, __: self.events.append((event, info)), None)

    def drain(self) -> list[bytes]:
        sent, self.sent = self.sent, []
        return sent

    def take(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self.context.purgatory_input(datagram, 2)


class Parties:
    """Two of them."""

    def __init__(self, *makes: Make, shroud: bool) -> None:
        self.left, self.right = (Party(make(), shroud=shroud) for make in makes)
        self.both = self.left, self.right
        self.counts: list[list[int]] = []

    def turn(self) -> None:
        for party in self.both:
            party.context.key_manage()
        self.counts.append([len(party.sent) for party in self.both])
        self.carry()

    def carry(self) -> None:
        packets = [party.drain() for party in self.both]
        self.right.take(packets[0])
        self.left.take(packets[1])

    def events(self) -> list[list[Told]]:
        """What each was told."""
        return named(party.events for party in self.both)


@pytest.mark.parametrize("shroud", [False, True], ids=["bare", "shrouded"])
def test_with_the_library_as_the_library_with_itself(library: Library, shroud: bool) -> None:
    """The same events and the same packets in each second, whoever is at the other end."""
    both = Both(library)
    tunnels = [Parties(*makes, shroud=shroud) for makes in both.pairs()]
    for second in range(12):
        both.tick()
        for tunnel in tunnels:
            tunnel.turn()
        if second in (4, 10):
            for tunnel in tunnels:
                exchange_data(tunnel, 200)
        if second == 6:
            for tunnel in tunnels:
                tunnel.left.context.peer_timeout()
    first, *others = tunnels
    assert first.counts[:7] == [[0, 0], [4, 4], [8, 8], [4, 4], [4, 4], [0, 0], [0, 0]]
    for tunnel in others:
        assert tunnel.counts == first.counts
        assert tunnel.events() == first.events()


def exchange_data(tunnel: Parties, count: int) -> None:
    """Packets of all sizes, some of them twice: each arrives once."""
    data = [os.urandom(1 + 7 * number % 1373) for number in range(count)]
    for party in tunnel.both:
        party.heard.clear()
        for each in data:
            party.context.heaven_input(each, 2)
        party.sent += party.sent[-3:]
    tunnel.carry()
    for party in tunnel.both:
        assert party.heard == list(zip(data, range(1, count + 1), strict=True))


def free_addresses() -> tuple[str, str]:
    """Two addresses on loopback that nobody uses at this moment."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return (
            f"127.0.0.1:{one.getsockname()[1]}",
            f"127.0.0.1:{two.getsockname()[1]}",
        )
