"""What the board of ``liturgy`` says, but for what the machine itself knows."""

from __future__ import annotations

import dataclasses
import math

from chancel.daemon.records import NOWHERE, TROUBLES, LiturgyRecord, member_bits, unreadable
from chancel.daemon.run import pack_address
from chancel.protocol.liturgy import Liturgy
from chancel.protocol.registration_events import (
    CathedralAnswers,
    CathedralSilent,
    Key,
    KeyUnavailable,
    RegistrationEvent,
)
from chancel.protocol.registration_types import CathedralChosen

_OF_KEYS = frozenset(map(unreadable, Key))


@dataclasses.dataclass(slots=True)
class LiturgyBoard:
    """What happened to one liturgy, as its record has it."""

    cathedral: bytes = NOWHERE
    cathedrals: int = 0
    cathedral_at: float = 0.0
    cathedral_silent_at: float = 0.0
    trouble: int = 0
    trouble_at: float = 0.0
    questions: int = 0
    error: int = 0

    def record(self, machine: Liturgy) -> LiturgyRecord:
        """The board's entry."""
        skew_s = machine.clock_skew_s
        return LiturgyRecord(
            members=member_bits(machine.members),
            answered_at=machine.answered_at or 0.0,
            cathedral=self.cathedral,
            cathedrals=self.cathedrals,
            cathedral_at=self.cathedral_at,
            cathedral_silent_at=self.cathedral_silent_at,
            cathedral_skew_s=math.nan if skew_s is None else skew_s,
            trouble=self.trouble,
            trouble_at=self.trouble_at,
            questions=self.questions,
            error=self.error,
        )

    def heed(self, event: RegistrationEvent, now: float) -> None:
        """Something happened between us and a cathedral."""
        match event:
            case CathedralAnswers():
                self.cathedral_silent_at = 0.0
                self.recovers(_OF_KEYS)
            case CathedralSilent(_, silent_s, _):
                self.cathedral_silent_at = now - silent_s
            case KeyUnavailable(key, _):
                self.suffers(unreadable(key), now)

    def chosen(self, command: CathedralChosen) -> None:
        """Another cathedral is in use."""
        address = command.address
        self.cathedral = NOWHERE if address is None else pack_address(address)
        self.cathedral_at = command.at

    def suffers(self, trouble: str, now: float) -> None:
        """Something is wrong: one of ``TROUBLES``."""
        self.trouble, self.trouble_at = TROUBLES.index(trouble), now

    def recovers(self, troubles: frozenset[str]) -> None:
        """None of these is the case any more."""
        if TROUBLES[self.trouble] in troubles:
            self.trouble, self.trouble_at = 0, 0.0
