"""Batches do exactly what the same calls one by one do: bytes, events, drops, everything."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.profile import CURRENT, V0_9, Profile
from chancel.protocol.session import Session, SessionSettings
from chancel.protocol.traffic import Sealer
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.traffic import NEXT_INNER, OVERHEAD_BYTES
from chancel.wire.types import (
    NO_FLOCKS,
    Address,
    Buffer,
    FlockId,
    Flocks,
    Salt,
    SessionKey,
    Spi,
)
from tests.protocol.pair import SECRET, SUITE, WALL

LEFT, RIGHT = Address("192.0.2.1", 1001), Address("192.0.2.2", 1002)
ELSEWHERE = Address("198.51.100.3", 3)
MTU = 700
Batch = list[tuple[Buffer, Address]]


class Twins:
    """Two sessions that are fed the same, one of them in batches, and never differ."""

    def __init__(self, configured: SessionSettings, seed: int, now: float) -> None:
        self.single, self.batched = (
            Session(configured, FastSuite(random.Random(seed)), lambda: Secret(SECRET), now, WALL)
            for _ in range(2)
        )
        self.outgoing: Batch = []
        self.received: list[bytes] = []

    @property
    def both(self) -> tuple[Session, Session]:
        return self.single, self.batched

    def wake(self, now: float) -> None:
        for session in self.both:
            session.wake(now, WALL + now)
        self.compare(now)

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        sent = sum(self.single.send(payload, now) for payload in payloads)
        assert self.batched.send_batch(payloads, now) == sent
        self.compare(now)
        return sent

    def receive(self, batch: Batch, now: float) -> None:
        for datagram, source in batch:
            self.single.receive(datagram, source, now, WALL + now)
        self.batched.receive_batch(batch, now, WALL + now)
        self.compare(now)

    def compare(self, now: float) -> None:
        single, batched = self.both
        assert repr(batched) == repr(single)
        assert batched.status(now) == single.status(now)
        assert batched.wake_at() == single.wake_at()
        assert batched.is_up(now) == single.is_up(now)
        assert events(batched) == events(single)
        received = single.received()
        assert batched.received() == received
        outgoing = single.datagrams()
        assert batched.datagrams() == outgoing
        self.received += received
        self.outgoing += outgoing


def events(session: Session) -> list[object]:
    return list(iter(session.next_event, None))


class Network:
    """Two pairs of twins, and what happens to datagrams between them."""

    def __init__(self, configured: SessionSettings) -> None:
        self.now = 100.0
        mirrored = Flocks(configured.flocks.peer, configured.flocks.own)
        self.left = Twins(dataclasses.replace(configured, peer=RIGHT), 1, self.now)
        self.right = Twins(dataclasses.replace(configured, peer=None, flocks=mirrored), 2, self.now)
        self.history: Batch = []

    def settle(self, seconds: float = 0.0) -> None:
        """Let time pass, with all that is due in it; everything arrives at once."""
        until = self.now + seconds
        while True:
            while self.left.outgoing or self.right.outgoing:
                self.carry(self.left, self.right, LEFT)
                self.carry(self.right, self.left, RIGHT)
            times = [twins.single.wake_at() for twins in (self.left, self.right)]
            at = min((time for time in times if time is not None), default=until)
            if at > until:
                self.now = until
                return
            self.now = max(self.now, at)
            for twins in (self.left, self.right):
                twins.wake(self.now)

    def carry(self, sender: Twins, receiver: Twins, source: Address) -> None:
        batch: Batch = [(datagram, source) for datagram, _ in sender.outgoing]
        sender.outgoing.clear()
        self.history += batch
        receiver.receive(batch, self.now)

    def mistreat(self, rng: random.Random) -> None:
        """Carry from left to right what there is, as a bad network with a stranger in it does."""
        batch = [(datagram, LEFT) for datagram, _ in self.left.outgoing if rng.random() < 0.9]
        self.left.outgoing.clear()
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(batch) + 1)
            extra = rng.choice([*self.history[-40:], *batch, junk(rng)])
            batch.insert(at, rng.choice([extra, altered(extra, rng), (extra[0], ELSEWHERE)]))
        if len(batch) > 1 and rng.random() < 0.5:
            at, to = rng.randrange(len(batch)), rng.randrange(len(batch))
            batch.insert(to, batch.pop(at))
        self.history += batch
        self.right.receive(batch, self.now)
        self.carry(self.right, self.left, RIGHT)


def junk(rng: random.Random) -> tuple[Buffer, Address]:
    return rng.randbytes(rng.choice([0, 3, 49, 50, 51, 623, 1600])), LEFT


def altered(packet: tuple[Buffer, Address], rng: random.Random) -> tuple[Buffer, Address]:
    datagram, source = packet
    if not datagram:
        return packet
    changed = bytearray(datagram)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed), source


def ip_packets(sizes: Sequence[int], rng: random.Random) -> list[bytes]:
    """What looks like IPv4 packets, for TFC; one too small to be one stays as it is."""
    packets = []
    for size in sizes:
        packet = bytearray(rng.randbytes(size))
        packet[:4] = (b"\x45\x00" + size.to_bytes(2, "big"))[:size]
        packets.append(bytes(packet))
    return packets


FEW = dataclasses.replace(CURRENT, rekey_packets=25, send_limit_packets=60)
"""Keys for few packets, so that their limits lie within batches."""
OLD = dataclasses.replace(V0_9, rekey_packets=25, send_limit_packets=60)
FLOCKS = Flocks(FlockId(0x1122), FlockId(0x3344))

sizes = st.lists(st.sampled_from([0, 1, 20, 300, 300, 300, MTU, MTU + 1]), max_size=12)
steps = st.lists(
    st.tuples(sizes, st.sampled_from([0.0, 0.0, 0.3, 5.0, 16.0]), st.integers(0, 2**32)),
    max_size=14,
)


@settings(deadline=None, max_examples=120)
@given(
    steps,
    st.sampled_from([CURRENT, FEW, OLD]),
    st.sampled_from([CHANCEL, REFERENCE]),
    st.booleans(),
    st.booleans(),
)
def test_batches_and_single_packets_are_one_and_the_same(
    taken: list[tuple[list[int], float, int]],
    profile: Profile,
    behaviour: Behaviour,
    tfc: bool,
    shroud: bool,
) -> None:
    network = Network(
        SessionSettings(
            None,
            MTU,
            flocks=FLOCKS,
            profile=profile,
            behaviour=behaviour,
            tfc=tfc,
            shroud=shroud and profile is not OLD,
        )
    )
    for wanted, seconds, seed in taken:
        rng = random.Random(seed)
        network.left.send(ip_packets(wanted, rng), network.now)
        network.mistreat(rng)
        network.settle(seconds)


def connected(profile: Profile = CURRENT, *, tfc: bool = False, shroud: bool = False) -> Network:
    network = Network(SessionSettings(None, MTU, profile=profile, tfc=tfc, shroud=shroud))
    network.settle(2)
    assert network.left.single.is_up(network.now)
    assert network.right.single.is_up(network.now)
    network.right.received.clear()
    return network


@pytest.mark.parametrize(("tfc", "shroud"), [(False, False), (True, False), (False, True)])
def test_a_batch_arrives_whole_and_in_order(tfc: bool, shroud: bool) -> None:
    network = connected(tfc=tfc, shroud=shroud)
    sent = ip_packets([20, 300, MTU, 300] * 64, random.Random(1))
    assert network.left.send(sent, network.now) == len(sent)
    network.settle()
    assert network.right.received == sent


def test_what_is_not_ordinary_does_not_stop_the_rest_of_a_batch() -> None:
    network = connected()
    network.left.send([bytes([number]) * 30 for number in range(60)], network.now)
    rng = random.Random(7)
    batch: Batch = [(datagram, LEFT) for datagram, _ in network.left.outgoing]
    batch[10] = altered(batch[10], rng)
    batch[20:20] = [batch[3], (b"", LEFT), (bytes(1600), LEFT)]
    batch[30], batch[31] = batch[31], batch[30]
    batch[40] = (batch[40][0], ELSEWHERE)
    network.right.receive(batch, network.now)
    assert sorted(network.right.received) == [bytes([n]) * 30 for n in range(60) if n != 10]
    drops = network.right.single.drops
    assert drops[Drop.DUPLICATE] == 1
    assert sum(drops.values()) == 4


def test_a_batch_that_no_key_is_left_for_is_counted() -> None:
    network = connected(dataclasses.replace(CURRENT, send_limit_packets=40))
    left = network.left
    free = 39 - left.single.status(network.now).send_packets
    assert left.send([b"x"] * 50, network.now) == free
    assert left.single.drops[Drop.KEY_EXPIRED] == 1
    assert left.single.drops[Drop.NO_KEY] == 50 - free - 1


def test_before_there_are_keys_a_batch_is_counted() -> None:
    network = Network(SessionSettings(None, MTU))
    assert network.left.send([b"x"] * 3, network.now) == 0
    assert network.right.send([b"x", bytes(MTU + 1)], network.now) == 0
    assert network.left.single.drops == {Drop.NO_KEY: 3}
    assert network.right.single.drops == {Drop.NO_PEER: 1, Drop.SEND_TOO_LARGE: 1}


def test_buffers_of_any_kind_make_the_same_batch() -> None:
    network = connected()
    left, right = network.left, network.right
    left.send([b"abc"], network.now)
    left.batched.send_batch([bytearray(b"def"), memoryview(b"ghi")], network.now)
    datagrams = [datagram for datagram, _ in left.outgoing + left.batched.datagrams()]
    kinds = zip(datagrams, (bytes, bytearray, memoryview), strict=True)
    right.receive([(kind(datagram), LEFT) for datagram, kind in kinds], network.now)
    assert right.received == [b"abc", b"def", b"ghi"]


def test_a_batch_of_ordinary_packets_is_opened_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only right, but by the fast way."""
    network = connected()
    network.left.send([bytes(300)] * 100, network.now)
    batch: Batch = [(datagram, LEFT) for datagram, _ in network.left.outgoing]
    alone = []
    monkeypatch.setattr(Opener, "open_untrusted", lambda *arguments: alone.append(arguments))
    session = network.right.batched
    session.receive_batch(batch, network.now, WALL)
    assert (len(session.received()), alone) == (100, [])
    assert len(batch[0][0]) == 300 + OVERHEAD_BYTES


