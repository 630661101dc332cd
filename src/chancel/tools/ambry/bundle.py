"""Making a bundle: for each pair of devices a new secret, wrapped once for each of them."""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from chancel.crypto.kdf_ambry import Wrapping
from chancel.crypto.suite import Suite
from chancel.errors import VaultError
from chancel.tools.ambry.crew import share_out
from chancel.tools.ambry.folder import Folder
from chancel.tools.ambry.keys import Keys, load_derived
from chancel.wire.ambry import (
    CROSSING,
    DEVICES,
    HEADER_BYTES,
    NO_GENERATION,
    OWN,
    SECRET_BYTES,
    SEED_BYTES,
    Header,
    Shape,
    encode_entry_into,
    expiry,
    tunnel,
)
from chancel.wire.types import Flocks

_MAX_EXPIRES = 0xFFFF


@dataclasses.dataclass(frozen=True, slots=True)
class Ends:
    """The flocks at both ends of a bundle's tunnels, which may be the same, and their keys.

    ``keys`` are those of the own flock's devices and of the peer's; without any, nothing is known.
    """

    flocks: Flocks
    keys: tuple[Keys, Keys]

    @property
    def shape(self) -> Shape:
        """Which pairs of devices there are."""
        return CROSSING if self.flocks.own != self.flocks.peer else OWN

    def wrappings(self, suite: Suite, header: Header) -> tuple[Wrapping, Wrapping]:
        """What wraps for devices of the own flock, and for those of the peer's."""
        own, peer = self.flocks
        return Wrapping(suite, header, self.flocks), Wrapping(suite, header, Flocks(peer, own))

    def revealed(self, stack: ExitStack) -> list[dict[int, memoryview]]:
        """Lend all keys for as long as ``stack`` stays open."""
        return [
            {device: stack.enter_context(key.reveal()) for device, key in keys.items()}
            for keys in self.keys
        ]


def load_ends(root: Path, flocks: Flocks, suite: Suite) -> Ends:
    """Load what a bundle is made with; raises ``VaultError``, which names the file at fault."""
    own = load_derived(Folder(root, flocks.own), flocks.peer, suite)
    if flocks.own == flocks.peer:
        return Ends(flocks, (own, own))
    return Ends(flocks, (own, load_derived(Folder(root, flocks.peer), flocks.own, suite)))


def new_header(suite: Suite, now: float, days: int, unlike: int = NO_GENERATION) -> Header:
    """Return the header of a bundle for so many days, with a generation that isn't ``unlike``.

    ``now`` is the wall clock. Raises ``VaultError`` where it can't be right.
    """
    expires = expiry(now, days)
    if not 0 <= expires <= _MAX_EXPIRES:
        raise VaultError(f"a bundle for {days} days can't be dated: set the clock of this machine")
    generation = NO_GENERATION
    while generation in (NO_GENERATION, unlike):
        generation = int.from_bytes(suite.random(4), "big")
    return Header(expires, generation, suite.random(SEED_BYTES))


def make(ends: Ends, header: Header, suite: Suite, tell: Callable[[int, int], None]) -> memoryview:
    """Return a new bundle, as it stands in its file; needs the keys of all devices."""
    shared = memoryview(mmap.mmap(-1, ends.shape.size))
    shared[:HEADER_BYTES] = header.encode()
    share_out(_Making(ends, header, suite, shared), DEVICES, tell)
    return shared.toreadonly()


class _Making:
    """The work: the pairs whose first device is the one drawn."""

    def __init__(self, ends: Ends, header: Header, suite: Suite, target: memoryview) -> None:
        self._ends = ends
        self._suite = suite
        self._wrappings = ends.wrappings(suite, header)
        self._target = target

    def __call__(self, devices: Iterator[int]) -> None:
        with ExitStack() as stack:
            own, peer = self._ends.revealed(stack)
            for device in devices:
                self._wrap(device, own[device], peer)

    def _wrap(self, device: int, key: memoryview, peer_keys: dict[int, memoryview]) -> None:
        flocks, shape = self._ends.flocks, self._ends.shape
        for_own, for_peer = self._wrappings
        peers = shape.peers(device)
        secrets = memoryview(self._suite.random(SECRET_BYTES * len(peers)))
        index = 2 * shape.pairs_before(device)
        for offset, peer in enumerate(peers):
            secret = secrets[offset * SECRET_BYTES :][:SECRET_BYTES]
            name = tunnel(device, peer)
            wrapped = for_own.wrap(key, name, secret)
            encode_entry_into(self._target, index, flocks.own, name, wrapped)
            name = tunnel(peer, device)
            wrapped = for_peer.wrap(peer_keys[peer], name, secret)
            encode_entry_into(self._target, index + 1, flocks.peer, name, wrapped)
            index += 2
