"""A tunnel at one moment, and in words what keeps it from being up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Final

from chancel.protocol.profile import CURRENT
from chancel.protocol.session import CathedralStatus, SessionStatus
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


SILENT_S: Final = 8.0
"""An info, another one, and time for an answer: then a cathedral's silence is told of."""


def problem(
    status: SessionStatus | None, up: bool, fresh: Counter[Drop], nameless: str | None = None
) -> str | None:
    """Why a tunnel carries nothing: a sentence with what to do. ``None`` if it may well do so.

    ``fresh`` counts what was refused since it carried something, ``nameless`` says of a cathedral's
    name that it has no address.
    """
    if status is None:
        return "it has not begun: use it with 'async with', and wait for what it runs over"
    if up:
        unheard = status.alive_age_s is None and fresh[Drop.FLOCK_MISMATCH]
        return CAUSES[Drop.FLOCK_MISMATCH] if unheard else None
    why = None
    if status.cathedral is not None:
        why = _cathedral_problem(status.cathedral, fresh, nameless)
    return why or _refused(status, fresh) or _unheard(status)


def _refused(status: SessionStatus, fresh: Counter[Drop]) -> str | None:
    """What explains best that nothing comes of what comes."""
    if fresh[Drop.OFFER_TIME] and _is_too_large(status.clock_skew_s):
        return (
            f"our clock is {_skew(status.clock_skew_s)} the peer's, so each end refuses the"
            " other's offers: set the clock that is wrong"
        )
    return next((why for reason, why in CAUSES.items() if fresh[reason]), None)


def _unheard(status: SessionStatus) -> str:
    """What may be the matter where nothing comes at all."""
    if status.cathedral is not None:
        return (
            "the cathedral answers and the peer doesn't: check that it runs, is registered with the"
            " same flock and the mirrored tunnel number, and has the same secret and shroud"
        )
    if status.peer is None:
        return "no peer has called yet: start it, or give its address"
    return (
        "the peer doesn't answer: check that it runs, that datagrams pass both ways, and that it"
        " has the same secret, flocks and shroud"
    )


def _cathedral_problem(
    cathedral: CathedralStatus, fresh: Counter[Drop], nameless: str | None
) -> str | None:
    """What is wrong between us and our cathedrals, if anything is."""
    if cathedral.cathedral is None:
        return f"no cathedral's address is known: {nameless or 'its name is being looked up'}"
    if _is_too_large(cathedral.clock_skew_s):
        return (
            f"our clock is {_skew(cathedral.clock_skew_s)} the cathedral's, so each refuses what"
            " the other says: set the clock that is wrong"
        )
    if fresh[Drop.AMBRY_BAD_TAG]:
        return (
            "our KEK doesn't open the shared secret that the cathedral hands out: it is another"
            " device's, or was replaced because this device counts as lost"
        )
    if fresh[Drop.AMBRY_EXPIRED]:
        return "the shared secrets that the cathedral hands out have expired: make a new bundle"
    if cathedral.silent_s is not None and cathedral.silent_s > SILENT_S:
        return (
            f"the cathedral {cathedral.cathedral} is silent for {cathedral.silent_s:.0f} s: check"
            " that it runs, that UDP passes both ways, that identity, flock, cathedral secret, COSK"
            " and shroud are those it knows, and that our clock is right within ten seconds; or the"
            " peer isn't registered there"
        )
    return None


def _is_too_large(skew_s: float | None) -> bool:
    return skew_s is not None and abs(skew_s) > CURRENT.offer_validity_s


def _skew(skew_s: float | None) -> str:
    """In words, from our side; there is a skew."""
    assert skew_s is not None
    return f"{abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'}"
