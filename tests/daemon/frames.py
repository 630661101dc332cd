"""Frames of devices as hypothesis makes them, and what must become of them.

A *frame* is what one read of a device gives, or one write to it: a virtio header and what follows.
Whatever a frame holds, the kernel would put certain packets on a wire in its place (``naive.cut``);
these, and no others, must come out at the far end of a tunnel, in whatever frames they come.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

from tests.daemon.naive import (
    ACK,
    CWR,
    FIN,
    GSO_NONE,
    NO_VNET,
    PSH,
    SYN,
    TCP,
    UDP,
    VNET,
    Flow,
    checksum,
    cut,
)

URG, ECE, RST = 0x20, 0x40, 0x04
ICMP, ICMP6, GRE = 1, 58, 47
GSO_ECN = 0x80
ETHERNET = bytes(range(12))
"""The addresses of every frame of a TAP device."""

TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_VLAN, _ARP = b"\x81\x00", b"\x08\x06"

MANY = 150
"""Packets of one flow, more than the kernel takes of UDP in one train."""

LEAST_BYTES, MOST_BYTES = 13, 1472
"""Of what a device gives; what is shorter or longer is no packet (protocol section 3.4)."""


class Frame(NamedTuple):
    """A virtio header and what follows it."""

    vnet: bytes
    data: bytes


def packets_of(frame: Frame, link_bytes: int) -> list[bytes]:
    """What the kernel would put on a wire, each with its Ethernet header."""
    flags, kind, head, segment, start, field = VNET.unpack(frame.vnet)
    link = link_bytes + 4 * (bool(link_bytes) and frame.data[12:14] == _VLAN)
    if kind & ~GSO_ECN == GSO_NONE:
        link = 0  # where summing starts is all that counts
    vnet = VNET.pack(flags, kind & ~GSO_ECN, head, segment, start, field)
    before, packet = frame.data[:link], frame.data[link:]
    return [before + each for each in cut(vnet, packet, link)]


def passes(packet: bytes, *, tap: bool) -> bool:
    """Whether a packet goes through a tunnel: its size, and the receiver's filter.

    The filter as protocol section 3.4 has it, for the networks of ``paths.SETTINGS``.
    """
    if not LEAST_BYTES <= len(packet) <= MOST_BYTES:
        return False
    if tap:
        return len(packet) >= 14 and packet[12:14] in (*TYPES.values(), _VLAN, _ARP)
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        return packet[9] in (ICMP, TCP, UDP) and all(
            packet[at : at + 3] == bytes((10, 77, 0)) or packet[at : at + 2] == bytes((172, 16))
            for at in (12, 16)
        )
    if version == 6 and len(packet) >= 40:
        protocol = packet[6]
        if protocol == 44:
            protocol = packet[40] if len(packet) >= 48 else -1
        return protocol in (TCP, UDP, ICMP6) and all(
            packet[at : at + 8] == b"\xfd" + bytes(7) or packet[at : at + 4] == b"\x20\x01\x0d\xb8"
            for at in (8, 24)
        )
    return False


def assert_carries(came: list[Frame], packets: list[bytes], link_bytes: int) -> None:
    """The frames carry exactly these packets, in their order.

    Packets that were joined may have got another identification, where nobody may fragment them and
    it has no meaning (RFC 6864); nothing else may differ, and in a packet alone not even that.
    """
    carried: list[bytes] = []
    for frame in came:
        parts = packets_of(frame, link_bytes)
        if frame.vnet == NO_VNET:
            at = len(carried)
            assert packets[at : at + 1] == [frame.data]
        carried += parts
    assert [without_identity(each, link_bytes) for each in carried] == [
        without_identity(each, link_bytes) for each in packets
    ]


def without_identity(packet: bytes, at: int) -> bytes:
    """A packet, whose IP header starts at ``at``, without an identification that has no meaning."""
    ip = packet[at:]
    if ip[:1] == b"\x45" and len(ip) > 20 and ip[6] & 0x40 and checksum(ip[:20]) == 0:
        return packet[: at + 4] + ip[6:10] + ip[12:]
    return packet


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


flows = st.builds(
    Flow()._replace,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, UDP]),
    source_port=st.integers(0, 0xFFFF),
    flags_fragment=st.sampled_from([0x4000, 0]),
    acknowledged=st.integers(0, 2**32 - 1),
    options=st.integers(0, 10).map(lambda n: b"\x01" * (4 * n)),
).map(
    lambda flow: (
        flow if flow.version == 4 else flow._replace(source="fd00::2", destination="fd00::1")
    )
)

_numbers = st.sampled_from([0, 1, 77, 0xFFF0, 0xFFFF, 2**32 - 1, 2**32 - 3000, 2**31])
_flags = st.sampled_from(
    [0, 0, 0, PSH, FIN | PSH, CWR, CWR | FIN | PSH, ECE, ECE | PSH, URG | PSH, SYN, RST]
)


@st.composite
def trains(draw: st.DrawFn, most: int, link: Callable[[int], bytes]) -> list[Frame]:
    """One big packet, which the kernel would have cut into a few dozen."""
    flow = draw(flows)
    before = link(flow.version)
    segment = draw(st.integers(1, most - len(before) - flow.head))
    longest = min(40 * segment, 30_000)
    size = draw(
        st.one_of(st.integers(1, longest), st.integers(1, longest // segment).map(segment.__mul__))
    )
    flags = ACK | draw(_flags)
    packet = flow.packet(
        noise(draw(st.integers(0, 99)), size),
        sequence=draw(_numbers),
        identity=draw(_numbers),
        flags=flags,
        partial=True,
    )
    vnet = bytearray(flow.vnet(segment, shift=len(before)))
    if flow.protocol == TCP and flags & CWR:
        vnet[1] |= GSO_ECN
    return [Frame(bytes(vnet), before + packet)]


@st.composite
def bursts(draw: st.DrawFn, most: int, link: Callable[[int], bytes]) -> list[Frame]:
    """Packets of one flow, of one size but the last: as they are, or with a checksum to complete;
    following each other as a sender has them, or nearly so."""
    flow = draw(flows)
    before = link(flow.version)
    count = draw(st.sampled_from([1, 1, 2, 5, 6, 7, 30, MANY]))
    longest = 60 if count == MANY else most - len(before) - flow.head
    size = draw(st.one_of(st.just(0), st.integers(0, longest)))
    sizes = [size] * (count - 1) + [draw(st.integers(0, size))]
    partial = draw(st.booleans())
    skew, sequence, identity = (
        draw(st.sampled_from([0, 0, 0, 1, -1])),
        draw(_numbers),
        draw(_numbers),
    )
    odd = draw(st.integers(0, count))
    flags = draw(_flags)
    return [
        Frame(
            flow.vnet(shift=len(before)) if partial else NO_VNET,
            before
            + flow.packet(
                noise(i, each),
                sequence=sequence + i * size + skew * (i == odd),
                identity=identity + i,
                flags=ACK | (flags if i in (odd, count - 1) else 0),
                partial=partial,
            ),
        )
        for i, each in enumerate(sizes)
    ]


def _with_ip_options(packet: bytes, start: int) -> bytes:
    """Router alert, before the transport header; IPv6: in a header of its own."""
    if packet[0] >> 4 == 6:
        return _with_header(packet, 0, b"\x05\x02\0\0\1\0")
    head = bytearray(packet[:20] + b"\x94\x04\0\0")
    head[0] = 0x46
    struct.pack_into("!H", head, 2, len(packet) + 4)
    head[10:12] = bytes(2)
    struct.pack_into("!H", head, 10, checksum(bytes(head)))
    return bytes(head) + packet[start:]


def _with_header(packet: bytes, kind: int, content: bytes) -> bytes:
    """An IPv6 packet with one more extension header, of eight bytes."""
    (length,) = struct.unpack_from("!H", packet, 4)
    head = packet[:4] + struct.pack("!HB", length + 8, kind) + packet[7:40]
    return head + packet[6:7] + b"\0" + content + packet[40:]


def _as_fragment(packet: bytes, start: int) -> bytes:
    if packet[0] >> 4 == 6:
        return _with_header(packet, 44, b"\0\x19\0\0\0\7")
    head = bytearray(packet[:20])
    head[6:8] = b"\x20\x03"
    head[10:12] = bytes(2)
    struct.pack_into("!H", head, 10, checksum(bytes(head)))
    return bytes(head) + packet[20:]


def _changed(packet: bytes, at: int, bits: int) -> bytes:
    changed = bytearray(packet)
    changed[at % len(changed)] ^= bits
    return bytes(changed)


def _with_protocol(packet: bytes, protocol4: int, protocol6: int) -> bytes:
    at, protocol = (9, protocol4) if packet[0] >> 4 == 4 else (6, protocol6)
    return packet[:at] + bytes((protocol,)) + packet[at + 1 :]


_ODDITIES: dict[str, Callable[[bytes, int], bytes]] = {
    "IP options": _with_ip_options,
    "routing header": lambda p, s: _with_header(p, 43, b"\0\0\0\0\0\0") if s == 40 else p,
    "fragment": _as_fragment,
    "wrong checksum": lambda p, s: _changed(p, s + 6, 0x10),
    "wrong IP checksum": lambda p, s: _changed(p, 10, 0x01),
    "no UDP checksum": lambda p, s: p[: s + 6] + bytes(2) + p[s + 8 :],
    "ICMP": lambda p, s: _with_protocol(p, ICMP, ICMP6),
    "GRE": lambda p, s: _with_protocol(p, GRE, GRE),
    "ECN": lambda p, s: _changed(p, 1, 0x30 if p[0] >> 4 == 6 else 0x03),
    "another length": lambda p, s: _changed(p, 3 if p[0] >> 4 == 4 else 5, 0x04),
    "another version": lambda p, s: _changed(p, 0, 0x70),
    "another source": lambda p, s: _changed(p, 12, 0x80),
    "cut short": lambda p, s: p[: s + 3],
    "a header alone": lambda p, s: p[:s],
    "padded": lambda p, s: p + bytes(7),
}

"""What makes a packet odd, so that no fast path is made for it: each changes a whole IP packet, of
which the transport header starts at the number."""

oddities = sorted(_ODDITIES)


@st.composite
def odd(draw: st.DrawFn, most: int, link: Callable[[int], bytes]) -> list[Frame]:
    """A few packets of a flow, some of which are odd."""
    flow = draw(flows)
    before = link(flow.version)
    size = draw(st.integers(0, most - len(before) - flow.head - 12))
    kinds = draw(st.lists(st.sampled_from([*oddities, ""]), min_size=1, max_size=8))
    frames = []
    for i, kind in enumerate(kinds):
        packet = flow.packet(noise(i, size), sequence=1 + i * size, identity=i)
        if kind:
            packet = _ODDITIES[kind](packet, flow.start)
        frames.append(Frame(NO_VNET, before + packet))
    return frames


@st.composite
def interleaved(draw: st.DrawFn, parts: st.SearchStrategy[list[Frame]]) -> list[Frame]:
    """Some of these side by side, or one frame of each in turn."""
    chosen = draw(st.lists(parts, min_size=1, max_size=3))
    if draw(st.booleans()):
        return [frame for part in chosen for frame in part]
    longest = max(map(len, chosen))
    return [part[i] for i in range(longest) for part in chosen if i < len(part)]


def traffic(most: int, link: Callable[[int], bytes]) -> st.SearchStrategy[list[Frame]]:
    """Frames of every kind, whose packets have at most ``most`` bytes with their link header."""
    parts = st.one_of(trains(most, link), bursts(most, link), odd(most, link))
    return interleaved(parts)
