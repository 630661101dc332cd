"""Which parts a session has, by its settings."""

from __future__ import annotations

from collections.abc import Callable

from chancel.crypto.suite import Suite
from chancel.protocol.base_keys import SecretSource
from chancel.protocol.exchange import Exchange
from chancel.protocol.keeper import Keeper, Mode
from chancel.protocol.path import Path
from chancel.protocol.pilgrim import Pilgrim
from chancel.protocol.session_types import SessionSettings
from chancel.protocol.shrine import Shrine
from chancel.protocol.whereabouts import Whereabouts
from chancel.wire.types import Address


def make_path(
    settings: SessionSettings, now: float
) -> tuple[Path | Whereabouts, Callable[[Address], bool]]:
    """What knows where the peer is, and what tells the addresses of cathedrals."""
    if settings.cathedral is None:
        return Path(settings.peer), lambda _address: False
    whereabouts = Whereabouts(
        settings.peer,
        now,
        mtu=settings.mtu,
        profile=settings.profile,
        kept=settings.cathedral.known_peers,
    )
    return whereabouts, whereabouts.is_relay


def make_keeper(
    settings: SessionSettings, suite: Suite, secret: SecretSource, now: float, wall: float
) -> Keeper:
    """The machine that makes the keys in the mode at hand."""
    profile, behaviour = settings.profile, settings.behaviour
    match settings.mode:
        case Mode.PILGRIM:
            return Pilgrim(suite, secret, now, wall, profile=profile, behaviour=behaviour)
        case Mode.SHRINE:
            return Shrine(suite, secret, now, profile=profile)
        case Mode.TUNNEL:
            cathedral = settings.cathedral
            return Exchange(
                suite,
                secret,
                now,
                wall,
                peer_configured=settings.peer is not None or cathedral is not None,
                awaits_ambry=cathedral is not None and cathedral.registrant.kek is not None,
                flocks=settings.flocks,
                spi_prefix=settings.spi_prefix,
                profile=profile,
                behaviour=behaviour,
            )
