"""A liar: a device that lies in every field of every message, to cathedrals and to other devices.

It is a client like others: it has an ``allow`` line, a cathedral secret and a COSK, and signs and
seals what it says. What no device has of others, it hasn't: their keys, their tunnels' secrets,
those of cathedrals. With a ``shared`` secret it is a peer that lies.

A message is cut into its fields, all of them, those that nobody looks at as well. One is replaced,
by zeros, ones, random bytes or what stands in that field of an honest device; then it is signed and
sealed, so that whoever takes it has to judge what it says.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind, Purpose, base_key
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.suite import Suite
from chancel.protocol.sealing import seal_offer
from chancel.wire import cathedral, offer
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.offer import EXTRA_BYTES, SEED_BYTES, OfferHeader, OfferLayout
from chancel.wire.types import FlockId, Flocks, Spi

Fields = Mapping[str, int]
"""Names and sizes in bytes, in order."""

BODIES: Final[Mapping[str, tuple[int, Fields]]] = MappingProxyType(
    {
        "ambry": (2, {"tunnel": 2, "expires": 2, "generation": 4, "seed": 64, "wrapped": 48}),
        "info": (
            3,
            {
                "flags": 4,
                "address": 6,
                "local": 6,
                "tunnel": 2,
                "generation": 4,
                "receiving": 4,
                "pending": 4,
                "instance": 8,
            },
        ),
        "liturgy": (4, {"id": 1, "group": 2, "peers": 255, "hidden": 1, "flags": 4}),
        "remembrance": (5, {"hosts": 128, "ports": 64}),
        "exchange": (
            6,
            {
                "id": 8,
                "spi": 4,
                "salt": 4,
                "state": 1,
                "fragment": 1,
                "ecdh": 32,
                "kem": 392,
            },
        ),
        "peer info": (7, {"address": 6, "tunnel": 2, "reachable": 4}),
    }
)
"""What offers say: type, and the fields of the body."""

HEAD: Final[Fields] = MappingProxyType({"magic": 8, "own": 8, "peer": 8, "spi": 4, "seed": 64})
DATA: Final[Fields] = MappingProxyType({"type": 1, "timestamp": 8})
TRAFFIC: Final[Fields] = MappingProxyType(
    {"spi": 4, "sequence": 4, "number": 8, "own": 8, "peer": 8, "payload": 90}
)
"""What devices send each other, under keys that the liar has not."""

LAYOUTS: Final = (cathedral.CATHEDRAL, cathedral.NAT, cathedral.FEDERATION, offer.CURRENT)
MESSAGES: Final = (*BODIES, "traffic")

Lies = Mapping[int, Sequence[bytes]]
"""What stands in fields of honest devices, by size."""


def fields_of(message: str) -> list[str]:
    """All that there is to lie about in a message."""
    if message == "traffic":
        return list(TRAFFIC)
    return [*HEAD, *DATA, *BODIES[message][1], "padding", "extra", "tail"]


@dataclasses.dataclass(frozen=True, slots=True)
class Liar:
    """One device. ``secret`` is its cathedral secret, ``cosk`` its key pair, 64 bytes."""

    suite: Suite
    rng: random.Random
    flock: FlockId
    identity: CathedralId
    secret: bytes
    cosk: bytes
    truth: Mapping[str, bytes]
    """What an honest device would say, by field; zeros where nothing is given."""
    honest: Lies
    shared: bytes = bytes(32)
    """The secret of a tunnel; any, unless it is a lying peer."""

    def lies(self, message: str, wall: float) -> Iterator[tuple[str, bytes]]:
        """One lie about each field, and its name."""
        for field in fields_of(message):
            yield field, self.say(message, wall, field)

    def say(self, message: str, wall: float, lie: str | None = None) -> bytes:
        """A message, the truth but for one field."""
        if message == "traffic":
            return b"".join(self._parts(TRAFFIC, lie).values())
        type_, fields = BODIES[message]
        told = {"type": bytes((type_,)), "timestamp": int(wall).to_bytes(8, "big")}
        shown = {"peer": bytes(8)} if message == "liturgy" else {}
        head = self._parts(HEAD, lie, {"seed": self.suite.random(SEED_BYTES), **shown})
        data = b"".join(self._parts({**DATA, **fields}, lie, told).values())
        padding = bytes(offer.DATA_BYTES - len(data))
        data += self._lied(padding) if lie == "padding" else padding
        layout = self._layout(message, lie, head["magic"])
        extra = self._extra(layout, data)
        header = OfferHeader(
            Spi(int.from_bytes(head["spi"], "big")),
            Flocks(*(FlockId(int.from_bytes(head[name], "big")) for name in ("own", "peer"))),
            head["seed"],
        )
        kind, base = self._keys(layout)
        extra = self._lied(extra) if lie == "extra" else extra
        sealed = seal_offer(self.suite, kind, base, header, data + extra, layout)
        return sealed + (self.rng.randbytes(self.rng.randrange(1, 700)) if lie == "tail" else b"")

    def _layout(self, message: str, lie: str | None, magic: bytes) -> OfferLayout:
        """Of the message: a client's words by default."""
        if lie == "magic":
            choice = self.rng.choice((*LAYOUTS, None))
            return choice or dataclasses.replace(offer.CURRENT, magic=magic)
        return offer.CURRENT if message == "exchange" else cathedral.CATHEDRAL

    def _keys(self, layout: OfferLayout) -> tuple[OfferKind, bytes]:
        flocks = Flocks(self.flock, self.flock)
        if layout.magic == offer.MAGIC:
            base = base_key(self.suite, Purpose.PEER_OFFER, self.shared, flocks)
            return OfferKind.EXCHANGE, base
        return OfferKind.CATHEDRAL, client_offer_base(self.suite, self.secret, self.flock)

    def _extra(self, layout: OfferLayout, data: bytes) -> bytes:
        """The signature, or the fixed random value of an exchange."""
        if layout.magic == offer.MAGIC:
            return self.truth.get("extra", bytes(EXTRA_BYTES))
        return self.suite.sign(self.cosk[: ed25519.SEED_BYTES], data)

    def _parts(
        self, fields: Fields, lie: str | None, told: Mapping[str, bytes] = MappingProxyType({})
    ) -> dict[str, bytes]:
        parts = {
            name: told.get(name, self.truth.get(name, bytes(size))[:size])
            for name, size in fields.items()
        }
        if lie in parts:
            parts[lie] = self._lied(parts[lie])
        return parts

    def _lied(self, true: bytes) -> bytes:
        size = len(true)
        ones, noise = b"\xff" * size, self.rng.randbytes(size)
        near = (int.from_bytes(true, "big") + 1 & (1 << 8 * size) - 1).to_bytes(size, "big")
        return self.rng.choice((bytes(size), ones, noise, near, *self.honest.get(size, ())))
