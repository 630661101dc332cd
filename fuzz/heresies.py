"""What is thrown at a cathedral, made in a host of the lab by ``host.call("fuzz.heresies:throw")``.

Each kind is what somebody could send who knows this much: nothing, a client's secret, a client's
secret and signing key, or what another cathedral and the clients said (``Known``). Some hundreds of
each are sealed before, and sent again and again with other sources: so throwing is quick, and to
the cathedral the first of each is new and the rest are replays.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.congregation import FLOCK, FLOCKS, IDENTITY, NAT_PORT, PORT
from chancel.crypto.kdf_cathedral import client_offer_base, federation_offer_base
from chancel.crypto.system import SystemSuite
from chancel.protocol.cathedral_offers import seal_peer_info, seal_request
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OfferLayout
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi
from fuzz.mutate import mutate

SEALED: Final = 400
"""Of each kind."""

MOST_BYTES: Final = 1472
_BURST = 64
_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_HEAD = struct.Struct("!IIQQQ")

Make = Callable[["Known", random.Random], bytes]


class Known:
    """What the thrower has: files of the cathedral's own folder, and offers that it overheard."""

    def __init__(self, folder: str) -> None:
        self.suite = SystemSuite()
        root = Path(folder)
        secret = (root / "secretdir" / f"flock-{FLOCK:x}" / f"{IDENTITY:08x}.key").read_bytes()
        self.base = client_offer_base(self.suite, secret, FLOCK)
        self.secret = secret
        self.cosk = (root / "cosk").read_bytes()
        self.false_cosk = bytes(32) + self.cosk[32:]
        self.sync = (root / "sync").read_bytes()
        self.wall = int(time.time())

    def info(
        self,
        tunnel: int,
        *,
        cosk: bytes | None = None,
        flock: FlockId = FLOCK,
        identity: CathedralId = IDENTITY,
        age: int = 0,
        layout: OfferLayout = CATHEDRAL,
    ) -> bytes:
        """An info like a client's, but for what is said."""
        base = self.base if flock == FLOCK else client_offer_base(self.suite, self.secret, flock)
        body = InfoBody(TunnelId(tunnel), InstanceId(tunnel), 0, Spi(tunnel << 16 | 1))
        flocks = Flocks(flock, flock)
        wall = self.wall - age
        return seal_request(
            self.suite, base, flocks, identity, wall, body, cosk or self.cosk, layout
        )


def _garbage(_known: Known, rng: random.Random) -> bytes:
    magic = rng.choice([CATHEDRAL.magic, NAT.magic, FEDERATION.magic, b"SACRAMNT", b""])
    return magic + rng.randbytes(rng.randrange(MOST_BYTES - 8))


def _unknown_flock(known: Known, rng: random.Random) -> bytes:
    return known.info(0x0102, flock=FlockId(rng.getrandbits(64)))


def _unknown_client(known: Known, rng: random.Random) -> bytes:
    return known.info(0x0102, identity=CathedralId(rng.getrandbits(32) | 1))


def _unknown_device(known: Known, rng: random.Random) -> bytes:
    return known.info(0xF000 | rng.randrange(256))


def _bad_signature(known: Known, rng: random.Random) -> bytes:
    return known.info(rng.randrange(0x100, 0x8000), cosk=known.false_cosk)


def _stale(known: Known, rng: random.Random) -> bytes:
    return known.info(rng.randrange(0x100, 0x8000), age=rng.choice([11, 60, 10_000, -11, -86_400]))


def _oversized(known: Known, rng: random.Random) -> bytes:
    return known.info(0xF001).ljust(rng.randrange(700, MOST_BYTES), b"\xa5")


def _truncated(known: Known, rng: random.Random) -> bytes:
    return known.info(0x0102)[: rng.randrange(1, 623)]


def _mutated(known: Known, rng: random.Random) -> bytes:
    return mutate(rng, known.info(0x0102), [], MOST_BYTES)


def _nat(known: Known, rng: random.Random) -> bytes:
    return known.info(rng.randrange(0x100, 0x8000), layout=NAT)


