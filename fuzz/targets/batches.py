"""A session that is given batches does what its twin does that is given the same one by one.

Bytes, payloads, events, drops and times are the same, whatever mixture of honest, damaged,
repeated, reordered, foreign and false datagrams arrives, and whatever is sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Iterator

from chancel.crypto.kdf import peer_shroud_key
from chancel.errors import RemoteProtocolError
from chancel.protocol.behaviour import CHANCEL, REFERENCE
from chancel.protocol.keeper import Mode
from chancel.protocol.profile import CURRENT
from chancel.protocol.session import SessionSettings
from chancel.protocol.shroud import Shroud
from chancel.sim.suite import FastSuite
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.offer import OFFER_BYTES
from chancel.wire.traffic import OVERHEAD_BYTES, nonce, numbered
from chancel.wire.types import NO_FLOCKS, Address, Buffer
from fuzz.script import Script
from fuzz.targets.exchange import Peer
from tests.protocol.pair import SECRET, WALL
from tests.protocol.test_session_batch import (
    ELSEWHERE,
    FEW,
    FLOCKS,
    LEFT,
    MTU,
    OLD,
    RIGHT,
    Network,
    Twins,
    ip_packets,
)

_PROFILES = (CURRENT, CURRENT, FEW, OLD)
_MODES = ((Mode.TUNNEL, Mode.TUNNEL),) * 3 + ((Mode.PILGRIM, Mode.SHRINE),)
_SOURCES = (LEFT, LEFT, LEFT, LEFT, LEFT, ELSEWHERE, Address("2001:db8::1", 65535), RIGHT)
_SIZES = (0, 1, 19, 20, 60, 300, MTU, MTU + 1)
_TAILS = (b"\0\0", b"\0\0", b"\0\xfc", b"\0\xfc", b"\1\0", b"\0\x7f")
_BUFFERS = (bytes, bytearray, memoryview)
_MOST_PACKETS = 24
_MOST_REPEATS = 8
"""Of some packets, so that there are more than the narrower replay window has room for."""
_MOST_HISTORY = 64
MOST_BYTES = 512


class _Run:
    """Two pairs of twins, and a liar between them who has the secret and the keys of the left."""

    def __init__(self, script: Script) -> None:
        profile, modes = script.pick(_PROFILES), script.pick(_MODES)
        options = script.number()
        settings = SessionSettings(
            None,
            MTU,
            mtu_discovery=bool(options & 1) and profile is not OLD,
            profile=profile,
            behaviour=REFERENCE if options & 2 else CHANCEL,
            flocks=FLOCKS if options & 4 else NO_FLOCKS,
            tfc=bool(options & 8),
            shroud=bool(options & 16) and profile is not OLD,
        )
        self.network = network = Network(settings)
        if modes[0] is Mode.PILGRIM and profile is not OLD:
            left = dataclasses.replace(settings, peer=RIGHT, mode=modes[0])
            mirrored = settings.flocks._replace(own=settings.flocks.peer, peer=settings.flocks.own)
            right = dataclasses.replace(settings, flocks=mirrored, mode=modes[1])
            network.left = Twins(left, 1, network.now)
            network.right = Twins(right, 2, network.now)
        self.suite = FastSuite(random.Random(3))
        self.peer = Peer(self.suite)
        self.layout = profile.layouts.traffic
        self.mask: Shroud | None = None
        if settings.shroud:
            key = peer_shroud_key(self.suite, SECRET, settings.flocks)
            self.mask = Shroud(key, self.suite)
        if not options & 32:
            network.settle(2.0)
        self.listen()

    def step(self, script: Script) -> None:
        """One thing that can happen."""
        network = self.network
        match script.number() % 8:
            case 0 | 1:
                self.send(script, network.left)
            case 2:
                self.send(script, network.right)
            case 3:
                network.carry(network.left, network.right, LEFT)
            case 4 | 5:
                count = script.number() % _MOST_PACKETS + 1
                batch = [self._arriving(script) for _ in range(count)]
                network.history += batch
                network.right.receive(batch, network.now)
            case 6:
                network.carry(network.right, network.left, RIGHT)
            case _:
                self.wait(script)
        self.listen()

    def send(self, script: Script, twins: Twins) -> None:
        """Give payloads to one end."""
        sizes = [script.pick(_SIZES) for _ in range(script.number() % _MOST_PACKETS)]
        sizes *= script.pick((1, 1, 1, _MOST_REPEATS))
        twins.send(ip_packets(sizes, random.Random(script.number())), self.network.now)

    def wait(self, script: Script) -> None:
        """Let time pass, in which everything arrives, or nothing; or everybody oversleeps."""
        network = self.network
        seconds = script.number() / script.pick((1, 16, 256))
        match script.number() % 3:
            case 0:
                network.now += seconds
                for twins in (network.left, network.right):
                    twins.wake(network.now)
            case 1:
                network.settle(seconds)
            case _:
                network.now += seconds

    def listen(self) -> None:
        """Learn the SPIs of offers, where they can be read."""
        del self.network.history[:-_MOST_HISTORY]
        for twins in (self.network.left, self.network.right):
            for datagram, _ in twins.outgoing:
                if len(datagram) == OFFER_BYTES:
                    with contextlib.suppress(RemoteProtocolError):
                        self.peer.hear(bytes(datagram))

    def _arriving(self, script: Script) -> tuple[Buffer, Address]:
        """A datagram for the right end, and where it seems to come from."""
        kind = script.number()
        source = _SOURCES[kind >> 5]
        datagram = bytes(self._datagram(kind % 8, script))
        return _BUFFERS[(kind >> 3) % len(_BUFFERS)](datagram), source

    def _datagram(self, kind: int, script: Script) -> Buffer:
        waiting, history = self.network.left.outgoing, self.network.history
        match kind:
            case 0 | 1 | 2 if waiting:
                return waiting.pop(script.number() % len(waiting) if kind == 2 else 0)[0]
            case 3 if history:
                return script.pick(history)[0]
            case 4 if history:
                return self._damaged(script, script.pick(history)[0])
            case 5:
                return self._masked(self._false(script))
            case 6:
                return self._masked(self.peer.offer(script, WALL + self.network.now))
        return script.pick((b"", b"SACRAMNT")) + script.chunk(1600)

    def _damaged(self, script: Script, datagram: Buffer) -> bytes:
        damaged = bytearray(datagram or b"\0")
        damaged[script.number(2) % len(damaged)] ^= script.number()
        return bytes(damaged[: max(1, len(damaged) - script.pick((0, 0, 0, 1, 300)))])

    def _false(self, script: Script) -> bytes:
        """An authentic packet that the left end has never sent."""
        key = self.network.left.single._sealer._key
        if key is None:
            return b"\1" * 60
        number = max(0, key.next_number + script.number() - script.pick((0, 1, 8, 100)))
        header = numbered(key.header, number)
        size = script.pick((0, 0, MTU, MAX_DATAGRAM_BYTES - OVERHEAD_BYTES))
        text = script.chunk(100) + bytes(size) + script.pick(_TAILS)
        bound = self.layout.associated_data(header)
        return header + key.aead.encrypt(nonce(key.salt, number), text, bound)

    def _masked(self, datagram: bytes) -> bytes:
        return datagram if self.mask is None else self.mask.wrap(datagram, 0)


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run(script)
    while script.more():
        run.step(script)


def _sent(*sizes: int, repeats: int = 0) -> bytes:
    """The part of a script that lets the left send."""
    return bytes((0, len(sizes), *sizes, repeats, 7))


def _false(ahead: int, text: bytes, size: int, tail: int) -> bytes:
    """The part of a script that makes an authentic packet."""
    return bytes((5, ahead, 0, 0, len(text))) + text + bytes((size, tail))


def seeds() -> Iterator[bytes]:
    orderly = _sent(*(5,) * 12) + bytes((4, 11)) + bytes(12)
    mixed = _sent(*(3, 5, 6, 0) * 5)
    mixed += bytes((4, 11, 0, 8, 0x10, 3, 0, 0xA0, 2, 2, 0, 0, 4, 1, 0, 40, 1, 0, 0, 0))
    false = bytes((4, 6)) + _false(3, b"abc", 0, 0) + _false(3, b"", 0, 0) + _false(4, b"", 3, 0)
    false += _false(5, b"x", 3, 0) + _false(6, b"\1\0", 0, 2) + _false(7, b"", 0, 4) + bytes(1)
    many = _sent(*(3,) * 20, repeats=3) + bytes((3,))
    rekeyed = (_sent(*(4,) * 20) + bytes((3,))) * 2 + bytes((7, 40, 0, 1)) + orderly
    for options in (0, 1, 2, 4, 8, 16, 8 + 16, 32):
        for profile, mode in ((0, 0), (2, 0), (3, 0), (0, 3)):
            yield bytes((profile, mode, options)) + orderly + mixed + false + orderly
    for options in (0, 2):
        yield bytes((0, 0, options)) + many + mixed + many
    # From elsewhere, then a run from where the peer was before, within which a rekey is due.
    crossing = bytes((4, 11)) + b"\xa0" + bytes(11)
    yield bytes((2, 0, 1)) + _sent(*(3,) * 23) + bytes((4, 11)) + bytes(12) + crossing
    for seconds in (10, 15, 60):
        asleep = bytes((7, seconds, 0, 2))
        yield bytes((2, 0, 0)) + _sent(*(3,) * 23) + bytes((4, 11)) + bytes(12) + asleep + b"\3"
    yield bytes((2, 0, 0)) + rekeyed + bytes((6, 2, 3, 5, 5, 5, 0, 1, 7, 1, 16, 0)) + rekeyed
    offers = bytes((4, 3)) + b"".join(
        bytes((6, 0, 2, 7, 0, fragment, 5, 6, 0, 0, 8)) for fragment in range(4)
    )
    yield bytes(3) + orderly + offers + orderly
