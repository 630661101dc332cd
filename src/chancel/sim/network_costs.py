"""What one message costs a cathedral, measured on this machine with the primitives of programs.

Only the ratios are taken from here: a whole cathedral, with its sockets and processes, is measured
by ``make bench`` for infos alone.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.protocol.cathedral_offers import seal_request
from chancel.protocol.registration_pace import INFO_INTERVAL_S
from chancel.sim.cathedral_node import KeyRing
from chancel.sim.network_scale import BENCH_INFO_S, Costs
from chancel.sim.network_suite import RealSuite
from chancel.vault.secret import Secret
from chancel.wire.ambry import tunnel
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import InfoBody
from chancel.wire.offer import OfferLayout
from chancel.wire.types import Address, FlockId, Flocks, InstanceId

PAIRS: Final = 100
ROUNDS: Final = 6
_FLOCK: Final = FlockId(0xCAFE00)
_IDENTITY: Final = CathedralId(1)
_WALL: Final = 1_800_000_000.0
_ADDRESSES: Final = (Address("203.0.113.1", 4500), Address("203.0.113.2", 4500))

Datagrams = Sequence[tuple[bytes, Address]]


def measure() -> Costs:
    """The costs of a cathedral: the figure of ``make bench`` for an info, and the others in the
    proportion in which they were found here."""
    alone, first = _Stage(federated=False), _Stage(federated=True)
    info_s = alone.seconds(CATHEDRAL)
    probe_s = alone.seconds(NAT)
    both_s, federated_s = first.seconds(CATHEDRAL), first.federated_s
    scale = BENCH_INFO_S / info_s
    return Costs(
        info_s=BENCH_INFO_S,
        probe_s=probe_s * scale,
        federated_s=federated_s * scale,
        passed_on_s=max(0.0, both_s - info_s) * scale,
    )


@dataclasses.dataclass(slots=True)
class _Stage:
    """A cathedral with both ends of some tunnels, and another that is told of them."""

    federated: bool
    federated_s: float = 0.0
    """Of one info that is passed on, at the other cathedral."""

    def seconds(self, layout: OfferLayout) -> float:
        """The time of one message, the fastest round's: what is slower was disturbed."""
        rng = random.Random(1)  # noqa: S311 - a measurement
        suite, ring, sync = RealSuite(rng, {}), KeyRing(), Secret(rng.randbytes(32))
        seed, secret = rng.randbytes(32), rng.randbytes(32)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        ring.add(_IDENTITY, Secret(secret), public)
        members = _ADDRESSES if self.federated else ()
        allows = tuple(Allow(_IDENTITY, device, 0) for device in range(1, 2 * PAIRS + 1))
        settings = Settings({_FLOCK: FlockSettings(_FLOCK, allows)}, {}, members)
        one, other = (
            Cathedral(
                RealSuite(rng, {}),  # one that remembers nothing of the other's work
                *(Options(each, 1373, p2p_sync=True), ring, lambda: sync, settings, 0.0),
            )
            for each in _ADDRESSES
        )
        base = client_offer_base(suite, secret, _FLOCK)
        found, passed = [], []
        for number in range(ROUNDS):
            now = number * INFO_INTERVAL_S
            infos = _sealed(suite, base, seed + public, int(_WALL + now), CATHEDRAL)
            probes = _sealed(suite, base, seed + public, int(_WALL + now), NAT)
            order = (infos, probes) if layout is CATHEDRAL else (probes, infos)
            found.append(_feed(one, order[0], now))
            sent = one.datagrams()
            to_other = [(data, _ADDRESSES[0]) for data, to in sent if to == _ADDRESSES[1]]
            if to_other:
                passed.append(_feed(other, to_other, now) * len(to_other) / (2 * PAIRS))
            _feed(one, order[1], now)
            one.datagrams()
            one.wake(now, _WALL + now)
        self.federated_s = min(passed, default=0.0)
        return min(found[1:])


def _sealed(
    suite: RealSuite, base: bytes, cosk: bytes, timestamp: int, layout: OfferLayout
) -> Datagrams:
    found = []
    for own in range(1, 2 * PAIRS + 1):
        peer = own + 1 if own % 2 else own - 1
        body = InfoBody(TunnelId(tunnel(own, peer)), InstanceId(own), skips_ambry=True)
        flocks = Flocks(_FLOCK, _FLOCK)
        offer = seal_request(suite, base, flocks, _IDENTITY, timestamp, body, cosk, layout)
        found.append((offer, Address(f"198.51.100.{own}", 4500)))
    return found


def _feed(cathedral: Cathedral, datagrams: Datagrams, now: float) -> float:
    """Processor seconds for each."""
    started = time.process_time()
    for datagram, source in datagrams:
        cathedral.receive(datagram, source, now, _WALL + now)
    return (time.process_time() - started) / len(datagrams)