def _domains(known: Known, rng: random.Random) -> bytes:
    """Registrations without end by a client that may: every domain, every tunnel of a device."""
    return known.info(0x0100 | rng.randrange(256), flock=FlockId(FLOCK | rng.randrange(1, 256)))


def _liturgies(known: Known, rng: random.Random) -> bytes:
    body = LiturgyBody(id=rng.randrange(256), group=rng.randrange(65536))
    return seal_request(known.suite, known.base, FLOCKS, IDENTITY, known.wall, body, known.cosk)


def _forged_federation(known: Known, rng: random.Random) -> bytes:
    base = federation_offer_base(known.suite, rng.randbytes(32), FLOCK)
    body = PeerInfoBody(TunnelId(0x0102), Address("192.0.2.1", 1), True)
    return seal_peer_info(known.suite, base, FLOCKS, IDENTITY, known.wall, body)


def _federation(known: Known, rng: random.Random) -> bytes:
    """From one who has the sync secret: peer infos of any tunnel."""
    base = federation_offer_base(known.suite, known.sync, FLOCK)
    body = PeerInfoBody(TunnelId(rng.getrandbits(16)), Address("192.0.2.1", 1), True)
    return seal_peer_info(known.suite, base, FLOCKS, IDENTITY, known.wall, body)


def _traffic(_known: Known, rng: random.Random) -> bytes:
    flocks = [rng.choice([FLOCK, rng.getrandbits(64)]) for _ in range(2)]
    return _HEAD.pack(rng.getrandbits(32), 0, rng.getrandbits(64), *flocks) + rng.randbytes(
        rng.randrange(1400)
    )


def _key_offers(_known: Known, rng: random.Random) -> bytes:
    flocks = [rng.choice([FLOCK, rng.getrandbits(64)]) for _ in range(2)]
    head = struct.pack("!8sQQI", b"SACRAMNT", *flocks, rng.getrandbits(32))
    return head + rng.randbytes(595)


ENTRIES: Final[dict[str, tuple[int, tuple[Make, ...]]]] = {
    "client offers": (
        PORT,
        (
            _garbage,
            _unknown_flock,
            _unknown_client,
            _unknown_device,
            _bad_signature,
            _stale,
            _oversized,
            _truncated,
            _mutated,
            _liturgies,
        ),
    ),
    "registration floods": (PORT, (_domains, _liturgies)),
    "NAT port": (NAT_PORT, (_nat, _garbage, _bad_signature, _truncated)),
    "federation": (PORT, (_forged_federation, _federation, _garbage)),
    "traffic and key offers": (PORT, (_traffic, _key_offers)),
}
"""The entries of a cathedral: the port, and what is thrown there."""


def throw(
    folder: str,
    entry: str,
    target: str,
    networks: list[str],
    federated: str,
    rate: float,
    count: int,
    seed: int,
) -> dict[str, float]:
    """Throw ``count`` datagrams at an entry, from random sources in ``networks`` (three numbers of
    an address each), every fourth from ``federated``; returns how many and in what time.
    """
    port, makers = ENTRIES[entry]
    rng = random.Random(seed)
    known = Known(folder)
    sealed = [make(known, rng) for make in makers for _ in range(SEALED)]
    thrown = 0
    started = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(count):
            if number % _BURST == 0:
                time.sleep(max(0.0, started + number / rate - time.monotonic()))
            if number % 4 == 3:
                source = federated, PORT
            else:
                source = f"{rng.choice(networks)}.{rng.randrange(1, 255)}", rng.randrange(1, 65536)
            with contextlib.suppress(OSError):
                raw.sendto(_datagram(rng.choice(sealed), source, (target, port)), (target, 0))
                thrown += 1
    return {"thrown": thrown, "seconds": time.monotonic() - started}


def _datagram(data: bytes, source: tuple[str, int], target: tuple[str, int]) -> bytes:
    udp = _UDP.pack(source[1], target[1], 8 + len(data), 0) + data
    ends = socket.inet_aton(source[0]), socket.inet_aton(target[0])
    return _IP.pack(0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, *ends) + udp
