"""Packet numbers on the wire, read inside a host of the lab: see ``inside``."""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator

from chancel.wire.offer import MAGIC
from chancel.wire.traffic import OVERHEAD_BYTES

_PATIENCE_S = 30.0
_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_BUFFER_BYTES = 16 << 20
_VNET = struct.Struct("=BBHHHH")
_ETHERNET_BYTES = 14
_NUMBERS = struct.Struct("!I4xQ")
"""SPI and packet number."""

Heard = dict[str, list[tuple[int, int]]]


def numbers(interface: str, port: int, count: int) -> Generator[str, None, Heard]:
    """SPIs and packet numbers of the next datagrams from and to a port, in order, by direction
    (``in`` and ``out``), until there are so many each way.

    Trains are told apart by their virtio header. Yields once, listening. Raises TimeoutError after
    a long silence.
    """
    heard: Heard = {"in": [], "out": []}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as sock:
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        sock.bind((interface, _ETH_P_ALL))
        yield "listening"
        sock.settimeout(_PATIENCE_S)
        while min(map(len, heard.values())) < count:
            frame, (_, protocol, kind, *_) = sock.recvfrom(70_000)
            (_, _, _, segment, _, _) = _VNET.unpack_from(frame)
            packet = frame[_VNET.size + _ETHERNET_BYTES :]
            start = (packet[0] & 0x0F) * 4
            if protocol != _ETH_P_IP or packet[9] != socket.IPPROTO_UDP:
                continue
            if port not in struct.unpack_from("!HH", packet, start):
                continue
            direction = "out" if kind == _PACKET_OUTGOING else "in"
            heard[direction] += _numbers_of(packet[start + 8 :], segment)
    return heard


def _numbers_of(payload: bytes, segment: int) -> list[tuple[int, int]]:
    step = segment or len(payload)
    datagrams = [payload[at : at + step] for at in range(0, len(payload), step)]
    return [
        _NUMBERS.unpack_from(each)
        for each in datagrams
        if len(each) >= OVERHEAD_BYTES and not each.startswith(MAGIC)
    ]
