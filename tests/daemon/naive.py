"""Packets built and cut one by one in plain Python: the twin of the hot functions.

Nothing here is shared with ``chancel.daemon.hot``; it is slow, and written from the RFCs and from
what Linux does when it cuts a train itself.
"""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address
from typing import NamedTuple

from chancel.daemon.hot.views import SlotView
from chancel.daemon.run import Run

TCP, UDP = 6, 17
ACK, PSH, FIN, CWR, SYN = 0x10, 0x08, 0x01, 0x80, 0x02
NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 4, 5
TAIL = 2

VNET = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset."""

NO_VNET = VNET.pack(0, 0, 0, 0, 0, 0)


def words(data: bytes) -> int:
    """The ones' complement sum of big-endian 16-bit words (RFC 1071), folded."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    return ~words(data) & 0xFFFF


class Flow(NamedTuple):
    """What the packets of a flow have in common."""

    version: int = 4
    protocol: int = TCP
    source: str = "10.77.0.2"
    destination: str = "10.77.0.1"
    source_port: int = 40_000
    destination_port: int = 5_001
    flags_fragment: int = 0x4000
    ttl: int = 64
    acknowledged: int = 0x01020304
    window: int = 501
    options: bytes = b""

    @property
    def head(self) -> int:
        """Bytes before the payload."""
        return self.start + (20 + len(self.options) if self.protocol == TCP else 8)

    @property
    def start(self) -> int:
        """Where the transport header begins."""
        return 20 if self.version == 4 else 40

    def pseudo(self, size: int) -> bytes:
        """The pseudo header of a transport segment of ``size`` bytes (RFC 9293, RFC 8200)."""
        addresses = ip_address(self.source).packed + ip_address(self.destination).packed
        return addresses + struct.pack("!II", size, self.protocol)

    def packet(
        self,
        payload: bytes,
        *,
        sequence: int = 1,
        flags: int = ACK,
        identity: int = 0,
        partial: bool = False,
    ) -> bytes:
        """One packet; ``partial``: with the pseudo header's sum where the checksum goes."""
        if self.protocol == TCP:
            offset = (20 + len(self.options)) // 4 << 4
            segment = struct.pack(
                "!HHIIBBHHH",
                self.source_port,
                self.destination_port,
                sequence & 0xFFFFFFFF,
                self.acknowledged,
                offset,
                flags,
                self.window,
                0,
                0,
            )
            segment += self.options + payload
            field = 16
        else:
            size = 8 + len(payload)
            segment = struct.pack("!HHHH", self.source_port, self.destination_port, size, 0)
            segment += payload
            field = 6
        pseudo = self.pseudo(len(segment))
        value = words(pseudo) if partial else checksum(pseudo + segment)
        if self.protocol == UDP and value == 0:
            value = 0xFFFF
        segment = segment[:field] + struct.pack("!H", value) + segment[field + 2 :]
        return self.network_header(len(segment), identity) + segment

    def network_header(self, size: int, identity: int) -> bytes:
        """The IP header before ``size`` bytes."""
        source, destination = ip_address(self.source).packed, ip_address(self.destination).packed
        if self.version == 6:
            head = struct.pack("!IHBB", 0x6000_0000, size, self.protocol, self.ttl)
            return head + source + destination
        fixed = struct.pack(
            "!BBHHHBB", 0x45, 0, 20 + size, identity & 0xFFFF, self.flags_fragment, self.ttl,
            self.protocol,
        )  # fmt: skip
        value = checksum(fixed + source + destination)
        return fixed + struct.pack("!H", value) + source + destination

    def vnet(self, segment: int = 0, *, shift: int = 0) -> bytes:
        """The virtio header of a packet whose checksum is partial; a train's, with a segment.

        ``shift`` is the length of what stands before the packet: an Ethernet header, or nothing.
        """
        kind = GSO_NONE
        if segment:
            tcp = GSO_TCPV4 if self.version == 4 else GSO_TCPV6
            kind = tcp if self.protocol == TCP else GSO_UDP_L4
        field = 16 if self.protocol == TCP else 6
        return VNET.pack(NEEDS_CSUM, kind, shift + self.head, segment, shift + self.start, field)


