"""What is sealed for a cathedral or its client is opened or refused, and counts only if signed.

Cathedral sections 1.7, 2.4, 4.1 and 5.2. The input is a datagram, and the plaintext (data and
extra) of one under the right key. An answer and a peer info need no signature.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto import ed25519
from chancel.crypto.kdf import OfferKind
from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral_offers import (
    open_answer_untrusted,
    open_federated_untrusted,
    open_request_untrusted,
    seal_passed_on,
)
from chancel.protocol.sealing import seal_offer
from chancel.sim.suite import FastSuite
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import (
    DATA_BYTES,
    EXTRA_BYTES,
    OFFER_BYTES,
    PLAINTEXT_BYTES,
    AnyBody,
    OfferHeader,
    encode_data,
)
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import NO_FLOCKS, InstanceId, Spi

MOST_BYTES = 700

_SUITE = FastSuite(random.Random(0))
_BASE = bytes(range(32))
_SEED = bytes(range(32, 64))
_PUBLIC = Ed25519PrivateKey.from_private_bytes(_SEED).public_key().public_bytes_raw()
_IDENTITY = CathedralId(7)
_HEADER = OfferHeader(Spi(_IDENTITY), NO_FLOCKS, bytes(64))
_WALL = 1_760_000_000


def check(data: bytes) -> None:
    _open(data)
    plaintext = data[:PLAINTEXT_BYTES].ljust(PLAINTEXT_BYTES, b"\0")
    for layout in (CATHEDRAL, NAT):
        _open(seal_offer(_SUITE, OfferKind.CATHEDRAL, _BASE, _HEADER, plaintext, layout))
    _open(seal_offer(_SUITE, OfferKind.FEDERATION, _BASE, _HEADER, plaintext, FEDERATION))


def _open(datagram: bytes) -> None:
    for layout in (CATHEDRAL, NAT):
        with contextlib.suppress(RemoteProtocolError):
            header = layout.decode_untrusted(datagram)
            request = open_request_untrusted(
                _SUITE, _BASE, _PUBLIC, header, datagram, _WALL, layout
            )
            _require_signed(request.plaintext)
            passed = seal_passed_on(_SUITE, _BASE, request)
            header = FEDERATION.decode_untrusted(passed)
            again = open_federated_untrusted(_SUITE, _BASE, _PUBLIC, header, passed, _WALL)
            assert (again.body, again.plaintext) == (request.body, request.plaintext)
    with contextlib.suppress(RemoteProtocolError):
        header = FEDERATION.decode_untrusted(datagram)
        offer = open_federated_untrusted(_SUITE, _BASE, _PUBLIC, header, datagram, _WALL)
        assert len(datagram) >= OFFER_BYTES
        if not isinstance(offer.body, PeerInfoBody):
            _require_signed(offer.plaintext)
    with contextlib.suppress(RemoteProtocolError):
        answer = open_answer_untrusted(_SUITE, _BASE, _IDENTITY, datagram)
        assert answer.identity == _IDENTITY
        assert len(datagram) >= OFFER_BYTES


def _require_signed(plaintext: bytes) -> None:
    assert plaintext[DATA_BYTES:] == ed25519.sign(_SEED, plaintext[:DATA_BYTES])


def seeds() -> Iterator[bytes]:
    tunnel = TunnelId(0xCAFE)
    for request in (InfoBody(tunnel, InstanceId(1)), LiturgyBody(1, 2)):
        data = encode_data(_WALL, request)
        yield data + ed25519.sign(_SEED, data)
        yield data + bytes(EXTRA_BYTES)
    others: tuple[AnyBody, ...] = (
        RemembranceBody(()),
        PeerInfoBody(tunnel, None, reachable=False),
    )
    for body in others:
        yield encode_data(_WALL, body) + bytes(EXTRA_BYTES)
    yield CATHEDRAL.encode(_HEADER).ljust(OFFER_BYTES, b"\0")
