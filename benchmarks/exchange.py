"""The CPU time of one full key exchange, for each side.

From two fresh sessions to both having both keys, the peer's first heartbeat under them, and nothing
left to send: key pairs, eight offers sealed and eight opened, encapsulation, decapsulation, two
traffic keys. Sessions are driven by direct calls and a clock that jumps, so only their own work
is counted; process time is exact enough, as no other thread runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.result import Figure, Result, Target
from chancel.crypto.system import SystemSuite
from chancel.protocol.session import Session, SessionSettings
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.types import Address

EXCHANGES = 200
ROUND_TRIP_S = 0.05
LIMIT_S = 60.0
ADDRESSES = (Address("192.0.2.1", 2333), Address("192.0.2.2", 2333))
WALL = 1_700_000_000.0


def run() -> Iterator[Result]:
    """CPU milliseconds per exchange, of the side that begins and of the one that follows.

    Beside them the primitives alone, interleaved: what no implementation on this machine can go
    below.
    """
    _exchange()
    pairs, bare = [], []
    for _ in range(EXCHANGES):
        pairs.append(_exchange())
        bare.append(_primitives() / 1e6)
    yield Figure("the primitives of one side alone", "ms CPU", bare)
    for side, samples in zip(("first", "second"), zip(*pairs, strict=True), strict=True):
        milliseconds = [nanoseconds / 1e6 for nanoseconds in samples]
        yield Figure(f"full exchange, {side} side", "ms CPU", milliseconds, Target("≤", 1.0))


def _secret() -> Secret:
    return Secret(bytearray(range(32)))


class _Side:
    """One session whose calls are timed."""

    def __init__(self, peer: Address) -> None:
        self.session = Session(SessionSettings(peer), SystemSuite(), _secret, 0.0, WALL)
        self.cpu_ns = 0

    @property
    def done(self) -> bool:
        """Both keys are in use and no exchange runs any more."""
        status = self.session.status(0.0)
        keys_used = status.send_packets > 0 and status.receive_packets > 0
        return keys_used and status.exchange is State.IDLE

    def turn(self, incoming: list[bytes], source: Address, now: float) -> list[bytes]:
        """Let it receive, wake and answer; returns the datagrams it sends."""
        start = time.process_time_ns()
        for datagram in incoming:
            self.session.receive(datagram, source, now, WALL + now)
        self.session.wake(now, WALL + now)
        outgoing = [datagram for datagram, _ in self.session.datagrams()]
        self.cpu_ns += time.process_time_ns() - start
        return outgoing


def _exchange() -> tuple[int, int]:
    """One exchange; CPU nanoseconds of both sides."""
    first, second = _Side(ADDRESSES[1]), _Side(ADDRESSES[0])
    now, to_first = 0.0, list[bytes]()
    while not (first.done and second.done):
        if now > LIMIT_S:
            raise RuntimeError("the exchange did not finish")
        to_second = first.turn(to_first, ADDRESSES[1], now)
        to_first = second.turn(to_second, ADDRESSES[0], now)
        now += ROUND_TRIP_S
    return first.cpu_ns, second.cpu_ns


def _primitives() -> int:
    """CPU nanoseconds of the asymmetric operations of one side."""
    suite = SystemSuite()
    peer_kem, peer_ecdh = suite.kem_key_pair(), suite.ecdh_key_pair()
    ciphertext, _ = suite.kem_encapsulate(peer_kem.public)
    start = time.process_time_ns()
    suite.kem_key_pair()
    suite.kem_encapsulate(peer_kem.public)
    peer_kem.decapsulate(ciphertext)
    for _ in range(2):
        suite.ecdh_key_pair().exchange(peer_ecdh.public)
    return time.process_time_ns() - start
