"""The keys of a parish: those of its devices, and the bundles of secrets between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.suite import Suite
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.registration_types import Registrant
from chancel.sim.cathedral_node import KeyRing
from chancel.sim.clock import EPOCH_S
from chancel.sim.parish_plan import Plan, Resident
from chancel.vault.secret import Secret
from chancel.wire.ambry import (
    ENTRY_BYTES,
    HEADER_BYTES,
    SEED_BYTES,
    Header,
    encode_entry_into,
    expiry,
    tunnel,
)
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.types import FlockId, Flocks

KEY_BYTES = 32
BUNDLE_DAYS = 30
_TUNNELS = 1 << 16


class ParishKeys:
    """Made once, in the order of the plan, from ``rng``. ``ring`` is what all cathedrals have."""

    def __init__(
        self, plan: Plan, rng: random.Random, suite: Callable[[random.Random], Suite]
    ) -> None:
        self.ring = KeyRing()
        self._plan = plan
        self._rng = rng
        self._suite = suite
        self._keks = [rng.randbytes(KEY_BYTES) for _ in plan.residents]
        self._secrets = [self._identity(resident) for resident in plan.residents]

    def registrant(self, own: int, peer: int, nat_port: int) -> Registrant:
        """What one device is to cathedrals, for its tunnel to another."""
        resident, other = self._plan.residents[own], self._plan.residents[peer]
        secret, cosk = self._secrets[own]
        kek = Secret(self._keks[own])
        return Registrant(
            identity(resident),
            Flocks(resident.flock_id, other.flock_id),
            TunnelId(tunnel(resident.number, other.number)),
            lambda: secret,
            lambda: cosk,
            (lambda: kek) if self._plan.ambry else None,
            nat_port,
            remember=True,
        )

    def bundles(self, generation: int, now: float) -> dict[FlockId, Bundle]:
        """New secrets for all tunnels, wrapped; for each flock the entries that matter here, of the
        64,770 of a file."""
        plan = self._plan
        flocks: dict[FlockId, list[tuple[int, int]]] = {}
        for one, other in plan.tunnels:
            flocks.setdefault(plan.residents[one].flock_id, []).append((one, other))
        header = Header(
            expiry(EPOCH_S + now, BUNDLE_DAYS), generation, self._rng.randbytes(SEED_BYTES)
        )
        return {flock: self._bundle(header, flock, pairs) for flock, pairs in flocks.items()}

    def _identity(self, resident: Resident) -> tuple[Secret, Secret]:
        seed, secret = self._rng.randbytes(KEY_BYTES), Secret(self._rng.randbytes(KEY_BYTES))
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self.ring.add(identity(resident), secret, public)
        return secret, Secret(seed + public)

    def _bundle(self, header: Header, flock: FlockId, pairs: Iterable[tuple[int, int]]) -> Bundle:
        suite, flocks = self._suite(self._rng), Flocks(flock, flock)
        wrapping = Wrapping(suite, header, flocks)
        entries = {name: data for pair in pairs for name, data in self._entries(wrapping, *pair)}
        data = bytearray(HEADER_BYTES + len(entries) * ENTRY_BYTES)
        data[:HEADER_BYTES] = header.encode()
        places = np.full(_TUNNELS, -1, np.int32)
        for index, (name, wrapped) in enumerate(entries.items()):
            encode_entry_into(data, index, flock, name, wrapped)
            places[name] = index
        return Bundle(header, bytes(data), {flock: places})

    def _entries(self, wrapping: Wrapping, one: int, other: int) -> list[tuple[int, bytes]]:
        secret, found = self._rng.randbytes(KEY_BYTES), []
        for own, peer in ((one, other), (other, one)):
            mine, theirs = self._plan.residents[own], self._plan.residents[peer]
            flocks = Flocks(mine.flock_id, mine.flock_id)
            derived = derived_kek(self._suite(self._rng), self._keks[own], flocks)
            name = tunnel(mine.number, theirs.number)
            found.append((name, wrapping.wrap(derived, name, secret)))
        return found


def identity(resident: Resident) -> CathedralId:
    """The number by which cathedrals know a device."""
    return CathedralId((resident.flock + 1) << 8 | resident.number)
