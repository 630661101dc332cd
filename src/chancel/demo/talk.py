"""With whom a host speaks, seen at its own interface: the relay, or the peer itself.

The kernel's view and nobody's word for it; the same for any daemon, whatever masks are on.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Generator
from typing import NoReturn, TypedDict

from chancel.wire.types import Buffer

INTERFACE = "eth0"
"""The first that the lab gives to a host."""

_ETH_P_ALL = 0x0003
_IP_BYTES = 20
_LENGTH, _PROTOCOL, _SOURCE, _DESTINATION = 2, 9, 12, 16


class Count(TypedDict):
    """IPv4 packets with UDP, and their bytes. A train that the kernel has not cut yet counts as
    one packet."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


class Talk(TypedDict):
    """What passed in an interval that ended ``at`` (the machine's monotonic clock), by the address
    of the other side."""

    at: float
    remotes: dict[str, Count]


def talk(interval_s: float = 0.1, interface: str = INTERFACE) -> Generator[Talk, None, NoReturn]:
    """Yield a :class:`Talk` for each interval, for as long as somebody reads. Needs
    CAP_NET_RAW."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as packets:
        packets.bind((interface, _ETH_P_ALL))
        header = bytearray(_IP_BYTES)
        next_at = time.monotonic() + interval_s
        remotes: dict[str, Count] = defaultdict(_nothing)
        while True:
            patience_s = next_at - time.monotonic()
            if patience_s <= 0:
                yield {"at": next_at, "remotes": dict(remotes)}
                remotes.clear()
                next_at += interval_s
                continue
            packets.settimeout(patience_s)
            with contextlib.suppress(TimeoutError):
                size, address = packets.recvfrom_into(header)
                if size == _IP_BYTES:
                    _count_untrusted(remotes, header, address[2] == socket.PACKET_OUTGOING)


def _nothing() -> Count:
    return {"packets_in": 0, "bytes_in": 0, "packets_out": 0, "bytes_out": 0}


def _count_untrusted(remotes: dict[str, Count], ip: Buffer, sent: bool) -> None:
    if ip[0] >> 4 != 4 or ip[_PROTOCOL] != socket.IPPROTO_UDP:
        return
    (length,) = struct.unpack_from(">H", ip, _LENGTH)
    at = _DESTINATION if sent else _SOURCE
    count = remotes[socket.inet_ntoa(ip[at : at + 4])]
    if sent:
        count["packets_out"] += 1
        count["bytes_out"] += length
    else:
        count["packets_in"] += 1
        count["bytes_in"] += length
