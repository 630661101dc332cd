"""Whatever is called and arrives, a libkyrka context refuses as documented and repeats nothing.

No data comes out that the peer didn't put in, none twice, and no packet number is used twice, also
not where callbacks fail or call back. Afterwards a tunnel can be made as if nothing had been.
"""

from __future__ import annotations

import array
import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.sim.suite import FastSuite
from chancel.wire.drop import Drop
from chancel.wire.offer import OFFER_BYTES
from fuzz.library_end import End
from fuzz.script import Script
from fuzz.targets.exchange import Peer
from libkyrka.material import Kind
from libkyrka.parts import DEFAULT_MTU
from tests.libkyrka.ends import SECRET, Clock

_MOST_WAITING = 64
_RECOVERY_S = 60
_SELECTORS = (2, 2, 2, 1, 3, -1, 1 << 70)
_SIZES = (0, 1, 100, 572, 573, 1373, 1374, 1422, 1423, 1500, 1501)
MOST_BYTES = 512

_METHODS = (
    "secret_load",
    "secret_load_path",
    "device_kek_load",
    "cathedral_secret_load",
    "cathedral_cosk_load",
    "key_material_copy",
    "vicar_load",
    "event_callback",
    "heaven_callback",
    "purgatory_callback",
    "last_error",
    "heaven_input",
    "purgatory_input",
    "key_manage",
    "peer_timeout",
    "mtu_size",
    "shroud_enable",
    "p2p_active",
    "drops",
    "cathedral_configure",
    "cathedral_notify",
    "cathedral_nat_detection",
    "cathedral_liturgy",
)
_ODD: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 1, 2, 622, 623, 672, 1628, 1629, 1 << 70, 1.5, object(), [1]),
    *("", "text", "/dev/null", "/", "x" * 256, "a\0b", "\ud800"),
    *(b"", b"x", bytes(32), SECRET, bytes(64), bytes(255), bytes(1500), bytes(1501)),
    *(bytearray(32), memoryview(bytes(64))[::2], memoryview(SECRET).cast("B", (4, 8))),
    array.array("d", (1.0, 2.0, 3.0, 4.0)),
)
_KEYWORDS = ("send", "flock_src", "flock_dst", "identity", "tunnel", "group", "kek", "else")


def _send(*_: object) -> None:
    """What is said to a cathedral goes nowhere."""


class _Run:
    """Two contexts, and a stranger between them who has their secret."""

    def __init__(self, *, silent: bool) -> None:
        self.clock = Clock()
        self.ends = left, right = End(self.clock, 1), End(self.clock, 2)
        left.peer, right.peer = right, left
        self.liar = Peer(FastSuite(random.Random(3)))
        for end in self.ends:
            if not silent:
                end.listen()

    def load(self) -> None:
        """Both get their secret, and have keys soon."""
        for end in self.ends:
            end.call("secret_load", SECRET)
        for _ in range(3):
            self.turn()

    def turn(self) -> None:
        """A second, in which everything arrives."""
        for end in self.ends:
            end.manage()
        self.carry()
        self.clock.now += 1

    def carry(self) -> None:
        for end in self.ends:
            waiting, end.waiting = end.waiting, []
            for data in waiting:
                end.peer.take(data)

    def step(self, script: Script) -> None:
        """One thing that can happen."""
        end = script.pick((self.ends[0], self.ends[0], self.ends[1]))
        match script.number() % 12:
            case 0:
                end.manage()
            case 1:
                end.say(script.pick(_SIZES), script.pick(_SELECTORS))
            case 2:
                self.turn()
            case 3 | 4 | 5:
                end.take(self._datagram(script, end), script.pick(_SELECTORS))
            case 6:
                self.clock.now += script.number(2) / script.pick((1, 16, 256))
            case 7 | 8:
                self._configure(script, end)
            case 9:
                self._call_oddly(script, end)
            case 10:
                end.failing = script.flag()
            case _:
                end.answering = self._answer(script, end)
        self._judge()

    def _datagram(self, script: Script, end: End) -> bytes:
        peer = end.peer
        match script.number() % 6:
            case 0 if peer.waiting:
                return script.pick(peer.waiting)
            case 1 if peer.waiting:
                damaged = bytearray(script.pick(peer.waiting))
                damaged[script.number(2) % len(damaged)] ^= script.number()
                return bytes(damaged[: max(1, len(damaged) - script.number() % 4)])
            case 2:
                return peer.false(script)
            case 3:
                return self.liar.offer(script, self.clock.wall())
            case 4:
                size = script.pick((0, 1, 49, 50, 98, 623, 1500, 1501))
                return script.take(1) * size
        spis = [spi.to_bytes(4, "big") for spi in end.context._keys.spis]
        return script.pick((b"", b"SACRAMNT", b"KATEDRAL", *spis)) + script.chunk(1500)

    def _configure(self, script: Script, end: End) -> None:
        match script.number() % 8:
            case 0:
                end.call("peer_timeout")
            case 1:
                end.call("shroud_enable")
            case 2:
                end.call("mtu_size", script.pick((623, 671, 672, 1472, 1628, 622, 1629)))
            case 3:
                end.call("p2p_active", script.pick((0, 1, 2)))
            case 4:
                end.call("secret_load", script.pick((SECRET, SECRET, bytes(32), b"x")))
            case 5:
                end.call("key_material_copy", end.peer.context)
            case 6:
                end.listen()
            case _:
                self._refuse_copy(end)

    def _refuse_copy(self, end: End) -> None:
        try:
            copy.copy(end.context)
        except LocalProtocolError:
            return
        raise AssertionError("a context was copied, with its packet numbers")

    def _call_oddly(self, script: Script, end: End) -> None:
        name = script.pick(_METHODS)
        arguments = [script.pick(_ODD) for _ in range(script.number() % 4)]
        keywords = {}
        if name == "cathedral_configure":
            named = script.take(script.number() % 10)
            keywords = {_KEYWORDS[each % len(_KEYWORDS)]: script.pick(_ODD) for each in named}
            keywords = {each: _send if each == "send" else keywords[each] for each in keywords}
        end.call_oddly(name, *arguments, **keywords)

    def _answer(self, script: Script, end: End) -> Callable[[], object]:
        """What the next callback does, before anything else."""
        size, selector = script.pick(_SIZES), script.pick(_SELECTORS)
        datagram = self._datagram(script, end)
        answers: tuple[Callable[[], object], ...] = (
            end.manage,
            lambda: end.call("peer_timeout"),
            lambda: end.take(datagram, selector),
            lambda: end.call("secret_load", SECRET),
            lambda: end.say(size, selector),
        )
        return script.pick(answers)

    def _judge(self) -> None:
        for end in self.ends:
            for datagram in end.waiting:
                if len(datagram) == OFFER_BYTES:
                    with contextlib.suppress(RemoteProtocolError):
                        self.liar.hear(datagram)
            del end.waiting[:-_MOST_WAITING], self.liar.heard[:-_MOST_WAITING]
            drops = end.context.drops()
            assert set(drops) <= {str(reason) for reason in Drop}
            assert all(count > 0 for count in drops.values())
            assert repr(end.context)

    def recover(self) -> None:
        """With one secret and the same settings there is a tunnel before long.

        Not where a kek was loaded, as no key is made then before there is an ambry; nor where a
        cathedral was configured, and with it other flocks.
        """
        for context in (end.context for end in self.ends):
            if Kind.DEVICE_KEK in context._material or context._conversation is not None:
                return
        shrouded = any(end.context._shroud_on for end in self.ends)
        for end in self.ends:
            end.failing, end.answering = False, None
            end.listen()
            end.waiting.clear()
            end.call("secret_load", SECRET)
            end.call("mtu_size", DEFAULT_MTU)
            end.call("p2p_active", 1)
            if shrouded:
                end.call("shroud_enable")
            end.call("peer_timeout")
        for _ in range(_RECOVERY_S):
            self.turn()
            if self._talk():
                return
        raise AssertionError(f"no tunnel any more: {[end.context for end in self.ends]}")

    def _talk(self) -> bool:
        """Whether data comes through in both directions."""
        before = [end.heard.total() for end in self.ends]
        for end in self.ends:
            end.say(100)
        self.carry()
        return all(end.heard.total() > was for end, was in zip(self.ends, before, strict=True))


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run(silent=script.flag())
    if script.flag():
        run.load()
    while script.more():
        run.step(script)
    run.recover()


