"""The states of an exchange, as tables.

An exchange offers our key (PK fragments) until the peer answers it, and repeats its answer to the
peer's key (CT fragments) until the peer uses the receive key that came of it. Both may finish
first, hence two ways from ``ANSWERED`` to the end::

    IDLE -> OFFERED -> ANSWERED -> KEYED -> IDLE     the peer's answer came first
                           `-----> USED --> IDLE     the peer's traffic came first

``OFFERED`` follows ``ANSWERED`` when the peer begins anew while our own key is still good.
"""

from __future__ import annotations

import enum
from typing import Final

from chancel.errors import LocalProtocolError
from chancel.wire.offer import OfferState


class State(enum.Enum):
    """What an exchange still waits for."""

    IDLE = "idle"
    """There is no exchange."""
    OFFERED = "offered"
    """Our key is on its way; the peer's isn't complete."""
    ANSWERED = "answered"
    """We have a receive key and no sending key; the peer has used nothing yet."""
    USED = "used"
    """The peer uses our receive key; its answer to our key is still missing."""
    KEYED = "keyed"
    """We have both keys; the peer hasn't used ours yet, so it may lack our answer."""


class Step(enum.Enum):
    """What moves an exchange on."""

    START = "start"
    ANSWER = "the peer's key is complete and answered"
    PEER_ANEW = "the peer began anew"
    KEY = "the peer's answer is complete"
    USE = "the peer uses our receive key"
    END = "given up, expired or replaced"


TRANSITIONS: Final = {
    (State.IDLE, Step.START): State.OFFERED,
    (State.OFFERED, Step.ANSWER): State.ANSWERED,
    (State.OFFERED, Step.KEY): State.IDLE,
    (State.OFFERED, Step.END): State.IDLE,
    (State.ANSWERED, Step.PEER_ANEW): State.OFFERED,
    (State.ANSWERED, Step.KEY): State.KEYED,
    (State.ANSWERED, Step.USE): State.USED,
    (State.ANSWERED, Step.END): State.IDLE,
    (State.USED, Step.KEY): State.IDLE,
    (State.USED, Step.END): State.IDLE,
    (State.KEYED, Step.USE): State.IDLE,
    (State.KEYED, Step.END): State.IDLE,
}

SENDS: Final = {
    State.IDLE: (),
    State.OFFERED: (OfferState.PK,),
    State.ANSWERED: (OfferState.PK, OfferState.CT),
    State.USED: (OfferState.PK,),
    State.KEYED: (OfferState.CT,),
}
"""What each transmission consists of."""


def after(state: State, step: Step) -> State:
    """Return the state that follows; ``LocalProtocolError`` if there is no such transition."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise LocalProtocolError(f"an exchange that is {state.value} can't {step.name}") from None
