"""What all calls of a context work with: its parts, and what the packet paths look at."""

from __future__ import annotations

from collections import Counter

from chancel.errors import RemoteProtocolError
from chancel.protocol.shroud import SHROUD_BYTES
from chancel.protocol.uncopied import Uncopied
from chancel.wire.cathedral import CATHEDRAL
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC, OFFER_BYTES
from chancel.wire.traffic import OVERHEAD_BYTES
from libkyrka.configuring import Ends
from libkyrka.constants import (
    KYRKA_ERROR_INTERNAL,
    KYRKA_ERROR_MTU_SIZE,
    KYRKA_ERROR_SHROUD_NO_KEYS,
    KYRKA_PACKET_DATA_LEN,
)
from libkyrka.keys import Keys
from libkyrka.masking import SELECTORS, Masks
from libkyrka.material import Material
from libkyrka.notices import keys_erased, log
from libkyrka.surroundings import Surroundings
from libkyrka.telling import Telling

DEFAULT_MTU = 1472
"""1500 bytes of Ethernet without the headers of IPv4 and UDP."""

_SHROUDED_OFFER_BYTES = OFFER_BYTES + SHROUD_BYTES
_UINT_32 = 0xFFFF_FFFF


class Parts(Uncopied, Telling):
    """The base of a context."""

    __slots__ = (
        "_drops",
        "_keys",
        "_masks",
        "_material",
        "_mtu",
        "_p2p",
        "_receiving",
        "_room",
        "_sending",
        "_shroud_on",
        "_surroundings",
    )

    def _open(self, surroundings: Surroundings) -> None:
        Uncopied.__init__(self)
        self._open_telling()
        self._surroundings = surroundings
        self._material = Material()
        self._keys = Keys(surroundings, self._material.shared)
        self._masks = Masks(self._material, surroundings.suite)
        self._drops: Counter[Drop] = Counter()
        self._mtu = DEFAULT_MTU
        self._p2p = True
        self._shroud_on = False
        self._prepare()

    def _begin_anew(self, ends: Ends) -> None:
        """Become another end; keys that were for another tunnel are gone."""
        had_keys = any(self._keys.spis)
        self._drops += self._keys.drops
        self._keys = Keys(self._surroundings, self._material.shared, ends.flocks, ends.tunnel)
        self._masks = Masks(self._material, self._surroundings.suite, ends)
        self._prepare()
        if had_keys:
            self._say(keys_erased())

    def _prepare(self) -> None:
        """Work out what the two packet paths look at, after anything of it changed."""
        keys, shroud_lacks = self._keys, self._shroud_on and self._masks.lacks_peer_key
        overhead = OVERHEAD_BYTES + (SHROUD_BYTES if self._shroud_on else 0)
        self._room = 0 if shroud_lacks else min(self._mtu - overhead, KYRKA_PACKET_DATA_LEN)
        self._sending = keys.sending
        receiving = keys.receiving
        ambiguous = receiving is not None and any(
            magic.startswith(receiving.spi_bytes) for magic in (MAGIC, CATHEDRAL.magic)
        )
        self._receiving = None if self._shroud_on or ambiguous else receiving

    def _tell(self) -> None:
        while (notice := self._keys.next_notice()) is not None:
            self._say(notice)

    def _require_room_for_offers(self) -> None:
        if self._shroud_on and self._mtu < _SHROUDED_OFFER_BYTES:
            raise self._refuse(KYRKA_ERROR_MTU_SIZE)

    def _renew_mask(self, selector: int) -> None:
        notice = self._masks.renew(selector)
        if notice is not None:
            self._prepare()
            self._say(notice)

    def _shrouded(self, datagram: bytes, selector: int) -> bytes:
        """Mask it, if shroud is on. Raises ``RuntimeError``: 6 (unknown selector), 17 (no key)."""
        if not self._shroud_on:
            return datagram
        self._renew_mask(selector)
        now = self._surroundings.monotonic()
        packet = self._masks.wrap(datagram, selector, self._mtu, now)
        if packet is not None:
            return packet
        if selector in SELECTORS:
            raise self._refuse(KYRKA_ERROR_SHROUD_NO_KEYS)
        self._say(log(f"bad shroud in packet ({selector & _UINT_32})"))
        raise self._refuse(KYRKA_ERROR_INTERNAL)

    def _unshrouded_untrusted(self, datagram: bytes, selector: int) -> bytes:
        """Unmask it, if shroud is on. Raises ``RemoteProtocolError``: ``TOO_SHORT``, ``NO_MASK``
        (no key), ``BAD_MASK``.
        """
        if not self._shroud_on:
            return datagram
        if selector not in SELECTORS:
            self._say(log(f"unknown shroud type in packet ({selector & _UINT_32})"))
            raise RemoteProtocolError(Drop.NO_MASK)
        self._renew_mask(selector)
        return self._masks.unwrap_untrusted(datagram, selector)
