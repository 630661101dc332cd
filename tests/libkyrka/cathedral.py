"""A context and its cathedral, which says whatever it is told to say."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind, cathedral_shroud_key, shroud_base_identity
from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.system import SystemSuite
from chancel.protocol.cathedral_offers import open_request_untrusted, seal_answer
from chancel.protocol.sealing import seal_offer
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import is_mark_of_untrusted
from chancel.wire.ambry import Header, expiry
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, NAT, Answer, Request
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.offer import OfferHeader
from chancel.wire.types import FlockId, Flocks, Spi
from libkyrka import KYRKA
from libkyrka.context import make_context
from libkyrka.surroundings import Surroundings
from tests.libkyrka.ends import SUITE, Clock, Told
from tests.protocol.cathedral_records import recorded

KATEDRAL, CIBORIUM = (int.from_bytes(layout.magic, "big") for layout in (CATHEDRAL, NAT))
SELECTOR = 1
MTU = 1472


@dataclasses.dataclass(frozen=True)
class Client:
    """Who a client is to its cathedral, and the keys it has."""

    tunnel: TunnelId
    flocks: Flocks
    identity: CathedralId
    secret: bytes
    cosk: bytes
    kek: bytes

    def keywords(self, **others: Any) -> dict[str, Any]:
        """Arguments of ``cathedral_configure``, but ``send``."""
        return {
            "flock_src": int(self.flocks.own),
            "flock_dst": int(self.flocks.peer),
            "identity": int(self.identity),
            "tunnel": int(self.tunnel),
            "group": 0,
            **others,
        }

    def load_into(self, context: Any) -> None:
        """Load the keys, not by paths."""
        context.cathedral_secret_load(self.secret)
        context.cathedral_cosk_load(self.cosk)
        context.device_kek_load(self.kek)


_RECORDED = recorded("cathedral_info_libkyrka")[0]
LEFT = Client(
    TunnelId(0xCAFE),
    Flocks(FlockId(0xCAFEBA05), FlockId(0xCAFEBA05)),
    _RECORDED.identity,
    _RECORDED.cathedral_secret,
    _RECORDED.cosk,
    kek=bytes(range(32, 64)),
)
RIGHT = dataclasses.replace(
    LEFT,
    tunnel=TunnelId(0xFECA),
    identity=CathedralId(0x0BADCAFE),
    secret=bytes(range(64, 96)),
    kek=bytes(range(96, 128)),
)


class Cathedral:
    """The cathedral of one client."""

    def __init__(self, client: Client, wall: Callable[[], float], *, shroud: bool = False) -> None:
        self.client = client
        self._wall = wall
        self._base = client_offer_base(SUITE, client.secret, client.flocks.own)
        self._identity = shroud_base_identity(SUITE, client.flocks, client.identity)
        key = cathedral_shroud_key(SUITE, client.secret, client.flocks)
        self._shroud = Shroud(key, SUITE) if shroud else None

    def bare(self, datagram: bytes) -> bytes:
        """Take the shroud off, which must have our client's mark."""
        if self._shroud is None:
            return datagram
        assert len(datagram) <= MTU
        assert is_mark_of_untrusted(SUITE, self._identity, datagram)
        return self._shroud.unwrap(datagram)

    def masked(self, datagram: bytes) -> bytes:
        """Put the shroud on, if there is one."""
        return datagram if self._shroud is None else self._shroud.wrap(datagram, MTU)

    def hear(self, magic: int, datagram: bytes) -> tuple[Flocks, Request]:
        """Open a request, which must be whole, in time and signed: what it shows, and says."""
        layout = {KATEDRAL: CATHEDRAL, CIBORIUM: NAT}[magic]
        datagram = self.bare(datagram)
        header = layout.decode_untrusted(datagram)
        public = self.client.cosk[ed25519.SEED_BYTES :]
        opened = open_request_untrusted(
            SUITE, self._base, public, header, datagram, self._wall(), layout
        )
        assert opened.identity == self.client.identity
        return header.flocks, opened.body

    def say(self, body: Answer, *, skew_s: int = 0, identity: int | None = None) -> bytes:
        """An answer."""
        to = CathedralId(self.client.identity if identity is None else identity)
        return self.masked(seal_answer(SUITE, self._base, to, int(self._wall()) + skew_s, body))

    def utter(self, type_: int, body: bytes) -> bytes:
        """Any authentic answer at all; ``body`` has 442 bytes."""
        header = OfferHeader(Spi(self.client.identity), self.client.flocks, SUITE.random(64))
        plaintext = struct.pack("!BQ", type_, int(self._wall())) + body + bytes(64)
        kind = OfferKind.CATHEDRAL
        return seal_offer(SUITE, kind, self._base, header, plaintext, CATHEDRAL)

    def ambry(
        self,
        generation: int,
        secret: bytes,
        *,
        tunnel: int | None = None,
        kek: bytes | None = None,
        days: int = 30,
    ) -> AmbryBody:
        """The secret, wrapped."""
        client = self.client
        name = TunnelId(client.tunnel if tunnel is None else tunnel)
        header = Header(expiry(self._wall(), days), generation, SUITE.random(64))
        derived = derived_kek(SUITE, kek or client.kek, client.flocks)
        wrapped = Wrapping(SUITE, header, client.flocks).wrap(derived, name, secret)
        return AmbryBody(name, header, wrapped)


