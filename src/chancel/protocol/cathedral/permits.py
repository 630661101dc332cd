"""Who may do what, by the settings in force (cathedral sections 4.2 and 4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.settings import FlockSettings, Pair, Settings, pair
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.drop import Drop
from chancel.wire.types import FlockId, Flocks

_DOMAIN_BITS = 0xFF
_DEVICE_BITS = 8


def without_domain(flock: FlockId) -> FlockId:
    """The id of a flock, its lowest 8 bits cleared."""
    return FlockId(flock & ~_DOMAIN_BITS)


class _Flock:
    """One flock's settings, ready to be asked: bandwidth by identity and device."""

    __slots__ = ("bundle", "identities", "mbits")

    def __init__(self, settings: FlockSettings) -> None:
        self.bundle = settings.bundle
        self.mbits = {
            allow.identity << _DEVICE_BITS | allow.device: allow.mbit for allow in settings.allows
        }
        self.identities = frozenset(allow.identity for allow in settings.allows)


class Permits:
    """What the operator allows: nothing at first. Flocks are with domain unless said otherwise."""

    def __init__(self) -> None:
        self.adopt(Settings())

    def adopt(self, settings: Settings) -> None:
        """Take other settings."""
        self._flocks = {each: _Flock(flock) for each, flock in settings.flocks.items()}
        self._xflocks: Mapping[Pair, Bundle | None] = dict(settings.xflocks)

    def require_client(self, flock: FlockId, identity: CathedralId) -> None:
        """Raise ``RemoteProtocolError``: ``FLOCK_UNKNOWN``, ``CLIENT_UNKNOWN`` (not in it)."""
        if identity not in self._flock(flock).identities:
            raise RemoteProtocolError(Drop.CLIENT_UNKNOWN)

    def require_together(self, flocks: Flocks) -> None:
        """Raise ``RemoteProtocolError`` unless these may have tunnels with each other:
        ``FLOCK_UNKNOWN``, ``FLOCKS_APART``.
        """
        own, peer = flocks
        self._flock(own)
        if own == peer:
            return
        self._flock(peer)
        crossing = pair(without_domain(own), without_domain(peer)) in self._xflocks
        if not crossing or (own ^ peer) & _DOMAIN_BITS:
            raise RemoteProtocolError(Drop.FLOCKS_APART)

    def mbit(self, flock: FlockId, identity: CathedralId, device: int) -> int:
        """The bandwidth of this device; raises ``RemoteProtocolError``: ``FLOCK_UNKNOWN``,
        ``DEVICE_NOT_ALLOWED`` unless this identity may register it.
        """
        mbit = self._flock(flock).mbits.get(identity << _DEVICE_BITS | device)
        if mbit is None:
            raise RemoteProtocolError(Drop.DEVICE_NOT_ALLOWED)
        return mbit

    def require_tunnel(self, flocks: Flocks, identity: CathedralId, tunnel: TunnelId) -> int:
        """The bandwidth of a tunnel's end, which this identity must be allowed to register.

        Raises ``RemoteProtocolError`` as :meth:`require_together` and :meth:`mbit`.
        """
        self.require_together(flocks)
        return self.mbit(flocks.own, identity, tunnel >> _DEVICE_BITS)

    def bundle(self, flocks: Flocks) -> Bundle | None:
        """The wrapped secrets of tunnels between flocks that may have some."""
        own, peer = (without_domain(flock) for flock in flocks)
        return self._flocks[own].bundle if own == peer else self._xflocks[pair(own, peer)]

    def generations(self) -> set[int]:
        """Of all bundles in force."""
        bundles = [flock.bundle for flock in self._flocks.values()] + [*self._xflocks.values()]
        return {bundle.header.generation for bundle in bundles if bundle is not None}

    def clients(self) -> Iterator[tuple[Flocks, CathedralId]]:
        """Each identity with each pair of its own flock, first, and one that it may have tunnels
        to. Without domains.
        """
        ways = [(own, own) for own in self._flocks]
        for one, other in self._xflocks:
            ways += [(one, other), (other, one)]
        for own, peer in ways:
            for identity in self._flocks[own].identities if own in self._flocks else ():
                yield Flocks(own, peer), identity

    def _flock(self, flock: FlockId) -> _Flock:
        known = self._flocks.get(without_domain(flock))
        if known is None:
            raise RemoteProtocolError(Drop.FLOCK_UNKNOWN)
        return known
