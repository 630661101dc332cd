"""The last steps of everything that a session sends: one size, sealed, masked, with an address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chancel.crypto.suite import Suite
from chancel.protocol.graces import Graces
from chancel.protocol.keeper import Mode
from chancel.protocol.session_masks import Masks
from chancel.protocol.session_types import SessionSettings
from chancel.protocol.tfc import Tfc
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_INNER
from chancel.wire.types import Address, Buffer


class Dispatch:
    """What leaves one session. ``drops`` counts what doesn't, but for want of a key."""

    def __init__(
        self,
        settings: SessionSettings,
        suite: Suite,
        sealer: Sealer,
        graces: Graces,
        tfc: Tfc | None,
        masks: Masks | None,
    ) -> None:
        self.drops: Counter[Drop] = Counter()
        self._suite = suite
        self._sealer = sealer
        self._graces = graces
        self._tfc = tfc
        self._masks = masks
        self._fills_offers = settings.mode is Mode.TUNNEL and (
            settings.profile.tfc_fills_bare_offers or settings.masked
        )
        self._outgoing: list[tuple[bytes, Address]] = []

    def packet(self, payload: Buffer, next_: int, to: Address | None, now: float) -> bool:
        """Seal one payload and queue its datagram; ``False`` (counted) if that can't be."""
        if to is None:
            self.drops[Drop.NO_PEER] += 1
            return False
        if self._tfc is not None:
            payload = self._tfc.fill(payload)
        datagram = self._sealer.seal(payload, next_, now)
        if datagram is None:
            self._graces.key_lost()
            return False
        self._queue([datagram], to, now)
        return True

    def run(self, payloads: Sequence[Buffer], to: Address, now: float) -> int:
        """Seal the first of these inner packets, as many as may be with one key; how many."""
        whole = payloads if self._tfc is None else [self._tfc.fill(each) for each in payloads]
        datagrams = self._sealer.seal_run(whole, NEXT_INNER, now)
        self._queue(datagrams, to, now)
        return len(datagrams)

    def offers(self, offers: list[bytes], targets: Sequence[Address], now: float) -> None:
        """Queue offers, which are sealed already, for each of these addresses."""
        if not targets:
            self.drops[Drop.NO_PEER] += len(offers)
        if self._tfc is not None and self._fills_offers:
            offers = [self._tfc.fill_offer(offer, self._suite) for offer in offers]
        for target in targets:
            self._queue(offers, target, now, offer=True)

    def drain(self) -> list[tuple[bytes, Address]]:
        """Take what is to be sent, and where to."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def _queue(
        self, datagrams: list[bytes], to: Address, now: float, *, offer: bool = False
    ) -> None:
        if self._masks is None:
            self._outgoing += [(datagram, to) for datagram in datagrams]
            return
        for datagram in datagrams:
            masked = self._masks.wrap(datagram, to, self._graces.safe_mtu, now, offer=offer)
            if masked is None:
                self.drops[Drop.NO_MASK] += 1
            else:
                self._outgoing.append((masked, to))