def train(flow: Flow, count: int, size: int, last: int, first: int = 1) -> list[bytes]:
    """Packets as a sender makes them: numbers and ids go up, PSH on the last."""
    source = random.Random(size)
    return [
        flow.packet(
            source.randbytes(size if i < count - 1 else last),
            sequence=first + i * size,
            identity=first + i,
            flags=ACK | (PSH if i == count - 1 else 0),
        )
        for i in range(count)
    ]


def cut(vnet: bytes, packet: bytes, shift: int = 0) -> list[bytes]:
    """What the kernel makes of a packet behind a virtio header: packets that are whole."""
    flags, kind, _, size, start, field = VNET.unpack(vnet)
    start -= shift
    if kind == GSO_NONE:
        if flags & NEEDS_CSUM:
            value = checksum(packet[start:]) or 0xFFFF
            at = start + field
            packet = packet[:at] + struct.pack("!H", value) + packet[at + 2 :]
        return [packet]
    tcp = kind != GSO_UDP_L4
    head = start + ((packet[start + 12] >> 4) * 4 if tcp else 8)
    payload = packet[head:]
    parts = [payload[i : i + size] for i in range(0, len(payload), size)]
    return [
        _one(packet[:head], part, start, i, i == len(parts) - 1, size, tcp)
        for i, part in enumerate(parts)
    ]


def _one(
    head: bytes, part: bytes, start: int, index: int, is_last: bool, size: int, tcp: bool
) -> bytes:
    packet = bytearray(head + part)
    if packet[0] >> 4 == 4:
        (identity,) = struct.unpack_from("!H", packet, 4)
        struct.pack_into("!HH", packet, 2, len(packet), (identity + index) & 0xFFFF)
        packet[10:12] = bytes(2)
        struct.pack_into("!H", packet, 10, checksum(bytes(packet[:start])))
        addresses = bytes(packet[12:20])
    else:
        struct.pack_into("!H", packet, 4, len(packet) - 40)
        addresses = bytes(packet[8:40])
    if tcp:
        (sequence,) = struct.unpack_from("!I", packet, start + 4)
        struct.pack_into("!I", packet, start + 4, (sequence + index * size) & 0xFFFFFFFF)
        if not is_last:
            packet[start + 13] &= ~(FIN | PSH) & 0xFF
        if index:
            packet[start + 13] &= ~CWR & 0xFF
        field = start + 16
    else:
        struct.pack_into("!H", packet, start + 4, len(packet) - start)
        field = start + 6
    packet[field : field + 2] = bytes(2)
    pseudo = addresses + struct.pack("!II", len(packet) - start, TCP if tcp else UDP)
    value = checksum(pseudo + bytes(packet[start:]))
    struct.pack_into("!H", packet, field, value if tcp else value or 0xFFFF)
    return bytes(packet)


def fill(slot: SlotView, packets: list[bytes], offset: int = 0, **fields: int) -> Run:
    """Lay packets of one size (the last may be shorter) into a slot as one run."""
    data = b"".join(packets)
    slot.memory[offset : offset + len(data)] = data
    return Run(
        fields.get("tunnel", 0),
        fields.get("next", 0),
        len(packets),
        len(packets[0]),
        len(packets[-1]),
        offset,
    )


def packets_of(slot: SlotView, runs: list[Run]) -> list[bytes]:
    """The packets of runs, in order, as they lie in the slot."""
    return [
        bytes(slot.memory[at : at + (run.last if at + run.last == run.end else run.size)])
        for run in runs
        for at in range(run.offset, run.offset + run.packets * run.size, run.size)
    ]


def new_slot(size: int = 256 * 1024) -> SlotView:
    return SlotView(memoryview(bytearray(size)))
