"""What happened, for logs, traces and people. Frozen, and never needed for correct function."""

from __future__ import annotations

import dataclasses
import enum

from chancel.wire.offer import OfferState
from chancel.wire.types import Address, InstanceId, Spi


class Reason(enum.StrEnum):
    """Why an exchange was started (protocol section 7.4)."""

    NO_KEYS = "no keys"
    HEARTBEAT_TIMEOUT = "heartbeat timeout"
    PACKETS = "packet limit"
    AGE = "key age"
    PEER_RENEGOTIATES = "peer renegotiates"
    PEER_RESTARTED = "peer restarted"
    PEER_BEGAN_ANEW = "peer began anew"
    RESYNC = "re-sync"
    UNFINISHED = "last one unfinished"
    CLOCK_JUMP = "clock jump"
    AMBRY = "ambry generation switch"


class Outcome(enum.StrEnum):
    """How an exchange ended."""

    FINISHED = "finished"
    EXPIRED = "expired"
    REPLACED = "replaced"
    ABANDONED = "abandoned"


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangeStarted:
    """We offer a key of our own; ``spi`` is the one the peer shall send under."""

    reason: Reason
    spi: Spi


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangeEnded:
    """The exchange with this SPI of ours is over."""

    outcome: Outcome
    spi: Spi


@dataclasses.dataclass(frozen=True, slots=True)
class ExchangePaused:
    """Several exchanges failed in a row; no other is started for ``seconds``."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiveKeyInstalled:
    """The peer's key is answered: it may send under our SPI as soon as it has the answer."""

    spi: Spi


@dataclasses.dataclass(frozen=True, slots=True)
class SendKeyInstalled:
    """The peer has answered our key: from now on we send under its SPI."""

    spi: Spi


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiveKeyUsed:
    """The first authentic packet under this SPI of ours arrived."""

    spi: Spi


@dataclasses.dataclass(frozen=True, slots=True)
class PeerRestarted:
    """The peer has another instance id than before."""

    id: InstanceId


@dataclasses.dataclass(frozen=True, slots=True)
class PeerUnresponsive:
    """Nothing authentic came for so long that all keys were erased."""

    silent_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClockJumped:
    """The wall clock ran ahead of the monotonic one: a suspend, or the clock was set."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClockSkew:
    """The peer's wall clock minus ours, in seconds: positive means that ours is behind.

    ``refused`` says that it is so large that offers are refused.
    """

    seconds: float
    refused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class SecretUnavailable:
    """The shared secret can't be loaded; ``problem`` is a sentence for people."""

    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class SecretNotShared:
    """The secret was replaced and the peer agreed on no keys under it for ``waited_s``, so those of
    the old one were erased. The peer has not got it: it is cut off, or finds no cathedral."""

    waited_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class PathChanged:
    """The peer is at another address; ``None`` means unknown."""

    address: Address | None


@dataclasses.dataclass(frozen=True, slots=True)
class PathDirect:
    """Traffic goes to the peer's own address: datagrams were seen to pass in both directions."""

    address: Address


@dataclasses.dataclass(frozen=True, slots=True)
class PathRelayed:
    """Traffic goes to the cathedral, which relays it; ``None``: there is no cathedral yet."""

    cathedral: Address | None


@dataclasses.dataclass(frozen=True, slots=True)
class MtuChanged:
    """The inner device's MTU shall be this many bytes."""

    mtu: int


@dataclasses.dataclass(frozen=True, slots=True)
class MtuNotFound:
    """No probe was acknowledged, down to the smallest; discovery rests for a while."""

    smallest: int


@dataclasses.dataclass(frozen=True, slots=True)
class OffersSent:
    """``count`` offers went out, the fragments of our key or of our answer. Only when traced."""

    kind: OfferState
    spi: Spi
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class OfferReceived:
    """An authentic offer came in time; it may be refused yet. Only when traced.

    ``spi`` is the one that its body is about.
    """

    kind: OfferState
    spi: Spi
    fragment: int


Event = (
    ExchangeStarted
    | ExchangeEnded
    | ExchangePaused
    | ReceiveKeyInstalled
    | SendKeyInstalled
    | ReceiveKeyUsed
    | PeerRestarted
    | PeerUnresponsive
    | ClockJumped
    | ClockSkew
    | SecretUnavailable
    | SecretNotShared
    | PathChanged
    | PathDirect
    | PathRelayed
    | MtuChanged
    | MtuNotFound
    | OffersSent
    | OfferReceived
)

MAX_EVENTS = 256
"""How many events a machine keeps for a reader that doesn't come; then the oldest go first."""
