"""What a cathedral or its client may say is read as it was written, and all else refused.

Cathedral sections 1.6, 2, 5.4, 6.1, 7.1 and 8.4: decrypted data (451 bytes) of each way, and the
file of a remembrance (192 bytes). What follows a body is free, so bytes are compared once written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from chancel.errors import RemoteProtocolError
from chancel.wire.ambry import Header
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import ANSWERS, FEDERATED, REQUESTS
from chancel.wire.cathedral_fields import TunnelId
from chancel.wire.info import AnswerBody, InfoBody, encode_local
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import DATA_BYTES, AnyBody, decode_data_untrusted, encode_data
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import SLOTS, TABLE_BYTES, RemembranceBody
from chancel.wire.types import Address, InstanceId, Spi

WAYS: tuple[Mapping[int, type[Any]], ...] = (REQUESTS, ANSWERS, FEDERATED)


def check(data: bytes) -> None:
    for bodies in WAYS:
        with contextlib.suppress(RemoteProtocolError):
            timestamp, body = decode_data_untrusted(memoryview(data), bodies)
            assert len(data) == DATA_BYTES
            assert type(body) is bodies[data[0]]
            again = encode_data(timestamp, body)
            assert again[:9] == data[:9]
            assert decode_data_untrusted(again, bodies) == (timestamp, body)
    if len(data) >= TABLE_BYTES:
        known = RemembranceBody.decode_table_untrusted(memoryview(data))
        assert len(known.cathedrals) <= SLOTS
        assert RemembranceBody.decode_table_untrusted(known.encode_table()) == known


def seeds() -> Iterator[bytes]:
    here = Address("192.0.2.1", 31337)
    tunnel = TunnelId(0xCAFE)
    bodies: tuple[AnyBody, ...] = (
        InfoBody(tunnel, InstanceId(1), 2, Spi(3), Spi(4), wants_remembrance=True),
        AnswerBody(here, encode_local(here), same_external_ipv4=True),
        LiturgyBody(1, 2, b"\1" * 255, hidden=True, signaling=True),
        RemembranceBody((here,) * SLOTS),
        AmbryBody(tunnel, Header(1157, 2, bytes(range(64))), bytes(range(48))),
        PeerInfoBody(tunnel, here, reachable=True),
    )
    for body in bodies:
        yield encode_data(1_760_000_000, body)
    yield RemembranceBody((here, here)).encode_table()