class Member:
    """A context, of our module or of the reference's library, whose callbacks take notes."""

    def __init__(
        self,
        context: Any,
        client: Client,
        wall: Callable[[], float],
        *,
        shroud: bool = False,
        **keywords: Any,
    ) -> None:
        self.context = context
        self.cathedral = Cathedral(client, wall, shroud=shroud)
        self.sent: list[bytes] = []
        self.asked: list[tuple[int, bytes]] = []
        self.heard: list[tuple[bytes, int]] = []
        self.events: list[Told] = []
        context.event_callback(lambda _, event, info, __: self.events.append((event, info)), None)
        context.purgatory_callback(lambda _, data, number, __: self.sent.append(data), None)
        context.heaven_callback(lambda _, data, number, __: self.heard.append((data, number)), None)
        if shroud:
            context.shroud_enable()
        client.load_into(context)
        context.cathedral_configure(send=self.note, udata=None, **client.keywords(**keywords))

    def note(self, _: object, data: bytes, magic: int, udata: object) -> None:
        """The ``send`` callback."""
        assert udata is None
        self.asked.append((magic, data))

    def requests(self) -> list[tuple[int, Flocks, Request]]:
        """Drain what the cathedral was asked: with which magic, what it showed, and said."""
        asked, self.asked = self.asked, []
        return [(magic, *self.cathedral.hear(magic, data)) for magic, data in asked]

    def infos(self) -> list[InfoBody]:
        """Drain what the cathedral was asked, which were infos all."""
        infos = [body for _, _, body in self.requests() if isinstance(body, InfoBody)]
        assert infos
        return infos

    def told(self) -> list[Told]:
        """Drain the events."""
        events, self.events = self.events, []
        return events

    def hear(self, body: Answer, **options: Any) -> list[Told]:
        """Hear the cathedral; returns what the program was told of it."""
        before = len(self.events)
        assert self.context.purgatory_input(self.cathedral.say(body, **options), SELECTOR) is True
        told = self.events[before:]
        del self.events[before:]
        return told

    def given(self, generation: int, secret: bytes) -> list[Told]:
        """Hear of an ambry."""
        return self.hear(self.cathedral.ambry(generation, secret))


class Parish:
    """Two members, and the cathedral that relays between them."""

    def __init__(self, left: Member, right: Member) -> None:
        self.left, self.right = self.both = left, right

    def carry(self) -> None:
        """Relay what was sent."""
        for sender, receiver in ((self.left, self.right), (self.right, self.left)):
            sent, sender.sent = sender.sent, []
            for datagram in sent:
                relayed = receiver.cathedral.masked(sender.cathedral.bare(datagram))
                receiver.context.purgatory_input(relayed, SELECTOR)

    def turn(self) -> list[int]:
        """One call of ``key_manage`` each; how many packets each sent."""
        for member in self.both:
            member.context.key_manage()
        counts = [len(member.sent) for member in self.both]
        self.carry()
        return counts

    def talk(self, data: bytes = b"ping") -> None:
        """One packet each way, as far as there are keys."""
        for member in self.both:
            member.context.heaven_input(data, SELECTOR)
        self.carry()


def context_of(clock: Clock, suite: SystemSuite = SUITE) -> KYRKA:
    """A context of ours."""
    return make_context(Surroundings(suite, clock.monotonic, clock.wall))


def joined(client: Client = LEFT, *, shroud: bool = False, **keywords: Any) -> Member:
    """A member of ours, with a clock that stands still."""
    clock = Clock()
    return Member(context_of(clock), client, clock.wall, shroud=shroud, **keywords)
