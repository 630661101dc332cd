"""What happened to tunnels, in words that a simulation and a run of real programs have in common.

Times, addresses and SPIs differ from run to run; which end of which tunnel came up, went direct,
lost its peer, and in which order, does not.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from chancel.protocol.events import (
    PathDirect,
    PathRelayed,
    PeerUnresponsive,
    ReceiveKeyUsed,
    SecretNotShared,
    SendKeyInstalled,
)
from chancel.protocol.session_types import SessionEvent


class Word(enum.StrEnum):
    """What can happen to one end of a tunnel."""

    UP = "up"
    """It has a key to send with, and heard the peer under one of its own: for the first time since
    it had power, or was down."""
    NEW_KEY = "new key"
    """The peer has begun to use another key."""
    RELAYED = "relayed"
    DIRECT = "direct"
    DOWN = "down"
    """The peer was given up, or the device lost power."""


class Line(NamedTuple):
    """One thing that happened: when (seconds since the start), and at whose end towards whom."""

    at: float
    who: str
    peer: str
    what: Word

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.who} - {self.peer}: {self.what}"


class Teller:
    """Puts the events of one tunnel end into words."""

    def __init__(self) -> None:
        self.up = False
        self._sends = False
        self._hears = False
        self._path: Word | None = None

    @property
    def direct(self) -> bool:
        """Whether the end sends straight to the peer."""
        return self._path is Word.DIRECT

    def take(self, event: SessionEvent) -> Word | None:
        """The word for this event; ``None`` for one that needs none."""
        match event:
            case SendKeyInstalled():
                self._sends = True
                return self._now_up()
            case ReceiveKeyUsed():
                self._hears = True
                return Word.NEW_KEY if self.up else self._now_up()
            case PeerUnresponsive() | SecretNotShared():
                return self.end()
            case PathDirect():
                return self._now_by(Word.DIRECT)
            case PathRelayed(cathedral) if cathedral is not None:
                return self._now_by(Word.RELAYED)
        return None

    def end(self) -> Word | None:
        """The device lost its power, or the end its keys."""
        was_up, self.up, self._sends, self._hears = self.up, False, False, False
        return Word.DOWN if was_up else None

    def _now_up(self) -> Word | None:
        if self.up or not (self._sends and self._hears):
            return None
        self.up = True
        return Word.UP

    def _now_by(self, path: Word) -> Word | None:
        if path is self._path:
            return None
        self._path = path
        return path


def canonical(lines: Iterable[Line]) -> Mapping[tuple[str, str], tuple[Word, ...]]:
    """By end of a tunnel (who, peer) what happened to it, in order, repetitions left out.

    Two runs of one scenario that tell the same story have equal ones, whatever their times are.
    """
    found: dict[tuple[str, str], list[Word]] = {}
    for _, who, peer, what in sorted(lines):
        words = found.setdefault((who, peer), [])
        if not words or words[-1] is not what:
            words.append(what)
    return {ends: tuple(words) for ends, words in sorted(found.items())}