def _said(*sizes: int, end: int = 0) -> bytes:
    """The part of a script that puts data of some of the sizes in."""
    return b"".join(bytes((end, 1, size, 0)) for size in sizes)


def _false(number: int, tail: int = 0) -> bytes:
    """The part of a script that lets an authentic packet arrive at the left."""
    return bytes((0, 3, 2, 0, number, 0, 1, 7, tail, 0))


def seeds() -> Iterator[bytes]:
    turn, turns = bytes((0, 2)), bytes((0, 2)) * 3
    said = _said(2, 7, 8, 10, end=2) + bytes((0, 3, 0, 0, 0)) * 2 + turn
    up = bytes((0, 1))
    yield bytes((1, 1)) + said + turns + said
    yield up + said + turns + said
    yield up + b"".join(map(_false, (40, 30, 35, 30, 10, 104, 41, 40, 0))) + said
    yield up + b"".join(_false(50 + tail, tail) for tail in (0, 2, 3, 4, 0)) + _false(52)
    shroud, mtu = bytes((0, 7, 1, 2, 7, 1)), bytes((0, 7, 2))
    yield up + shroud + _said(2, 5) + turn + _said(2, 5, 6, 7) + bytes((0, 1, 2, 3, 0, 1, 2, 4))
    for size in range(7):
        yield up + mtu + bytes((size,)) + _said(3, 4, 7, 8, 9, 10) + shroud + turns + said
    for configured in ((0,), (3, 1), (4, 2), (4, 3), (5,), (6,), (7,)):
        yield up + bytes((0, 7, *configured)) + said + turns + shroud + turns + said
    for method in range(len(_METHODS)):
        for odd in (0, 8, 23, 25):
            yield bytes((0, method & 1, 0, 9, method, 1 + odd % 2, odd, 5))
    yield bytes((0, 0, 0, 9, 19, 0, 6, 0, 1, 2, 3, 4, 5, 4, 4, 4, 4, 4, 4))
    yield up + bytes((0, 6, 2, 88, 0)) + said + bytes((0, 6, 14, 60, 0)) + said + turns + said
    for answer in range(5):
        react = bytes((0, 11, 2, 0, 5, 0, 0, 0, answer))
        yield up + react + said + bytes((0, 0)) + turn + react + turn
    yield up + bytes((0, 10, 1)) + said + bytes((0, 0, 0, 7, 0)) + said + bytes((0, 10, 0)) + said
    lies = b"".join(bytes((0, 3, 3, 0, 2, 7, 0, part, 5, 6, 0, 0, 0)) for part in range(4))
    yield up + lies + turns + said
