"""Messages of cathedrals: properties of the bodies, and their fields one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LocalProtocolError, RemoteProtocolError
from chancel.wire import cathedral, offer
from chancel.wire.ambry import Header
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import ANSWERS, FEDERATED, REQUESTS
from chancel.wire.cathedral_fields import TunnelId, decode_address, encode_address
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody, InfoBody, encode_local
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.offer import (
    BODY_BYTES,
    DATA_BYTES,
    AnyBody,
    ExchangeBody,
    KeyBody,
    OfferLayout,
    decode_data_untrusted,
    encode_data,
)
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import SLOTS, TABLE_BYTES, RemembranceBody
from chancel.wire.types import NO_FLOCKS, Address, InstanceId, Spi

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
spis = st.none() | st.integers(1, 2**32 - 1).map(Spi)
tunnels = u16.map(TunnelId)
addresses = st.builds(
    Address,
    st.ip_addresses(v=4).filter(int).map(str),
    st.integers(1, 65535),
)


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


infos = st.builds(
    InfoBody,
    tunnel=tunnels,
    instance=u64.map(InstanceId),
    generation=u32,
    receiving=spis,
    pending=spis,
    wants_remembrance=st.booleans(),
    skips_ambry=st.booleans(),
)
answers = st.builds(
    AnswerBody,
    peer=st.none() | addresses,
    local=exactly(6),
    same_external_ipv4=st.booleans(),
)
liturgies = st.builds(
    LiturgyBody,
    id=u8,
    group=u16,
    peers=exactly(PEERS_BYTES),
    hidden=st.booleans(),
    wants_remembrance=st.booleans(),
    signaling=st.booleans(),
)
remembrances = st.builds(RemembranceBody, cathedrals=st.lists(addresses, max_size=SLOTS).map(tuple))
ambries = st.builds(
    AmbryBody,
    tunnel=tunnels,
    header=st.builds(Header, expires=u16, generation=u32, seed=exactly(64)),
    wrapped=exactly(48),
)
peer_infos = st.builds(
    PeerInfoBody, tunnel=tunnels, address=st.none() | addresses, reachable=st.booleans()
)

Bodies = Mapping[int, type[Any]]
WAYS: dict[str, tuple[Bodies, st.SearchStrategy[AnyBody]]] = {
    "requests": (REQUESTS, infos | liturgies),
    "answers": (ANSWERS, ambries | answers | liturgies | remembrances),
    "federated": (FEDERATED, infos | liturgies | peer_infos),
}
TYPES = range(10)

ways = pytest.mark.parametrize(("bodies", "said"), WAYS.values(), ids=WAYS)
layouts = pytest.mark.parametrize(
    ("layout", "magic"),
    [
        (cathedral.CATHEDRAL, 0x4B4154454452414C),
        (cathedral.NAT, 0x4349424F5249554D),
        (cathedral.FEDERATION, 0x43415441434F4D42),
    ],
)

INFO = InfoBody(TunnelId(0xCAFE), InstanceId(0x1122334455667788))
HERE = Address("10.77.0.11", 52414)


@ways
@given(data=st.data(), timestamp=u64)
def test_what_is_said_survives_the_wire(
    bodies: Bodies, said: st.SearchStrategy[AnyBody], data: st.DataObject, timestamp: int
) -> None:
    body = data.draw(said)
    encoded = encode_data(timestamp, body)
    assert len(encoded) == DATA_BYTES
    assert decode_data_untrusted(memoryview(encoded), bodies) == (timestamp, body)


@ways
@given(junk=st.builds(bytes.__add__, st.sampled_from([bytes((t,)) for t in TYPES]), exactly(450)))
def test_any_bytes_are_something_said_or_refused(
    bodies: Bodies, said: st.SearchStrategy[AnyBody], junk: bytes
) -> None:
    if junk[0] not in bodies:
        with pytest.raises(RemoteProtocolError) as refusal:
            decode_data_untrusted(junk, bodies)
        assert refusal.value.reason is Drop.OFFER_TYPE
        return
    timestamp, body = decode_data_untrusted(junk, bodies)
    again = encode_data(timestamp, body)
    assert decode_data_untrusted(again, bodies) == (timestamp, body)


@ways
@given(junk=st.binary(max_size=600).filter(lambda junk: len(junk) != DATA_BYTES))
def test_data_has_one_length(bodies: Bodies, said: st.SearchStrategy[AnyBody], junk: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        decode_data_untrusted(junk, bodies)
    assert refusal.value.reason is Drop.OFFER_TOO_SHORT


@pytest.mark.parametrize(
    ("bodies", "types"), [(REQUESTS, {3, 4}), (ANSWERS, {2, 3, 4, 5}), (FEDERATED, {3, 4, 7})]
)
def test_who_may_say_what(bodies: Bodies, types: set[int]) -> None:
    assert bodies.keys() == types
    assert {body.TYPE for body in bodies.values()} == types
    assert types.isdisjoint({ExchangeBody.TYPE, KeyBody.TYPE})


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (INFO, 38),
        (AnswerBody(HERE), 38),
        (LiturgyBody(1, 2), 263),
        (RemembranceBody((HERE,)), 192),
        (AmbryBody(TunnelId(1), Header(1, 2, bytes(64)), bytes(48)), 120),
        (PeerInfoBody(TunnelId(1), HERE, reachable=True), 12),
    ],
)
def test_what_follows_a_body_is_zero_and_ignored(body: AnyBody, size: int) -> None:
    encoded = body.encode()
    assert len(encoded) == BODY_BYTES
    assert not any(encoded[size:])
    littered = encoded[:size] + b"\xa5" * (BODY_BYTES - size)
    assert type(body).decode_untrusted(littered, 0) == body


@pytest.mark.parametrize(
    ("body", "at", "expected"),
    [
        (InfoBody(TunnelId(1), InstanceId(0), wants_remembrance=True), 0, "01000000"),
        (InfoBody(TunnelId(1), InstanceId(0), skips_ambry=True), 0, "02000000"),
        (INFO, 16, "cafe"),
        (INFO, 30, "1122334455667788"),
        (InfoBody(TunnelId(1), InstanceId(0), 0xA1B2C3D4), 18, "a1b2c3d4"),
        (InfoBody(TunnelId(1), InstanceId(0), 0, Spi(0xCAFE1234)), 22, "3412feca"),
        (InfoBody(TunnelId(1), InstanceId(0), 0, None, Spi(0xCAFE5678)), 26, "7856feca"),
        (AnswerBody(HERE, same_external_ipv4=True), 0, "020000000a4d000bccbe"),
        (AnswerBody(None, encode_local(HERE)), 4, "000000000000ccbe00000a4d0000"),
        (LiturgyBody(0xCA, 0xDEAD, b"\1" + bytes(254)), 0, "cadead0100"),
        (LiturgyBody(0, 0, hidden=True, wants_remembrance=True), 257, "000101000000"),
        (LiturgyBody(0, 0, signaling=True), 258, "0002000000"),
        (PeerInfoBody(TunnelId(0xCAFE), HERE, reachable=True), 0, "0a4d000bccbecafe00000001"),
        (AmbryBody(TunnelId(0xCAFE), Header(1157, 7, bytes(64)), bytes(48)), 0, "cafe048500000007"),
    ],
)
def test_where_a_field_stands(body: AnyBody, at: int, expected: str) -> None:
    field = bytes.fromhex(expected)
    assert body.encode()[at : at + len(field)] == field


def test_flags_that_nobody_knows_are_ignored() -> None:
    encoded = bytearray(INFO.encode())
    encoded[:4] = b"\xfc\xff\xff\x7f"
    assert InfoBody.decode_untrusted(encoded, 0) == INFO
    encoded[:4] = b"\xfd\xff\xff\x7f"
    assert AnswerBody.decode_untrusted(encoded, 0) == AnswerBody(None)


@given(st.none() | addresses)
def test_an_address_survives_the_wire(address: Address | None) -> None:
    assert decode_address(encode_address(address)) == address


@pytest.mark.parametrize("field", ["000000000050", "0a4d00010000", "000000000000"])
def test_a_host_or_port_of_zero_is_no_address(field: str) -> None:
    assert decode_address(bytes.fromhex(field)) is None


@given(addresses)
def test_a_client_never_finds_an_address_in_what_it_is_told_of_its_own(seen: Address) -> None:
    told = encode_local(seen)
    assert told[:2] == seen.port.to_bytes(2, "big")
    assert told[2:4] == bytes(2)
    assert told[4:] == encode_address(seen)[:2]
    assert encode_local(None) == bytes(6)


@given(st.lists(addresses, max_size=SLOTS - 1), exactly(TABLE_BYTES))
def test_a_remembrance_ends_at_its_first_empty_slot(known: list[Address], old: bytes) -> None:
    body = RemembranceBody(tuple(known))
    table = body.encode_table()
    assert len(table) == TABLE_BYTES
    hosts, ports, slot = 4 * len(known), 128 + 2 * len(known), len(known)
    for empty in (range(4 * slot, 4 * slot + 4), range(ports, ports + 2)):
        kept = bytearray(table[:hosts] + old[hosts:128] + table[128:ports] + old[ports:])
        kept[empty.start : empty.stop] = bytes(len(empty))
        assert RemembranceBody.decode_table_untrusted(kept) == body


@layouts
def test_the_magics(layout: OfferLayout, magic: int) -> None:
    assert layout.magic == magic.to_bytes(8, "big")
    assert layout.offer_bytes == 623
    header = offer.OfferHeader(Spi(0xBADF00D), NO_FLOCKS, bytes(range(64)))
    packet = layout.encode(header).ljust(layout.offer_bytes, b"\0")
    assert packet.startswith(layout.magic)
    assert layout.decode_untrusted(packet) == header
    for other in (offer.CURRENT, cathedral.CATHEDRAL, cathedral.NAT, cathedral.FEDERATION):
        if other != layout:
            with pytest.raises(RemoteProtocolError) as refusal:
                other.decode_untrusted(packet)
            assert refusal.value.reason is Drop.OFFER_TYPE


@pytest.mark.parametrize(
    "wrong",
    [
        InfoBody(TunnelId(2**16), InstanceId(0)),
        InfoBody(TunnelId(0), InstanceId(-1)),
        InfoBody(TunnelId(0), InstanceId(0), 2**32),
        InfoBody(TunnelId(0), InstanceId(0), 0, Spi(2**32)),
        AnswerBody(Address("::1", 1)),
        AnswerBody(Address("example.org", 1)),
        AnswerBody(Address("10.0.0.1", 0)),
        AnswerBody(Address("0.0.0.0", 1)),
        AnswerBody(Address("10.0.0.1", 65536)),
        AnswerBody(None, bytes(5)),
        LiturgyBody(256, 0),
        LiturgyBody(0, 2**16),
        LiturgyBody(0, 0, bytes(254)),
        RemembranceBody((HERE,) * 33),
        RemembranceBody((Address("::1", 1),)),
        AmbryBody(TunnelId(2**16), Header(0, 1, bytes(64)), bytes(48)),
        AmbryBody(TunnelId(0), Header(2**16, 1, bytes(64)), bytes(48)),
        AmbryBody(TunnelId(0), Header(0, 1, bytes(64)), bytes(47)),
        PeerInfoBody(TunnelId(2**16), None, reachable=False),
    ],
)
def test_what_doesnt_fit_is_not_written(wrong: AnyBody) -> None:
    with pytest.raises(LocalProtocolError):
        wrong.encode()
