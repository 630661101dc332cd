"""What happened between us and our cathedrals, for logs and people. Frozen, and needed by nobody
to work correctly."""

from __future__ import annotations

import dataclasses
import enum

from chancel.wire.drop import Drop
from chancel.wire.types import Address


class Key(enum.StrEnum):
    """The keys that a client of cathedrals has."""

    SECRET = "cathedral secret"  # noqa: S105 - a name, not a password
    COSK = "cosk"
    KEK = "kek"


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralAnswers:
    """The current cathedral answers: for the first time, or again."""

    address: Address


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralSilent:
    """The current cathedral should have answered by now, and was last heard ``silent_s`` ago (or
    chosen then, if it never was).

    ``next`` is the one that is the current one from now on; ``None`` if no other is known: then it
    stays, and its name may be worth another look.
    """

    address: Address
    silent_s: float
    next: Address | None


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralInVain:
    """The current cathedral says that the peer is there, and nothing of the peer comes. ``next`` is
    the current one from now on."""

    address: Address
    next: Address


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralClockSkew:
    """The cathedral's wall clock minus ours, in seconds: positive means that ours is behind.

    ``refused`` says that it is so large that what it says is refused.
    """

    seconds: float
    refused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class KeyUnavailable:
    """A key can't be loaded; ``problem`` is a sentence for people. Told once for each problem."""

    key: Key
    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class AmbryAdopted:
    """The shared secret is that of this generation now."""

    generation: int


@dataclasses.dataclass(frozen=True, slots=True)
class AmbryRefused:
    """An ambry can't be used. Told once for each generation and reason.

    ``AMBRY_BAD_TAG``: it was made for another KEK, so this device may be cut off on purpose.
    ``AMBRY_EXPIRED``: its bundle is too old. ``AMBRY_TUNNEL``: it is for another tunnel.
    ``AMBRY_REPEATED``: it was replaced before, so the cathedral serves an older bundle again.
    """

    generation: int
    reason: Drop


@dataclasses.dataclass(frozen=True, slots=True)
class AmbryNotKept:
    """The secret of this generation could not be kept; the next offer of it is tried again."""

    generation: int
    problem: str


RegistrationEvent = (
    CathedralAnswers
    | CathedralSilent
    | CathedralInVain
    | CathedralClockSkew
    | KeyUnavailable
    | AmbryAdopted
    | AmbryRefused
    | AmbryNotKept
)
