"""Offers to, from and between cathedrals: signing, sealing and opening (cathedral section 1).

A client seals a *request* under its cathedral secret and signs it with its COSK (cathedral offer
signing key), so that a cathedral can pass it on to others, which share no secret with the client
that only both would know. A cathedral's *answer* is sealed under the same secret and not signed;
cathedrals seal for each other under their own.

Whoever opens reads the header first (``wire.cathedral``): it says whose keys it takes.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Final, Generic

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind
from chancel.crypto.suite import Suite
from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.protocol import profile
from chancel.protocol.sealing import open_offer_untrusted, seal_offer
from chancel.wire.cathedral import (
    ANSWERS,
    CATHEDRAL,
    FEDERATED,
    FEDERATION,
    REQUESTS,
    Answer,
    Federated,
    Request,
)
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.drop import Drop
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import (
    DATA_BYTES,
    EXTRA_BYTES,
    SEED_BYTES,
    B,
    OfferHeader,
    OfferLayout,
    decode_data_untrusted,
    encode_data,
)
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Buffer, FlockId, Flocks, Spi

COSK_BYTES: Final = ed25519.SEED_BYTES + ed25519.PUBLIC_BYTES
"""A COSK as its file has it: the private seed, then the public key."""

_FLOCKS = struct.Struct("!QQ")
_EXTRA_AT = SEED_BYTES + _FLOCKS.size
_FRESH_BYTES = _EXTRA_AT + EXTRA_BYTES
"""What is new in each answer, drawn at once: seed, flocks to show, and ``extra``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Opened(Generic[B]):
    """An authentic offer.

    ``timestamp`` is the wall clock of whoever made the data, in whole seconds. ``plaintext`` is
    data and extra as they came, which a request needs to be passed on: its signature covers bytes
    after the body that mean nothing.
    """

    header: OfferHeader
    timestamp: int
    body: B
    plaintext: bytes = dataclasses.field(repr=False)

    @property
    def identity(self) -> CathedralId:
        """The client that it is from, for or about."""
        return CathedralId(self.header.spi)


def seal_request(
    suite: Suite,
    base: Buffer,
    flocks: Flocks,
    identity: CathedralId,
    timestamp: int,
    body: Request,
    cosk: Buffer,
    layout: OfferLayout = CATHEDRAL,
) -> bytes:
    """Return the bytes of a client's request; those of NAT detection have a layout of their own.

    ``base`` is a ``client_offer_base``, ``flocks`` are with their domains: what a liturgy shows of
    them is its sender's alone. Raises ``LocalProtocolError`` if ``cosk`` has less than 64 bytes.
    """
    if len(cosk) < COSK_BYTES:
        raise LocalProtocolError(f"a COSK has {COSK_BYTES} bytes, not {len(cosk)}")
    shown = Flocks(flocks.own, FlockId(0)) if isinstance(body, LiturgyBody) else flocks
    data = encode_data(timestamp, body)
    signature = suite.sign(cosk[: ed25519.SEED_BYTES], data)
    header = OfferHeader(Spi(identity), shown, suite.random(SEED_BYTES))
    return seal_offer(suite, OfferKind.CATHEDRAL, base, header, data + signature, layout)


def open_request_untrusted(
    suite: Suite,
    base: Buffer,
    public: bytes,
    header: OfferHeader,
    datagram: Buffer,
    wall: float,
    layout: OfferLayout = CATHEDRAL,
) -> Opened[Request]:
    """Open a client's request and check its time and its signature, in this order.

    ``base`` is the ``client_offer_base`` and ``public`` the public half of the COSK of the client
    that the header names. Raises ``RemoteProtocolError``: ``OFFER_BAD_TAG``, ``OFFER_TYPE``,
    ``OFFER_TIME``, ``OFFER_SIGNATURE``.
    """
    plaintext = open_offer_untrusted(suite, OfferKind.CATHEDRAL, base, header, datagram, layout)
    request = _decode_untrusted(header, plaintext, REQUESTS)
    _refuse_late(request.timestamp, wall)
    _refuse_unsigned(suite, public, plaintext)
    return request


