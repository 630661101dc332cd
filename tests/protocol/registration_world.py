"""A registration, some cathedrals made of offers alone, and a clock that jumps to what is next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.deterministic import SeededSuite
from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.cathedral_offers import open_request_untrusted, seal_answer
from chancel.protocol.registration import Registration
from chancel.protocol.registration_events import RegistrationEvent
from chancel.protocol.registration_types import Registrant, RegistrationCommand
from chancel.vault.secret import Secret
from chancel.wire.ambry import Header, expiry
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId

C = TypeVar("C")
E = TypeVar("E")

SUITE = SeededSuite(b"registration")
SECRET = bytes(range(32))
SIGNING = bytes(range(32, 64))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SIGNING).public_key().public_bytes_raw()
KEK = bytes(range(64, 96))
SHARED = bytes(range(96, 128))
FLOCKS = Flocks(FlockId(0xCAFEBA07), FlockId(0xCAFEBA07))
IDENTITY = CathedralId(0xBADF00D)
TUNNEL = TunnelId(0xCAFE)
INSTANCE = InstanceId(0x1122334455667788)
BASE = client_offer_base(SUITE, SECRET, FLOCKS.own)

NOW = 500.0
WALL = 1_760_000_000.5
NAT_PORT = 4501
PEER = Address("198.51.100.7", 40000)
FIRST, SECOND, THIRD = (Address(f"192.0.2.{number}", 4500) for number in (1, 2, 3))

LIMIT_S = 3.0
"""A cathedral passes on one info in so much time (cathedral section 4.4.6)."""
TURN_S = 3.15
"""Infos in turn keep a margin to that."""
OUT_OF_TURN_S = 10.0
"""An info that is sooner must tell of a new SPI, and no other such one may be closer than this."""

REMEMBRANCE_S = 15.0
SETTLE_S = 15.0
"""A cathedral judges no NAT sooner after it first heard of an end."""
MAX_WAKES_WITHOUT_TIME = 4


def registrant(**changes: object) -> Registrant:
    """The client of these tests, without ambries, NAT detection and remembrance."""
    client = Registrant(
        IDENTITY, FLOCKS, TUNNEL, lambda: Secret(SECRET), lambda: Secret(SIGNING + PUBLIC)
    )
    return dataclasses.replace(client, **changes)  # type: ignore[arg-type]


def remembering() -> Registrant:
    return registrant(remember=True)


def ambry(
    generation: int,
    *,
    kek: bytes = KEK,
    tunnel: TunnelId = TUNNEL,
    flocks: Flocks = FLOCKS,
    days: int = 30,
) -> AmbryBody:
    """The shared secret, wrapped for this device."""
    header = Header(expiry(WALL, days), generation, bytes(64))
    wrapping = Wrapping(SUITE, header, flocks)
    wrapped = wrapping.wrap(derived_kek(SUITE, kek, flocks), tunnel, SHARED)
    return AmbryBody(tunnel, header, wrapped)


def said(body: Answer, timestamp: float = WALL, identity: CathedralId = IDENTITY) -> bytes:
    """A cathedral's words to this client."""
    return seal_answer(SUITE, BASE, identity, int(timestamp), body)


class Sent(NamedTuple):
    """A datagram of the client: when, of which kind, where to, and what it says."""

    at: float
    magic: bytes
    to: Address
    info: InfoBody


class Cathedral:
    """Answers infos as section 4.4 has it; knows of no other client.

    ``peer`` is what it answers, ``None`` while the peer isn't registered. If ``peer_judged_at`` is
    a time, it answers so only from then on, and if it could judge our NAT; before that it relays.
    ``whole_seconds``: its clock has no others, as the reference's. While ``dead`` it says nothing.
    """

    def __init__(self, address: Address, remembers: Iterable[Address] = ()) -> None:
        self.address = address
        self.remembers = tuple(remembers) or (address,)
        self.peer: Address | None = None
        self.ambry: AmbryBody | None = None
        self.dead = False
        self.clock_s = 0.0
        self.whole_seconds = False
        self.peer_judged_at: float | None = None
        self.passed_on: list[InfoBody] = []
        """The infos that other cathedrals got to see."""
        self._judged = False
        self._settled_at = 0.0
        self._pass_on_at = 0.0
        self._instance: InstanceId | None = None
        self._remember_at = 0.0

    def hear(self, info: InfoBody, now: float, wall: float) -> list[bytes]:
        """What it sends back."""
        if self.dead:
            return []
        clock = self._clock(now)
        known, self._instance = self._instance, info.instance
        if known != info.instance:
            self._judged, self._settled_at = False, clock + SETTLE_S
        says: list[Answer] = []
        if known in (None, info.instance):
            if self.peer is not None:
                says.append(AnswerBody(self._where(now)))
            if info.wants_remembrance and clock >= self._remember_at:
                self._remember_at = clock + REMEMBRANCE_S
                says.append(RemembranceBody(self.remembers))
        if clock >= self._pass_on_at:
            self._pass_on_at = clock + LIMIT_S
            self.passed_on.append(info)
        has = self.ambry
        if has and not info.skips_ambry and info.generation != has.header.generation:
            says.append(has)
        return [said(body, wall + self.clock_s) for body in says]

    def judge(self, now: float) -> None:
        """A message of NAT detection comes from where the last info came from."""
        if self._instance is not None and not self.dead and self._clock(now) >= self._settled_at:
            self._judged = True

    def _where(self, now: float) -> Address | None:
        at = self.peer_judged_at
        return self.peer if at is None or (self._judged and now >= at) else self.address

    def _clock(self, now: float) -> float:
        return float(int(now)) if self.whole_seconds else now


