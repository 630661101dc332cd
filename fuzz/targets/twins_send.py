"""Both twins send the same datagrams of runs, in the same order, and count the same.

Protocol section 2. In trains and one by one, to a peer, to nobody, and too large for the way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from chancel.daemon.hot.send import UdpSender
from chancel.daemon.run import Run
from chancel.daemon.udp import open_udp
from chancel.wire.types import Address
from fuzz import twinned
from fuzz.script import Script
from tests.daemon.naive import new_slot

_SLOT = new_slot(160 * 1024)
_SLOT.memory[:] = random.Random(0).randbytes(len(_SLOT.memory))
_ANY = Address("127.0.0.1", 0)
_SENDING = {gso: open_udp(_ANY, gso=gso) for gso in (True, False)}
_PEER = open_udp(_ANY, gro=False).socket
_HERE = Address(*_PEER.getsockname())
_TARGETS = (_HERE, _HERE, _HERE, Address("255.255.255.255", 9), Address("fd00::1", 9))
"""The second last wants a right that nobody has asked for, the last another kind of socket."""
_MOST_RUNS, _MOST_PACKETS, _MOST_BYTES = 6, 70, 100_000
MOST_BYTES = 128


def check(data: bytes) -> None:
    script = Script(data)
    gso, target = script.flag(), script.pick(_TARGETS)
    runs, at = [], script.number()
    for _ in range(script.number() % _MOST_RUNS + 1):
        size = script.number(2) % 1522 + 1
        packets = min(script.number() % _MOST_PACKETS + 1, _MOST_BYTES // _MOST_RUNS // size + 1)
        last = size - script.number(2) % size
        run = Run(0, 0, packets, size, last if packets > 1 else size, at, bytes(18))
        run = run if packets > 1 else run._replace(size=last, last=last)
        runs.append(run)
        at = run.end + script.number() % 32
    assert at < len(_SLOT.memory)

    def send() -> object:
        udp = _SENDING[gso]
        sender = UdpSender(udp.socket, gso=udp.gso)
        broken: list[int | None] = []
        sender.on_gso_broken = lambda error: broken.append(error.errno)
        sender.send(_SLOT.memory, runs, target)
        counters = sender.datagrams, sender.bytes, sender.drops, sender.error, sender.gso
        return _arrived(), counters, broken

    twinned.compare(send)


def _arrived() -> list[bytes]:
    came: list[bytes] = []
    while True:
        try:
            came.append(_PEER.recv(2048))
        except BlockingIOError:
            return came


def seeds() -> Iterator[bytes]:
    for gso in (0, 1):
        for target in range(len(_TARGETS)):
            for size in (0, 59, 1423, 1521):
                run = size.to_bytes(2, "big") + bytes((45, 0, 5, 3))
                yield bytes((gso, target, 0, 3)) + run * 4
