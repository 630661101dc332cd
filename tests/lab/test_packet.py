"""Rewriting is compared with packets built anew: every field and every checksum must agree."""

from __future__ import annotations

import random
import socket
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.lab import packet
from chancel.lab.interface import IP_OFFSET
from chancel.lab.packet import ICMP, TCP, UDP, Flow
from chancel.wire.types import Address

addresses = st.builds(
    Address, st.ip_addresses(v=4).map(str), st.integers(min_value=1, max_value=65535)
)
flows = st.builds(Flow, st.sampled_from([TCP, UDP]), addresses, addresses)


def ones_sum(data: bytes | bytearray) -> int:
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def build(flow: Flow, payload: bytes, finished: bool = True) -> bytearray:
    """A frame with right checksums; unfinished as a kernel leaves it to the device."""
    transport = bytearray(20 if flow.protocol == TCP else 8)
    struct.pack_into(">HH", transport, 0, flow.source.port, flow.destination.port)
    checksum_at = 16 if flow.protocol == TCP else 6
    length = len(transport) + len(payload)
    hosts = socket.inet_aton(flow.source.host) + socket.inet_aton(flow.destination.host)
    pseudo = ones_sum(hosts + struct.pack(">HH", flow.protocol, length))
    value = pseudo
    if finished:
        value = 0xFFFF ^ ones_sum(struct.pack(">H", pseudo) + transport + payload)
    struct.pack_into(">H", transport, checksum_at, value)
    ip = bytearray(20)
    struct.pack_into(">BBHHHBBH", ip, 0, 0x45, 0, 20 + length, 7, 0x4000, 64, flow.protocol, 0)
    ip[12:20] = hosts
    struct.pack_into(">H", ip, 10, 0xFFFF ^ ones_sum(bytes(ip)))
    header = bytes((0 if finished else 1,)) + bytes(IP_OFFSET - 1)
    return bytearray(header + ip + transport + payload)


def same(ours: bytearray, theirs: bytearray) -> bool:
    """Equal, or different only in the two spellings of zero that one's complement has."""
    words = [
        struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]) for data in (ours, theirs)
    ]
    return ours[-1] == theirs[-1] and all(
        a == b or {a, b} == {0, 0xFFFF} for a, b in zip(*words, strict=True)
    )


@given(flows, addresses, st.binary(min_size=1, max_size=60), st.booleans())
def test_a_rewritten_packet_is_as_if_sent_so(
    flow: Flow, address: Address, payload: bytes, finished: bool
) -> None:
    frame = build(flow, payload, finished)
    packet.set_source(memoryview(frame), address)
    assert same(frame, build(replace(flow, source=address), payload, finished))

    frame = build(flow, payload, finished)
    packet.set_destination(memoryview(frame), address)
    assert same(frame, build(replace(flow, destination=address), payload, finished))


@given(flows)
def test_a_flow_is_what_was_built(flow: Flow) -> None:
    frame = memoryview(build(flow, b"x"))
    assert packet.flow_of(frame) == flow
    assert packet.destination(frame) == socket.inet_aton(flow.destination.host)


@given(st.binary(max_size=100))
def test_garbage_has_no_flow_or_some(data: bytes) -> None:
    frame = memoryview(bytearray(IP_OFFSET) + data)
    if packet.destination(frame) is not None:
        packet.flow_of(frame)


def test_udp_without_a_checksum_stays_without() -> None:
    flow = Flow(UDP, Address("10.0.0.1", 5), Address("10.0.0.2", 6))
    frame = build(flow, b"payload")
    frame[IP_OFFSET + 26 : IP_OFFSET + 28] = b"\0\0"
    packet.set_source(memoryview(frame), Address("192.0.2.1", 99))
    assert frame[IP_OFFSET + 26 : IP_OFFSET + 28] == b"\0\0"


def echo(kind: int, source: str, destination: str, identifier: int) -> bytearray:
    ip = bytearray(20)
    struct.pack_into(">BBHHHBBH", ip, 0, 0x45, 0, 32, 0, 0, 64, ICMP, 0)
    ip[12:20] = socket.inet_aton(source) + socket.inet_aton(destination)
    struct.pack_into(">H", ip, 10, 0xFFFF ^ ones_sum(bytes(ip)))
    icmp = bytearray(struct.pack(">BBHHH4s", kind, 0, 0, identifier, 1, b"data"))
    struct.pack_into(">H", icmp, 2, 0xFFFF ^ ones_sum(bytes(icmp)))
    return bytearray(IP_OFFSET) + ip + icmp


def test_the_identifier_is_the_port_of_an_echo() -> None:
    request = echo(8, "10.0.0.2", "192.0.2.9", 77)
    flow = packet.flow_of(memoryview(request))
    assert flow == Flow(ICMP, Address("10.0.0.2", 77), Address("192.0.2.9", 0))
    packet.set_source(memoryview(request), Address("192.0.2.1", 1234))
    assert request == echo(8, "192.0.2.1", "192.0.2.9", 1234)

    reply = echo(0, "192.0.2.9", "192.0.2.1", 1234)
    flow = packet.flow_of(memoryview(reply))
    assert flow == Flow(ICMP, Address("192.0.2.9", 0), Address("192.0.2.1", 1234))
    packet.set_destination(memoryview(reply), Address("10.0.0.2", 77))
    assert reply == echo(0, "192.0.2.9", "10.0.0.2", 77)


@pytest.mark.parametrize("field", [0x2000, 0x0001], ids=["more-fragments", "offset"])
def test_a_fragment_has_no_ports(field: int) -> None:
    frame = build(Flow(UDP, Address("10.0.0.1", 5), Address("10.0.0.2", 6)), b"payload")
    struct.pack_into(">H", frame, IP_OFFSET + 6, field)
    assert packet.flow_of(memoryview(frame)) is None


def test_an_icmp_error_passes_no_nat() -> None:
    assert packet.flow_of(memoryview(echo(3, "192.0.2.9", "192.0.2.1", 0))) is None


def test_a_hop_counts_and_the_last_one_kills() -> None:
    frame = build(Flow(UDP, Address("10.0.0.1", 5), Address("10.0.0.2", 6)), b"payload")
    assert packet.hop(memoryview(frame))
    assert frame[IP_OFFSET + 8] == 63
    assert ones_sum(frame[IP_OFFSET : IP_OFFSET + 20]) == 0xFFFF
    frame[IP_OFFSET + 8] = 1
    assert not packet.hop(memoryview(frame))


def test_damage_is_one_bit_of_payload_that_udp_does_not_notice() -> None:
    flow = Flow(UDP, Address("10.0.0.1", 5), Address("10.0.0.2", 6))
    for seed in range(50):
        frame = build(flow, bytes(40), finished=bool(seed % 2))
        packet.corrupt(memoryview(frame), random.Random(seed))
        assert frame[:10] == bytes(10)
        assert frame[IP_OFFSET + 26 : IP_OFFSET + 28] == b"\0\0"
        assert sum(byte.bit_count() for byte in frame[IP_OFFSET + 28 :]) == 1