class World:
    """The client and its cathedrals. ``lost`` says of each answer whether it never arrives."""

    def __init__(
        self,
        *cathedrals: Cathedral,
        client: Registrant | None = None,
        configured: Iterable[Address] | None = None,
        behaviour: Behaviour = CHANCEL,
        instance: InstanceId = INSTANCE,
        now: float = NOW,
    ) -> None:
        self.now = now
        self.wall_ahead_s = WALL - NOW
        self.cathedrals = {each.address: each for each in cathedrals}
        self.sent: list[Sent] = []
        self.commands: list[RegistrationCommand] = []
        self.events: list[RegistrationEvent] = []
        self.lost: Callable[[], bool] = lambda: False
        self._turns: dict[Address, float] = {}
        self._out_of_turn: dict[Address, float] = {}
        addresses = tuple(self.cathedrals) if configured is None else tuple(configured)
        self.client = client or registrant()
        self.registration = Registration(
            *(SUITE, self.client, addresses, self.now, self.wall),
            instance=instance,
            behaviour=behaviour,
        )
        self.settle()

    @property
    def wall(self) -> float:
        return self.now + self.wall_ahead_s

    @property
    def infos(self) -> list[Sent]:
        return [each for each in self.sent if each.magic == CATHEDRAL.magic]

    def receive(self, datagram: bytes, source: Address = FIRST) -> list[Drop]:
        """Hand over one datagram; returns why it was dropped, if it was."""
        before = self.registration.drops.copy()
        self.registration.receive(datagram, source, self.now, self.wall)
        self.settle()
        return list((self.registration.drops - before).elements())

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (due := self.registration.wake_at()) is not None and due <= end:
            self.now = max(self.now, due)
            self.settle()
        self.now = end

    def settle(self) -> None:
        """Do all that is due now."""
        for _ in range(MAX_WAKES_WITHOUT_TIME):
            self._take()
            due = self.registration.wake_at()
            if due is None or due > self.now:
                return
            self.registration.wake(self.now, self.wall)
        raise AssertionError(f"{self.registration} never rests")

    def took(self, kind: type[C]) -> list[C]:
        """The commands of a kind since the last call, which forgets all others."""
        self.settle()
        commands, self.commands = self.commands, []
        return [each for each in commands if isinstance(each, kind)]

    def told(self, kind: type[E]) -> list[E]:
        """The events of a kind since the last call, which forgets all others."""
        self.settle()
        events, self.events = self.events, []
        return [each for each in events if isinstance(each, kind)]

    def _take(self) -> None:
        self.commands += self.registration.commands()
        while (event := self.registration.next_event()) is not None:
            self.events.append(event)
        for datagram, to in self.registration.datagrams():
            self._carry(datagram, to)

    def _carry(self, datagram: bytes, to: Address) -> None:
        layout = CATHEDRAL if datagram.startswith(CATHEDRAL.magic) else NAT
        header = layout.decode_untrusted(datagram)
        base = client_offer_base(SUITE, SECRET, self.client.flocks.own)
        request = open_request_untrusted(SUITE, base, PUBLIC, header, datagram, self.wall, layout)
        assert isinstance(request.body, InfoBody)
        assert (request.identity, header.flocks) == (IDENTITY, self.client.flocks)
        sent = Sent(self.now, layout.magic, to, request.body)
        if layout is NAT:
            self.sent.append(sent)
            for each in self.cathedrals.values():
                if to == Address(each.address.host, NAT_PORT):
                    each.judge(self.now)
            return
        self._refuse_hasty(sent)
        self.sent.append(sent)
        cathedral = self.cathedrals.get(to)
        if cathedral is not None:
            for answer in cathedral.hear(request.body, self.now, self.wall):
                if not self.lost():
                    self.registration.receive(answer, to, self.now, self.wall)
            self._take()

    def _refuse_hasty(self, sent: Sent) -> None:
        if sent.at - self._turns.get(sent.to, -math.inf) >= TURN_S:
            self._turns[sent.to] = sent.at
            return
        before = next(each.info for each in reversed(self.infos) if each.to == sent.to)
        told = {before.receiving, before.pending, None}
        assert not {sent.info.receiving, sent.info.pending} <= told
        assert sent.at - self._out_of_turn.get(sent.to, -math.inf) >= OUT_OF_TURN_S
        self._out_of_turn[sent.to] = sent.at
