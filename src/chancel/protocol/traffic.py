"""Sealing: the one key we send with (protocol sections 3.2 and 8)."""

from __future__ import annotations

import dataclasses
import operator
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chancel.crypto.suite import Aead, Suite
from chancel.protocol.messages import Command, EraseKeys, InstallSendKey, SendReport
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.uncopied import Uncopied
from chancel.wire.drop import Drop
from chancel.wire.traffic import (
    FIRST_PACKET_NUMBER,
    TrafficHeader,
    TrafficLayout,
    add_tail,
    nonce,
    numbered,
)
from chancel.wire.types import Buffer, Flocks, Salt, Spi

_NUMBERS = struct.Struct("!IQ")
"""Sequence and packet number in a header; its last eight bytes are those of the nonce, too."""
_LOW_32 = 0xFFFF_FFFF


class Reservation(NamedTuple):
    """Packet numbers that belong to the caller, who seals each of them once or never.

    Number ``i`` of ``packets`` is ``first_number + i``; ``header`` is that of packet number 0.
    """

    aead: Aead
    salt: Salt
    first_number: int
    header: bytes
    layout: TrafficLayout
    packets: int


@dataclasses.dataclass(slots=True)
class SendKey:
    """The key that we send with, and what was counted under it."""

    spi: Spi
    salt: Salt
    aead: Aead
    header: bytes
    installed_at: float
    next_number: int = FIRST_PACKET_NUMBER
    last_at: float | None = None


class Sealer(Uncopied):
    """Seals packets under the newest key.

    A new key replaces the old one at once. A key that is too old, or out of packet numbers, is
    thrown away when the next packet is about to be sealed. ``drops`` counts packets that had no
    key. In a forked child everything that seals raises ``LocalProtocolError``.
    """

    def __init__(
        self,
        flocks: Flocks,
        suite: Suite,
        profile: Profile = CURRENT,
        make_key: Callable[[Spi, Salt, Aead, bytes, float], SendKey] = SendKey,
    ) -> None:
        super().__init__()
        self.drops: Counter[Drop] = Counter()
        self._flocks = flocks
        self._suite = suite
        self._profile = profile
        self._make_key = make_key
        self._layout = profile.layouts.traffic
        self._key: SendKey | None = None

    def __repr__(self) -> str:
        return f"<Sealer spi={self._key.spi:08x}>" if self._key else "<Sealer without key>"

    def execute(self, command: Command, now: float) -> None:
        """Install or erase a key. A receive key is none of ours and ignored."""
        match command:
            case InstallSendKey(spi, salt, key):
                header = self._layout.encode(TrafficHeader(spi, 0, *self._flocks))
                self._key = self._make_key(spi, salt, self._suite.aead(key), header, now)
            case EraseKeys():
                self._key = None

    def seal(self, payload: Buffer, next_: int, now: float) -> bytes | None:
        """Return the datagram of one payload, or ``None`` (counted) if there is no key."""
        keys = self.reserve(1, now)
        if keys is None:
            return None
        number = keys.first_number
        header = numbered(keys.header, number)
        bound = keys.layout.associated_data(header)
        text = keys.aead.encrypt(nonce(keys.salt, number), add_tail(payload, next_), bound)
        return header + text

    def seal_run(self, payloads: Sequence[Buffer], next_: int, now: float) -> list[bytes]:
        """Return the datagrams of the first payloads, as many as there are packet numbers for.

        Without a usable key that is none of them. Nothing is counted as dropped: who hands the rest
        to :meth:`seal` learns why.
        """
        count = min(len(payloads), self.left(now))
        keys = self.reserve(count, now) if count else None
        if keys is None:
            return []
        aead, salt, first, blank, layout, _packets = keys
        head, rest, pack, tail = blank[:4], blank[16:], _NUMBERS.pack, bytes((0, next_))
        headers = [
            b"".join((head, pack(number & _LOW_32, number), rest))
            for number in range(first, first + count)
        ]
        nonces = [salt + header[8:16] for header in headers]
        plaintexts = [b"".join((payload, tail)) for payload in payloads[:count]]
        bound = layout.associated_data_of_all(headers)
        return list(map(operator.add, headers, map(aead.encrypt, nonces, plaintexts, bound)))

    @property
    def key(self) -> SendKey | None:
        """The key in use; whoever takes packet numbers himself counts them there."""
        return self._key

    @property
    def limits(self) -> tuple[int, float]:
        """What ``next_number`` never exceeds, and how many seconds a key is good for."""
        return self._profile.send_limit_packets, self._profile.send_limit_age_s

    @property
    def layout(self) -> TrafficLayout:
        """How headers lie in what is sealed here."""
        return self._layout

    def left(self, now: float) -> int:
        """How many packets can be sealed at this moment under the key at hand; 0 without one."""
        key = self._key
        if key is None or now >= key.installed_at + self._profile.send_limit_age_s:
            return 0
        return max(0, self._profile.send_limit_packets - key.next_number)

    def reserve(self, count: int, now: float) -> Reservation | None:
        """Take ``count`` packet numbers for a batch; ``None`` (``count`` drops) if there is no key.

        The batch must be sealed at once: the key's age is judged here.
        """
        self.check_process()
        key = self._key
        if key is None:
            self.drops[Drop.NO_KEY] += count
            return None
        number = key.next_number
        if (
            number + count > self._profile.send_limit_packets
            or now >= key.installed_at + self._profile.send_limit_age_s
        ):
            self._key = None
            self.drops[Drop.KEY_EXPIRED] += count
            return None
        key.next_number = number + count
        key.last_at = now
        return Reservation(key.aead, key.salt, number, key.header, self._layout, count)

    def report(self) -> SendReport:
        """What is in use, and how many packets went out under it."""
        key = self._key
        if key is None:
            return SendReport()
        packets = key.next_number - FIRST_PACKET_NUMBER
        return SendReport(key.spi, packets, key.installed_at, key.last_at)