def seal_answer(
    suite: Suite, base: Buffer, identity: CathedralId, timestamp: int, body: Answer
) -> bytes:
    """Return the bytes of a cathedral's answer to this client; the flocks it shows are noise."""
    fresh = suite.random(_FRESH_BYTES)
    seed, shown, extra = fresh[:SEED_BYTES], fresh[SEED_BYTES:_EXTRA_AT], fresh[_EXTRA_AT:]
    own, peer = _FLOCKS.unpack(shown)
    header = OfferHeader(Spi(identity), Flocks(FlockId(own), FlockId(peer)), seed)
    plaintext = encode_data(timestamp, body) + extra
    return seal_offer(suite, OfferKind.CATHEDRAL, base, header, plaintext, CATHEDRAL)


def open_answer_untrusted(
    suite: Suite, base: Buffer, identity: CathedralId, datagram: Buffer
) -> Opened[Answer]:
    """Open a cathedral's answer to this client. Its time is not judged: a clock may be wrong, and
    somebody should hear of it.

    Raises ``RemoteProtocolError``: ``OFFER_TOO_SHORT``, ``OFFER_TYPE``, ``OFFER_BAD_TAG``,
    ``OFFER_IDENTITY`` (it is for another client).
    """
    header = CATHEDRAL.decode_untrusted(datagram)
    plaintext = open_offer_untrusted(suite, OfferKind.CATHEDRAL, base, header, datagram, CATHEDRAL)
    answer = _decode_untrusted(header, plaintext, ANSWERS)
    if answer.identity != identity:
        raise RemoteProtocolError(Drop.OFFER_IDENTITY)
    return answer


def seal_passed_on(suite: Suite, base: Buffer, request: Opened[Request]) -> bytes:
    """Return the bytes that pass a client's request on to other cathedrals, signature and all.

    ``base`` is a ``federation_offer_base``. A liturgy now shows its sender's flock twice.
    """
    flocks = request.header.flocks
    if isinstance(request.body, LiturgyBody):
        flocks = Flocks(flocks.own, flocks.own)
    header = OfferHeader(request.header.spi, flocks, suite.random(SEED_BYTES))
    return seal_offer(suite, OfferKind.FEDERATION, base, header, request.plaintext, FEDERATION)


def seal_peer_info(
    suite: Suite,
    base: Buffer,
    flocks: Flocks,
    identity: CathedralId,
    timestamp: int,
    body: PeerInfoBody,
) -> bytes:
    """Return the bytes that tell other cathedrals of a client, whose flocks and identity they show.

    ``base`` is a ``federation_offer_base``.
    """
    fresh = suite.random(SEED_BYTES + EXTRA_BYTES)
    header = OfferHeader(Spi(identity), flocks, fresh[:SEED_BYTES])
    plaintext = encode_data(timestamp, body) + fresh[SEED_BYTES:]
    return seal_offer(suite, OfferKind.FEDERATION, base, header, plaintext, FEDERATION)


def open_federated_untrusted(
    suite: Suite, base: Buffer, public: bytes, header: OfferHeader, datagram: Buffer, wall: float
) -> Opened[Federated]:
    """Open what another cathedral sent and check its time; and a request's signature.

    ``base`` is a ``federation_offer_base``, ``public`` as in :func:`open_request_untrusted`. Raises
    ``RemoteProtocolError``: ``OFFER_BAD_TAG``, ``OFFER_TYPE``, ``OFFER_TIME``, ``OFFER_SIGNATURE``.
    """
    kind = OfferKind.FEDERATION
    plaintext = open_offer_untrusted(suite, kind, base, header, datagram, FEDERATION)
    offer = _decode_untrusted(header, plaintext, FEDERATED)
    _refuse_late(offer.timestamp, wall)
    if not isinstance(offer.body, PeerInfoBody):
        _refuse_unsigned(suite, public, plaintext)
    return offer


def _decode_untrusted(
    header: OfferHeader, plaintext: bytes, bodies: Mapping[int, type[B]]
) -> Opened[B]:
    timestamp, body = decode_data_untrusted(plaintext[:DATA_BYTES], bodies)
    return Opened(header, timestamp, body, plaintext)


def _refuse_late(timestamp: int, wall: float) -> None:
    if abs(timestamp - int(wall)) > profile.CURRENT.offer_validity_s:
        raise RemoteProtocolError(Drop.OFFER_TIME)


def _refuse_unsigned(suite: Suite, public: bytes, plaintext: bytes) -> None:
    data, signature = plaintext[:DATA_BYTES], plaintext[DATA_BYTES:]
    if not suite.verify_untrusted(public, data, signature):
        raise RemoteProtocolError(Drop.OFFER_SIGNATURE)
