"""Opening: the keys we receive with (protocol sections 3.3, 8 and 9).

Keys stand in the order in which they were installed. One is *active*; those installed after it are
*pending* and become active with their first authentic packet; those before it are *retired* and go
on opening packets that were under way for a few seconds, counted from the change. A pending key
that another pending key follows stays as well, since the peer may just have begun to use it: so no
packet is refused because of a rekey.

In tunnel mode two keys have the same SPI only if one exchange of ours answered two keys of the
peer; then each key with that SPI is tried.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag

from chancel.crypto.suite import Aead, Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.messages import Command, EraseKeys, InstallReceiveKey, ReceiveReport
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.window import ReplayWindow
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.traffic import (
    NEXT_GRACE,
    NEXT_INNER,
    TrafficHeader,
    TrafficLayout,
    nonce,
    split_tail_untrusted,
)
from chancel.wire.types import Buffer, Flocks, Salt, Spi

_NUMBERS = struct.Struct("!IIQ")
"""What heads the header in every version: SPI, sequence, packet number."""
_LOW_32 = 0xFFFF_FFFF
_INNER_TAIL = bytes((0, NEXT_INNER))
_MAGIC_SPI = int.from_bytes(MAGIC[:4], "big")


class Opened(NamedTuple):
    """An authentic packet: its payload without tail, and what it is (``NEXT_…``)."""

    payload: bytes
    next_: int


@dataclasses.dataclass(slots=True, eq=False)
class Slot:
    """One receive key. ``expires_at`` is monotonic seconds; from then on it opens nothing."""

    spi: Spi
    salt: Salt
    aead: Aead = dataclasses.field(repr=False)
    window: ReplayWindow
    installed_at: float
    expires_at: float = math.inf
    packets: int = 0


class Opener:
    """Opens packets under the active, pending and retired keys.

    Every refusal is raised and counted by the caller, at the place where the bytes entered, in
    ``drops``. A batch takes the parts of :meth:`open_untrusted` by itself: :attr:`expected_flocks`,
    :meth:`lookup` or :meth:`slots`, the slot's window and cipher, :meth:`authenticated`,
    :meth:`tail_allowed`; and for any packet that doesn't fit the batch, or whose tag is bad, the
    whole method. Call :meth:`wake` before a batch when :meth:`wake_at` has come: ``lookup`` has no
    clock.

    ``window`` makes the replay window of a key from its width, and may make a twin of ours.
    """

    def __init__(
        self,
        flocks: Flocks,
        suite: Suite,
        behaviour: Behaviour = CHANCEL,
        profile: Profile = CURRENT,
        window: Callable[[int], ReplayWindow] = ReplayWindow,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self.layout = profile.layouts.traffic
        self.expected_flocks = self.layout.flock_bytes(Flocks(flocks.peer, flocks.own))
        """The bytes from 16 on of every header that the peer sends."""
        self._suite = suite
        self._behaviour = behaviour
        self._window = window
        self._slots: list[Slot] = []
        self._active: Slot | None = None
        self._alive_at: float | None = None
        self._expires_at = math.inf

    def __repr__(self) -> str:
        spis = " ".join(
            f"[{slot.spi:08x}]" if slot is self._active else f"{slot.spi:08x}"
            for slot in self._slots
        )
        return f"<Opener {spis or 'without key'}>"

    @property
    def active(self) -> Slot | None:
        """The key that the peer used last, or the first one until it uses any."""
        return self._active

    @property
    def pending(self) -> Slot | None:
        """The newest key, if the peer has not used it yet and another one is active."""
        newest = self._slots[-1] if self._slots else None
        return newest if newest is not self._active else None

    def execute(self, command: Command, now: float) -> None:
        """Install a key or erase all. A send key is none of ours and ignored."""
        match command:
            case InstallReceiveKey(spi, salt, key):
                window = self._window(self._behaviour.replay_window)
                self._install(Slot(spi, salt, self._suite.aead(key), window, now), now)
            case EraseKeys():
                self._slots.clear()
                self._active = None
                self._set_expiry()

    def recognises(self, datagram: Buffer) -> bool:
        """Whether an untrusted datagram begins as an offer, or with the SPI of a key."""
        return (
            datagram[:8] == MAGIC
            or self.lookup(Spi(int.from_bytes(datagram[:4], "big"))) is not None
        )

    def lookup(self, spi: int) -> Slot | None:
        """The first key to try for packets with this SPI."""
        active = self._active
        if active is not None and active.spi == spi:
            return active
        return next((slot for slot in reversed(self._slots) if slot.spi == spi), None)

    def slots(self) -> list[Slot]:
        """All keys; those with one SPI in the order in which to try them, the active one first."""
        slots = self._slots[::-1]
        if len(slots) > 1 and self._active is not None:
            slots.remove(self._active)
            slots.insert(0, self._active)
        return slots

    def open_untrusted(self, datagram: Buffer, now: float) -> Opened:
        """Open one datagram of kind ``TRAFFIC``.

        Raises ``RemoteProtocolError``: ``TOO_SHORT``, ``ZERO_SPI``, ``SEQUENCE_MISMATCH``,
        ``FLOCK_MISMATCH``, ``UNKNOWN_SPI``, ``DUPLICATE``, ``TOO_OLD``, ``BAD_TAG``; and, where the
        packet is authentic and counts as such, ``RESERVED_NOT_ZERO`` and ``UNKNOWN_NEXT``.
        """
        self.wake(now)
        layout = self.layout
        header = layout.decode_untrusted(datagram)
        if datagram[16 : layout.header_bytes] != self.expected_flocks:
            raise RemoteProtocolError(Drop.FLOCK_MISMATCH)
        reason = Drop.UNKNOWN_SPI  # and no exception: kept here, it would be a cycle with our frame
        for slot in self.slots():
            if slot.spi != header.spi:
                continue
            try:
                plaintext = _decrypt_untrusted(slot, layout, header, datagram)
            except RemoteProtocolError as error:
                reason = error.reason
            else:
                slot.window.mark(header.packet_number)
                self.authenticated(slot, now, 1)
                return Opened(*split_tail_untrusted(plaintext))
        raise RemoteProtocolError(reason)

    def open_run_untrusted(self, datagrams: Sequence[Buffer], now: float) -> list[bytes]:
        """Open the first datagrams of a batch, for as long as they are ordinary; their payloads.

        Ordinary are inner packets under the active key, each with a higher number than all before.
        What follows the last of them is for :meth:`open_untrusted`, which knows all cases: this
        does exactly the same for those it takes, and nothing at all for the others.
        """
        self.wake(now)
        slot = self._active
        if slot is None or slot.spi == _MAGIC_SPI:  # which may be offers as well
            return []
        window = slot.window
        payloads: list[bytes] = []
        numbers = self._open_ordinary_untrusted(datagrams, slot, payloads)
        if numbers:
            window.mark_all(np.array(numbers, np.uint64))
            self.authenticated(slot, now, len(numbers))
        return payloads

    def authenticated(self, slot: Slot, now: float, count: int) -> None:
        """``count`` packets under the slot's key were authentic, and are marked in its window."""
        slot.packets += count
        self._alive_at = now
        active = self._active
        if slot is active:
            return
        age_order = self._slots.index
        if active is not None and age_order(slot) < age_order(active):
            return
        if not self._behaviour.keep_window_on_promotion:
            slot.window.forget()
        self._active = slot
        for older in self._slots[: age_order(slot)]:
            older.expires_at = min(older.expires_at, now + self._behaviour.straggler_s)
        self._set_expiry()
        self.wake(now)

    def tail_allowed(self, reserved: int, next_: int) -> bool:
        """Judge the tail of an authentic packet of a batch; counted in ``drops`` if refused."""
        if reserved != 0:
            self.drops[Drop.RESERVED_NOT_ZERO] += 1
            return False
        if next_ not in (NEXT_INNER, NEXT_GRACE):
            self.drops[Drop.UNKNOWN_NEXT] += 1
            return False
        return True

    def report(self) -> ReceiveReport:
        """What has been received so far."""
        active = self._active
        if active is None:
            return ReceiveReport(alive_at=self._alive_at)
        return ReceiveReport(active.spi, active.packets, active.installed_at, self._alive_at)

    def wake_at(self) -> float | None:
        """When the next key expires."""
        return None if self._expires_at == math.inf else self._expires_at

    def wake(self, now: float) -> None:
        """Erase the keys that have expired. Costs one comparison when there is none."""
        if now < self._expires_at:
            return
        self._slots = [slot for slot in self._slots if now < slot.expires_at]
        if self._active not in self._slots:
            self._active = self._slots[0] if self._slots else None
        self._set_expiry()

    def _open_ordinary_untrusted(
        self, datagrams: Sequence[Buffer], slot: Slot, payloads: list[bytes]
    ) -> list[int]:
        """Append the payloads of the first, ordinary datagrams; the numbers of these packets.

        One loop without calls of our own, as most of the time of a fast tunnel is spent here.
        """
        layout, flocks = self.layout, self.expected_flocks
        at, least = layout.header_bytes, layout.overhead_bytes
        unpack, whole = _NUMBERS.unpack_from, layout.sequence_authenticated
        key_spi, salt, decrypt = slot.spi, slot.salt, slot.aead.decrypt
        highest = slot.window.highest
        last = highest - 1 if slot.window.check(highest) else highest
        numbers: list[int] = []
        for datagram in datagrams:
            if not least <= len(datagram) <= MAX_DATAGRAM_BYTES:
                break
            spi, sequence, number = unpack(datagram)
            if spi != key_spi or number <= last or sequence != number & _LOW_32:
                break
            header = datagram[:at]
            if header[16:] != flocks:
                break
            bound = header if whole else layout.associated_data(header)
            try:
                plaintext = decrypt(salt + header[8:16], datagram[at:], bound)
            except InvalidTag:
                break
            if plaintext[-2:] != _INNER_TAIL:
                break
            payloads.append(plaintext[:-2])
            numbers.append(number)
            last = number
        return numbers

    def _install(self, slot: Slot, now: float) -> None:
        behaviour = self._behaviour
        if behaviour.receive_key_limit_s is not None:
            slot.expires_at = now + behaviour.receive_key_limit_s
        if len(self._slots) == behaviour.receive_keys:
            others = (old for old in self._slots if old is not self._active)
            self._slots.remove(next(others, self._slots[0]))
        self._slots.append(slot)
        if self._active not in self._slots:
            self._active = slot
        self._set_expiry()

    def _set_expiry(self) -> None:
        self._expires_at = min((slot.expires_at for slot in self._slots), default=math.inf)


def _decrypt_untrusted(
    slot: Slot, layout: TrafficLayout, header: TrafficHeader, datagram: Buffer
) -> bytes:
    """Raises ``RemoteProtocolError``: ``DUPLICATE``, ``TOO_OLD``, ``BAD_TAG``."""
    refusal = slot.window.refusal(header.packet_number)
    if refusal is not None:
        raise RemoteProtocolError(refusal)
    view, at = memoryview(datagram), layout.header_bytes
    bound = layout.associated_data(view[:at])
    try:
        return slot.aead.decrypt(nonce(slot.salt, header.packet_number), view[at:], bound)
    except InvalidTag:
        raise RemoteProtocolError(Drop.BAD_TAG) from None