def run_of(
    sealed: Sealer, opener: Opener, *changes: Callable[[bytes], bytes], size: int = 30
) -> list[bytes]:
    """Seal three packets, change the second one, and open what is ordinary of them."""
    datagrams: list[Buffer] = list(sealed.seal_run([bytes(size)] * 3, NEXT_INNER, 0.0))
    for change in changes:
        datagrams[1] = change(bytes(datagrams[1]))
    return opener.open_run_untrusted(datagrams, 0.0)


def keyed(
    spi: int = 7, flocks: Flocks = NO_FLOCKS, profile: Profile = CURRENT
) -> tuple[Sealer, Opener]:
    sealer, opener = Sealer(flocks, SUITE, profile), Opener(NO_FLOCKS, SUITE, profile=profile)
    key = Spi(spi), Salt(b"salt"), SessionKey(bytes(32))
    sealer.execute(InstallSendKey(*key), 0.0)
    opener.execute(InstallReceiveKey(*key), 0.0)
    return sealer, opener


def test_runs_end_before_what_has_another_sequence() -> None:
    """Release 0.9.20 doesn't authenticate it."""
    assert len(run_of(*keyed(profile=V0_9))) == 3
    assert len(run_of(*keyed(profile=V0_9), lambda old: old[:4] + bytes(4) + old[8:])) == 1


def test_runs_have_no_packets_of_other_flocks() -> None:
    assert run_of(*keyed(flocks=FLOCKS)) == []


def test_runs_have_no_datagrams_that_are_too_long() -> None:
    assert len(run_of(*keyed(), size=MAX_DATAGRAM_BYTES - OVERHEAD_BYTES)) == 3
    assert run_of(*keyed(), size=MAX_DATAGRAM_BYTES - OVERHEAD_BYTES + 1) == []


def test_runs_end_before_what_is_too_short() -> None:
    assert len(run_of(*keyed(), lambda old: old[: OVERHEAD_BYTES - 1])) == 1


def test_under_the_spi_of_offers_there_are_no_runs() -> None:
    assert run_of(*keyed(int.from_bytes(MAGIC[:4], "big"))) == []


def test_without_a_key_there_are_no_runs() -> None:
    sealer, opener = keyed()
    opener.execute(EraseKeys(), 0.0)
    assert run_of(sealer, opener) == []
    sealer.execute(EraseKeys(), 0.0)
    assert sealer.seal_run([b"x"], NEXT_INNER, 0.0) == []
    assert not sealer.drops
