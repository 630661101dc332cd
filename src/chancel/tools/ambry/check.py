"""For whom a bundle opens: every key at hand is tried on every entry."""

from __future__ import annotations

import dataclasses
import enum
import hmac
import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from chancel.crypto.kdf_ambry import Wrapping
from chancel.crypto.suite import Suite
from chancel.tools.ambry.bundle import Ends
from chancel.tools.ambry.crew import share_out
from chancel.tools.ambry.reading import Bundle, Entry, pairs, pairs_of
from chancel.wire.ambry import DEVICES, tunnel


class Device(NamedTuple):
    """A device: its flock, and its id there."""

    flock: int
    id: int

    @classmethod
    def of(cls, entry: Entry) -> Device:
        """The device that an entry is for."""
        return cls(entry[0], entry[1] >> 8)


class State(enum.IntEnum):
    """What became of an entry when a key was tried on it."""

    UNTRIED = 0
    OPENS = 1
    CLOSED = 2
    DIFFERS = 3
    """Opens, but the other end of the tunnel has another secret."""


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """For whom a bundle opens, as far as keys were at hand."""

    opens: tuple[Device, ...] = ()
    cut_off: tuple[Device, ...] = ()
    """Devices whose key opens none of their entries."""
    damaged: tuple[Entry, ...] = ()
    """Entries that are wrong although others of the same device are right."""

    @property
    def sound(self) -> bool:
        """Whether every device whose key is here has all its secrets."""
        return not (self.cut_off or self.damaged)


def check(bundle: Bundle, ends: Ends, suite: Suite, tell: Callable[[int, int], None]) -> Findings:
    """Try the keys that there are on all entries, and compare both ends of each tunnel."""
    states = memoryview(mmap.mmap(-1, 2 * bundle.shape.pairs))
    share_out(_Checking(bundle, ends, suite, states), DEVICES, tell)
    return _findings(bundle, states)


def refused(bundle: Bundle, ends: Ends, suite: Suite) -> tuple[Device, ...]:
    """Return the devices whose key doesn't open the first of their entries: a quick look."""
    own, peer = ends.flocks
    found: list[Device] = []
    sides = zip((own, peer), ends.keys, ends.wrappings(suite, bundle.header), strict=True)
    for flock, keys, wrapping in list(sides)[: 1 + bundle.shape.crossing]:
        for device, key in keys.items():
            other = 1 if bundle.shape.crossing or device != 1 else 2
            name = tunnel(device, other)
            with key.reveal() as revealed:
                if _opened(wrapping, revealed, name, bundle.wrapped[flock, name]) is None:
                    found.append(Device(flock, device))
    return tuple(found)


class _Checking:
    """The work: the pairs whose first device is the one drawn."""

    def __init__(self, bundle: Bundle, ends: Ends, suite: Suite, states: memoryview) -> None:
        self._bundle = bundle
        self._ends = ends
        self._wrappings = ends.wrappings(suite, bundle.header)
        self._states = states

    def __call__(self, devices: Iterator[int]) -> None:
        with ExitStack() as stack:
            keys = self._ends.revealed(stack)
            for device in devices:
                index = 2 * self._bundle.shape.pairs_before(device)
                for pair in pairs_of(self._bundle, device):
                    self._states[index : index + 2] = self._try(pair, keys)
                    index += 2

    def _try(self, pair: tuple[Entry, Entry], keys: list[dict[int, memoryview]]) -> bytes:
        secrets: list[bytes] = []
        states = bytearray()
        for entry, known, wrapping in zip(pair, keys, self._wrappings, strict=True):
            key = known.get(entry[1] >> 8)
            if key is None:
                states.append(State.UNTRIED)
                continue
            secret = _opened(wrapping, key, entry[1], self._bundle.wrapped[entry])
            states.append(State.CLOSED if secret is None else State.OPENS)
            if secret is not None:
                secrets.append(secret)
        if len(secrets) == 2 and not hmac.compare_digest(*secrets):
            return bytes((State.DIFFERS, State.DIFFERS))
        return bytes(states)


def _opened(wrapping: Wrapping, key: memoryview, name: int, wrapped: bytes) -> bytes | None:
    try:
        return wrapping.unwrap(key, name, wrapped)
    except InvalidTag:
        return None


def _findings(bundle: Bundle, states: memoryview) -> Findings:
    entries = [entry for pair in pairs(bundle) for entry in pair]
    found: dict[State, list[Entry]] = {state: [] for state in State}
    for entry, state in zip(entries, states, strict=True):
        found[State(state)].append(entry)
    opening = {Device.of(entry) for entry in (*found[State.OPENS], *found[State.DIFFERS])}
    closed = {Device.of(entry) for entry in found[State.CLOSED]} - opening
    damaged = [entry for entry in found[State.CLOSED] if Device.of(entry) in opening]
    return Findings(
        opens=tuple(sorted(opening)),
        cut_off=tuple(sorted(closed)),
        damaged=tuple(sorted([*damaged, *found[State.DIFFERS]])),
    )
