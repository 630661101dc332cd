"""A tunnel at one moment, and in words what keeps it from being up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Final

from chancel.protocol.profile import CURRENT
from chancel.protocol.session import SessionStatus
from chancel.wire.drop import Drop


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelStatus:
    """A snapshot for people."""

    up: bool
    problem: str | None
    """Why nothing is carried, as far as can be told from here, and what to do; else ``None``."""
    waiting: int
    """Messages that arrived and were not received yet."""
    lost: int
    """Messages that arrived while too many others waited."""
    session: SessionStatus | None
    """What the protocol knows; ``None`` before the tunnel has begun."""


CAUSES: Final = {
    Drop.NO_SECRET: "the shared secret can't be read: the event SecretUnavailable says why",
    Drop.OFFER_OWN_ID: "our own offers come back: give the address of the peer, not our own",
    Drop.OFFER_BAD_TAG: (
        "offers arrive and none is authentic: both ends need the same secret, and each the other's"
        " flocks"
    ),
    Drop.OFFER_TIME: (
        "the peer's offers arrive too late to be believed: what carries them is too slow for an"
        " exchange of keys, or somebody repeats old ones"
    ),
    Drop.FLOCK_MISMATCH: (
        "packets arrive with other flocks: those of both ends have to be mirrored, own and peer"
    ),
    Drop.BAD_MASK: (
        "datagrams arrive that are not masked as ours are: both ends need shroud, and the same"
        " secret"
    ),
    Drop.NO_MASK: "there is no key for the mask yet: the event SecretUnavailable says why",
    Drop.SEQUENCE_MISMATCH: (
        "datagrams arrive that are none of this protocol: perhaps the peer masks them (shroud)"
    ),
}
"""Reasons for refusing what comes that explain why nothing is carried; the first one tells most."""


def problem(status: SessionStatus | None, up: bool, fresh: Counter[Drop]) -> str | None:
    """Why a tunnel carries nothing: a sentence with what to do. ``None`` if it may well do so.

    ``fresh`` counts what was refused since it carried something.
    """
    if status is None:
        return "it has not begun: use it with 'async with', and wait for what it runs over"
    if up:
        unheard = status.alive_age_s is None and fresh[Drop.FLOCK_MISMATCH]
        return CAUSES[Drop.FLOCK_MISMATCH] if unheard else None
    if fresh[Drop.OFFER_TIME] and abs(status.clock_skew_s or 0.0) > CURRENT.offer_validity_s:
        assert status.clock_skew_s is not None
        side = "behind" if status.clock_skew_s > 0 else "ahead of"
        return (
            f"our clock is {abs(status.clock_skew_s):.0f} s {side} the peer's, so each end refuses"
            " the other's offers: set the clock that is wrong"
        )
    for reason, why in CAUSES.items():
        if fresh[reason]:
            return why
    if status.peer is None:
        return "no peer has called yet: start it, or give its address"
    return (
        "the peer doesn't answer: check that it runs, that datagrams pass both ways, and that it"
        " has the same secret, flocks and shroud"
    )
