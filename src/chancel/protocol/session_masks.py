"""The masks of a session: which one a datagram wears is told by where it goes or comes from.

Between peers there is one key, derived from the shared secret. Whatever goes to or comes from a
cathedral, relayed traffic included, is masked under another one, derived from the cathedral secret,
and begins with a mark, by which the cathedral tells whose it is (cathedral section 9.1).

When an ambry replaces the shared secret, the key between peers goes with it, and one end is always
the first. So the old key still unmasks for a while, and masks everything but offers, which only a
peer with the new secret understands, until something came from the peer under the new key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from chancel.crypto.kdf import peer_shroud_key
from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.cathedral_shroud import CathedralShroud
from chancel.protocol.encapsulation import Encapsulation
from chancel.protocol.events import Event
from chancel.protocol.mask_keys import MaskKeys
from chancel.protocol.masking import Mask
from chancel.protocol.session_types import SessionSettings
from chancel.protocol.shroud import Shroud
from chancel.protocol.switch import AMBRY_LIMIT_S
from chancel.wire.drop import Drop
from chancel.wire.types import Address, Buffer


class Masks:
    """What is put around the datagrams of one session, and taken off. Not made where nothing is.

    ``is_relay`` tells the addresses of cathedrals, ``recognises`` whether a datagram is an offer or
    traffic under an SPI of ours, by its head. :attr:`secret` is to be asked for the shared secret
    instead of the source that was given, as what is read is noticed.
    """

    def __init__(
        self,
        settings: SessionSettings,
        suite: Suite,
        secret: SecretSource,
        now: float,
        is_relay: Callable[[Address], bool],
        recognises: Callable[[Buffer], bool],
    ) -> None:
        self.secret = secret
        self._suite = suite
        self._is_relay = is_relay
        self._recognises = recognises
        self._peer: Mask | None = None
        self._old: _Old | None = None
        self._peer_keys: MaskKeys | None = None
        self._relay: CathedralShroud | None = None
        if settings.encapsulation is not None:
            with settings.encapsulation.reveal() as key:
                self._peer = Encapsulation(key, suite)
        elif settings.shroud:
            flocks = settings.flocks
            self._peer_keys = MaskKeys(
                secret, lambda revealed: peer_shroud_key(suite, revealed, flocks), now
            )
            self.secret = self._peer_keys
            if settings.cathedral is not None:
                self._relay = CathedralShroud(settings.cathedral.registrant, suite, now)

    def ready(self, address: Address) -> bool:
        """Whether there is a key for datagrams to this address."""
        return self._mask(address) is not None

    def wrap(
        self, datagram: Buffer, to: Address, limit: int, now: float, *, offer: bool = False
    ) -> bytes | None:
        """Return the datagram to send; ``None`` without a key. ``limit`` as in ``Mask``."""
        if self._relay is not None and self._is_relay(to):
            return self._relay.wrap(datagram, limit, now)
        mask, old = self._peer, self._old
        if old is not None and now < old.until and old.masks and not offer:
            mask = old.mask
        return None if mask is None else mask.wrap(datagram, limit)

    def unwrap_untrusted(self, datagram: Buffer, source: Address, now: float) -> bytes:
        """Return what was wrapped.

        Raises ``RemoteProtocolError``: ``NO_MASK``, and what the mask raises.
        """
        mask = self._mask(source)
        if mask is None:
            raise RemoteProtocolError(Drop.NO_MASK)
        old = self._old
        if old is None or mask is not self._peer or now >= old.until:
            return mask.unwrap(datagram)
        return self._unwrap_either_untrusted(datagram, mask, old)

    def secret_replaced(self, now: float) -> None:
        """The shared secret is another one: derive the key between peers anew."""
        if self._peer_keys is not None:
            old, before = self._peer, self._old
            self._peer_keys.look(now)
            self.wake(now)
            if old is not None and old is not self._peer:
                unused = before is not None and before.masks and now < before.until
                kept = before.mask if before is not None and unused else old
                self._old = _Old(kept, now + AMBRY_LIMIT_S)

    def wake_at(self) -> float | None:
        """When to be woken: the past means at once."""
        return min((keys.wake_at() for keys in self._keys()), default=None)

    def wake(self, now: float) -> None:
        """Look at the secrets, if it is time to, and use the newest keys."""
        for keys in self._keys():
            keys.wake(now)
        self.take()

    def take(self) -> None:
        """Use the newest key between peers: whoever read the secret may have brought another."""
        if self._peer_keys is not None:
            for command in self._peer_keys.commands():
                self._peer = Shroud(command.key, self._suite)
        if self._relay is not None:
            self._relay.take()

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or ``None``."""
        for keys in self._keys():
            if (event := keys.next_event()) is not None:
                return event
        return None

    def _unwrap_either_untrusted(self, datagram: Buffer, new: Mask, old: _Old) -> bytes:
        """A mask proves nothing, so what is under it decides which one it was."""
        found: list[bytes] = []
        refusal: RemoteProtocolError | None = None
        for mask in (new, old.mask):
            try:
                found.append(mask.unwrap(datagram))
            except RemoteProtocolError as error:
                refusal = error
                continue
            if self._recognises(found[-1]):
                old.masks &= mask is not new
                return found[-1]
        if found:
            return found[0]
        assert refusal is not None, "neither mask came off"
        raise refusal

    def _mask(self, address: Address) -> Mask | None:
        relay = self._relay
        return self._peer if relay is None or not self._is_relay(address) else relay.shroud

    def _keys(self) -> Iterator[MaskKeys]:
        if self._peer_keys is not None:
            yield self._peer_keys
        if self._relay is not None:
            yield self._relay.keys


@dataclasses.dataclass(slots=True)
class _Old:
    """The mask of the secret before. ``masks``: the peer has not shown that it has the new one."""

    mask: Mask
    until: float
    masks: bool = True
