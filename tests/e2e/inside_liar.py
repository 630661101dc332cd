"""A cathedral inside a host of the lab that names devices and forgets them, without end."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Generator

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.crypto.system import SystemSuite
from chancel.protocol.cathedral_offers import seal_answer
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.liturgy import PEERS_BYTES, LiturgyBody
from chancel.wire.types import FlockId


def lie(
    host: str, port: int, secret: str, flock: int, identity: int, group: int, devices: list[int]
) -> Generator[int]:
    """Answer each question: these devices are there, and next time nobody is. Yields the number.

    A liturgy asks before any tunnel does, so whoever comes first is the one that is answered.
    """
    suite = SystemSuite()
    base = client_offer_base(suite, bytes.fromhex(secret), FlockId(flock))
    peers = bytes(number in devices for number in range(PEERS_BYTES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((host, port))
        asking = None
        for number in itertools.count():
            source = None
            while source is None or source != asking:
                source = udp.recvfrom(2048)[1]
                asking = asking or source
            named = peers if number % 2 == 0 else bytes(PEERS_BYTES)
            body = LiturgyBody(0, group, named)
            udp.sendto(
                seal_answer(suite, base, CathedralId(identity), int(time.time()), body), source
            )
            yield number
