"""A peer with the keys can't make a tunnel's end raise, spin, swell, or break its own MTU.

Protocol sections 3 and 11, on top of ``exchange``: after an honest exchange come authentic packets
with any tail, payload and number, graces among them, from anywhere, and the liar's offers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from chancel.crypto.kdf import peer_shroud_key
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.profile import CURRENT
from chancel.protocol.session import Session, SessionSettings
from chancel.protocol.shroud import Shroud
from chancel.protocol.traffic import Sealer
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.drop import Drop
from chancel.wire.traffic import nonce, numbered
from chancel.wire.types import NO_FLOCKS, Address
from fuzz.script import Script
from fuzz.targets.exchange import Peer

_SECRET = bytes(range(32))
_WALL = 1_760_000_000.0
_HERE, _THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
_SOURCES = (_HERE, _HERE, Address("198.51.100.1", 0), Address("2001:db8::1", 65535))
_TAILS = (b"\0\0", b"\0\xfc", b"\0\xfc", b"\0\xfc", b"\1\0", b"\0\x7f", b"\xff\xff")
_MTU = 1422
_MOST_DATAGRAMS = 40
_MOST_WAKES = 8
_SETTLING_ROUNDS = 6
MOST_BYTES = 512


class _Run:
    """A session, and a liar that went through an honest exchange with it."""

    def __init__(self, *, shroud: bool, tfc: bool) -> None:
        suite = FastSuite(random.Random(1))
        self.suite = suite
        self.now = 100.0
        self.session, accomplice = (
            Session(
                SessionSettings(peer, mtu=_MTU, mtu_discovery=not tfc, shroud=shroud, tfc=tfc),
                suite,
                lambda: Secret(_SECRET),
                self.now,
                self.wall,
            )
            for peer in (_THERE, _HERE)
        )
        self.sealer = Sealer(NO_FLOCKS, suite)
        self.peer = Peer(suite)
        mask_key = peer_shroud_key(suite, _SECRET, NO_FLOCKS)
        self.mask = Shroud(mask_key, suite) if shroud else None
        self._exchange(accomplice)

    @property
    def wall(self) -> float:
        return _WALL + self.now

    def _exchange(self, accomplice: Session) -> None:
        """Let both agree, and copy the key that the accomplice sends with."""
        execute = accomplice._sealer.execute

        def tell(command: object, now: float) -> None:
            if isinstance(command, InstallSendKey | InstallReceiveKey):
                self.sealer.execute(command, now)
                self.key = self.sealer.reserve(1, now)
                execute(command, now)

        accomplice._sealer.execute = tell  # type: ignore[method-assign]
        for _ in range(_SETTLING_ROUNDS):
            for sender, receiver, source in (
                (self.session, accomplice, _HERE),
                (accomplice, self.session, _THERE),
            ):
                sender.wake(self.now, self.wall)
                for datagram, _ in sender.datagrams():
                    receiver.receive(datagram, source, self.now, self.wall)
            self.now += 0.5
        assert self.session.status(self.now).receive_spi

    def step(self, script: Script) -> None:
        """One thing that can happen."""
        session = self.session
        match script.number() % 6:
            case 0 | 1 | 2:
                self._give(self._traffic(script), script)
            case 3:
                self._give(self.peer.offer(script, self.wall), script)
            case 4:
                self.now += script.number(2) / script.pick((1, 16, 256))
            case _:
                size = script.number(2) % 1600
                sent = session.send(bytes(size), self.now)
                assert not (sent and size > _MTU)

    def _give(self, datagram: bytes, script: Script) -> None:
        """Mask it as it should be, mostly, and let it arrive."""
        if script.number() % 16 != 15 and self.mask is not None:
            datagram = self.mask.wrap(datagram, 0)
        self.session.receive(datagram, script.pick(_SOURCES), self.now, self.wall)

    def _traffic(self, script: Script) -> bytes:
        """An authentic packet under the peer's key, perhaps damaged."""
        assert self.key is not None
        key, number = self.key, script.number(script.pick((1, 1, 2, 8)))
        header = numbered(key.header, number)
        text = script.chunk(1500) + script.pick(_TAILS)
        sealed = bytearray(header + key.aead.encrypt(nonce(key.salt, number), text, header))
        if script.flag():
            sealed[script.number() % len(sealed)] ^= script.number()
        return bytes(sealed)

    def settle(self) -> None:
        """Wake it until it has nothing to do now."""
        for _ in range(_MOST_WAKES):
            self._judge()
            due = self.session.wake_at()
            if due is None or due > self.now:
                return
            self.session.wake(self.now, self.wall)
        raise AssertionError(f"{self.session} never rests")

    def _judge(self) -> None:
        session = self.session
        datagrams = session.datagrams()
        assert len(datagrams) <= _MOST_DATAGRAMS
        assert all(len(each) <= MAX_DATAGRAM_BYTES for each, _ in datagrams)
        assert len(session.received()) <= 1
        while session.next_event() is not None:
            pass
        status = session.status(self.now)
        assert CURRENT.mtu_minimum <= status.mtu <= _MTU
        assert set(status.drops) <= set(Drop)
        assert repr(session)


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run(shroud=script.flag(), tfc=script.flag())
    run.settle()
    while script.more():
        run.step(script)
        run.settle()


def _packet(number: int, text: bytes, tail: int) -> bytes:
    return bytes((0, 0, number)) + len(text).to_bytes(2, "big") + text + bytes((tail, 0, 0, 0))


def seeds() -> Iterator[bytes]:
    for options in ((0, 0), (1, 0), (0, 1), (1, 1)):
        for steps in _steps():
            yield bytes(options) + steps


def _steps() -> Iterator[bytes]:
    yield _packet(50, b"inner", 0) + _packet(51, b"\1\0", 1) + _packet(51, b"\1\0", 1)
    yield _packet(60, b"\2\0\x8e\x05", 1) + _packet(61, b"\3\0\x00\x05", 1) + bytes((4, 1, 0, 0))
    yield _packet(60, b"\3\0\xff\xff", 1) + _packet(62, b"\x63\0", 2) + _packet(63, b"", 5)
    yield bytes((4, 0, 16, 1)) * 20 + bytes((5, 5, 0x8E)) + bytes((5, 6, 0))
