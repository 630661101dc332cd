"""What a program is told: an event of the reference, and what comes with it (kyrka 1.3 and 11.1).

Addresses are told as the reference tells them: memory in network order, read as a number. So
``struct.pack("=I", ip)`` is what ``socket.inet_ntoa`` takes, and ``socket.ntohs`` takes the port.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

from chancel.wire.info import AnswerBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address
from libkyrka.constants import (
    KYRKA_CATHEDRALS_MAX,
    KYRKA_EVENT_AMBRY_RECEIVED,
    KYRKA_EVENT_KEYS_ERASED,
    KYRKA_EVENT_LITURGY_RECEIVED,
    KYRKA_EVENT_PEER_DISCOVERY,
    KYRKA_EVENT_REMEMBRANCE_RECEIVED,
    KYRKA_INFO_FLAG_SAME_EXTERNAL_IPV4,
)

Notice = tuple[int | None, dict[str, Any]]
"""An event and its info; ``None`` for a log message."""

_HOST_BYTES = 4


def log(text: str) -> Notice:
    """A log message."""
    return None, {"logmsg": text}


def keys_erased() -> Notice:
    """The keys that were there are gone."""
    return KYRKA_EVENT_KEYS_ERASED, {"reason": "keys erased"}


def ambry_received(generation: int) -> Notice:
    """The shared secret is that of this ambry now."""
    return KYRKA_EVENT_AMBRY_RECEIVED, {"ambry": generation}


def peer_discovered(answer: AnswerBody) -> Notice | None:
    """Where to send what is for the peer; ``None`` if nothing can be sent there, or it is us."""
    if answer.peer is None:
        return None
    host = _packed(answer.peer)
    if host == answer.local[:_HOST_BYTES]:
        return None
    flags = KYRKA_INFO_FLAG_SAME_EXTERNAL_IPV4 * answer.same_external_ipv4
    info = {"ip": _native(host), "port": _native_port(answer.peer), "flags": flags}
    return KYRKA_EVENT_PEER_DISCOVERY, info


def liturgy_received(answer: LiturgyBody) -> Notice:
    """Who is there: one byte for each device id from 0 to 254."""
    return KYRKA_EVENT_LITURGY_RECEIVED, {"peers": answer.peers}


def remembrance_received(answer: RemembranceBody) -> Notice:
    """All cathedrals, in 32 slots; those that are left over are 0."""
    free = (0,) * (KYRKA_CATHEDRALS_MAX - len(answer.cathedrals))
    ips = tuple(_native(_packed(address)) for address in answer.cathedrals)
    ports = tuple(_native_port(address) for address in answer.cathedrals)
    return KYRKA_EVENT_REMEMBRANCE_RECEIVED, {"ips": ips + free, "ports": ports + free}


def _packed(address: Address) -> bytes:
    return ipaddress.IPv4Address(address.host).packed


def _native_port(address: Address) -> int:
    return _native(address.port.to_bytes(2, "big"))


def _native(network_order: bytes) -> int:
    return int.from_bytes(network_order, sys.byteorder)
