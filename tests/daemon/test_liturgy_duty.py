"""The process that asks a cathedral: a real socket, a real board, and cathedrals of the test."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.system import SystemSuite
from chancel.daemon.board import BoardReader
from chancel.daemon.config_types import LITURGY, Mode
from chancel.daemon.duties.liturgy import LiturgyDuty
from chancel.daemon.liturgy_settings import LiturgySettings
from chancel.daemon.liturgy_status import LiturgyBook
from chancel.daemon.process import Process
from chancel.daemon.records import LiturgyRecord, member_bits
from chancel.daemon.topology import Wiring, of
from chancel.daemon.why_liturgy import findings
from chancel.protocol.cathedral_offers import seal_answer
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId
from tests.daemon import wirings

NUMBER = 255
OWN, GROUP = 0x0A, 0xCAFE
FLOCK, IDENTITY = FlockId(0xCAFEBA17), CathedralId(0x30B4C39)
LIMIT_S = 20.0


class FakeCathedral:
    """A socket that says what a test wants."""

    def __init__(self, secret: bytes) -> None:
        self.suite = SystemSuite()
        self.base = client_offer_base(self.suite, secret, FLOCK)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(LIMIT_S)
        self.address = Address(*self.socket.getsockname())
        self.asked: list[bytes] = []

    def hear(self) -> Address:
        """Wait for a question; who asked."""
        question, source = self.socket.recvfrom(2048)
        self.asked.append(question)
        return Address(*source)

    def say(self, to: Address, body: LiturgyBody | RemembranceBody) -> None:
        now = int(time.time())
        self.socket.sendto(seal_answer(self.suite, self.base, IDENTITY, now, body), to)

    def names(self, to: Address, *devices: int, group: int = GROUP) -> None:
        """Answer that these devices are there."""
        peers = bytes(number in devices for number in range(PEERS_BYTES))
        self.say(to, LiturgyBody(0, group, peers))


class Bench:
    """The duty, whose guardian is the test."""

    def __init__(self, home: Path, cathedrals: tuple[Address, ...]) -> None:
        self._wiring = wiring = Wiring.make(of(Mode.TUNNEL, liturgy=True))
        self._mapped = wiring.memories(LITURGY)
        memory = os.dup(wiring.boards[LITURGY])
        self.process = Process(LITURGY, wiring)
        self.duty = LiturgyDuty(self.process)
        self.board: BoardReader[LiturgyRecord] = BoardReader(memory, LiturgyRecord)
        self.book = LiturgyBook({LITURGY: self.board})
        os.close(memory)
        self.settings = LiturgySettings(
            instance="choir",
            device=OWN,
            group=GROUP,
            hidden=True,
            flock=FLOCK,
            identity=IDENTITY,
            secret=str(home / "cs"),
            cosk=str(home / "cosk"),
            addresses=cathedrals,
            remembrance=str(home / "remembrance"),
        )
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        udp.bind(("127.0.0.1", 0))
        self.address = Address(*udp.getsockname())
        order = self.process.read_settings(self.settings.to_json())
        assert order == self.settings
        self.duty.add(NUMBER, order, [udp.detach()])
        about = {"descr": "", "prefix": "10.15.0.0", "tap": False, "bridge": None, "local": ""}
        self.book.add(NUMBER, self.settings, about)

    def close(self) -> None:
        self.duty.remove(NUMBER)
        wirings.close(self._wiring, self._mapped)

    def record(self) -> LiturgyRecord:
        entry = self.board.read(NUMBER)
        assert entry is not None
        return entry.record

    def serve_until(self, condition: Callable[[], bool]) -> None:
        """Let the process work until something is so."""
        deadline = time.monotonic() + LIMIT_S

        def wake_at() -> float:
            if condition():
                self.process.loop.stop()
            assert time.monotonic() < deadline
            due = self.duty.wake_at()
            soon = time.monotonic() + 0.02
            return soon if due is None else min(due, soon)

        self.process.loop.run(wake_at, self.duty.wake)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, size in (("cs", 32), ("cosk", 64)):
        (tmp_path / name).write_bytes(os.urandom(size))
        (tmp_path / name).chmod(0o600)
    return tmp_path


@pytest.fixture
def cathedral(home: Path) -> Iterator[FakeCathedral]:
    made = FakeCathedral((home / "cs").read_bytes())
    yield made
    made.socket.close()


@pytest.fixture
def bench(home: Path, cathedral: FakeCathedral) -> Iterator[Bench]:
    made = Bench(home, (cathedral.address,))
    yield made
    made.close()


def ask(bench: Bench) -> None:
    """Have the first question go out."""
    bench.serve_until(lambda: bench.record().questions > 0)


def test_it_asks_and_writes_down_who_is_there(bench: Bench, cathedral: FakeCathedral) -> None:
    ask(bench)
    who = cathedral.hear()
    assert who == bench.address
    assert cathedral.asked[0].startswith(CATHEDRAL.magic)
    cathedral.names(who, 1, OWN, 0xFE)
    bench.serve_until(lambda: bool(bench.record().devices))
    record = bench.record()
    assert record.devices == {1, 0xFE}
    assert record.answered_at > 0.0
    (told,) = bench.book.status(time.monotonic())["liturgies"]
    assert (told["members"], told["hidden"], told["group"]) == ([1, 0xFE], True, "cafe")
    assert told["cathedral"]["address"] == str(cathedral.address)
    assert findings(told) == []


def test_what_nobody_asked_for_changes_nothing(bench: Bench, cathedral: FakeCathedral) -> None:
    ask(bench)
    who = cathedral.hear()
    cathedral.names(who, 3, group=GROUP + 1)
    cathedral.socket.sendto(os.urandom(700), who)
    cathedral.names(who, 1)
    cathedral.names(who, 2)
    stranger = FakeCathedral(b"x" * 32)
    stranger.names(who, 4)
    entry = bench.board.read(NUMBER)
    assert entry is not None
    bench.serve_until(lambda: sum(bench.board.read(NUMBER).drops.values()) == 4)  # type: ignore[union-attr]
    stranger.socket.close()
    assert bench.record().devices == {1}
    drops = bench.book.status(time.monotonic())["liturgies"][0]["drops"]
    assert drops["liturgy-group"] == drops["offer-unexpected"] == drops["cathedral-source"] == 1


def test_a_remembrance_is_kept_and_read_again(
    bench: Bench, cathedral: FakeCathedral, home: Path
) -> None:
    other = Address("192.0.2.9", 4500)
    ask(bench)
    cathedral.say(cathedral.hear(), RemembranceBody((cathedral.address, other)))
    kept = home / "remembrance"
    bench.serve_until(kept.exists)
    assert RemembranceBody.decode_table_untrusted(kept.read_bytes()).cathedrals[1] == other
    assert kept.stat().st_mode & 0o777 == 0o600
    assert bench.record().cathedrals == 2


def test_a_name_that_becomes_known(home: Path, cathedral: FakeCathedral) -> None:
    bench = Bench(home, ())
    try:
        bench.serve_until(lambda: bench.board.read(NUMBER) is not None)
        (told,) = bench.book.status(time.monotonic())["liturgies"]
        assert [each.code for each in findings(told)] == ["cathedral-unknown"]
        bench.process.hear({"tunnel": NUMBER, "cathedrals": [list(cathedral.address)]}, [])
        ask(bench)
        assert cathedral.hear() == bench.address
        bench.process.hear({"network": "changed"}, [])
    finally:
        bench.close()


def test_a_key_that_cannot_be_read_is_told(bench: Bench, home: Path) -> None:
    (home / "cosk").unlink()
    bench.serve_until(lambda: bench.record().trouble != 0)
    (told,) = bench.book.status(time.monotonic())["liturgies"]
    assert [each.code for each in findings(told)] == ["cosk-unreadable"]


def test_the_bits_of_members() -> None:
    for devices in (set(), {0}, {1, 7, 8, 254, 255}, set(range(256))):
        assert LiturgyRecord(members=member_bits(devices)).devices == devices
