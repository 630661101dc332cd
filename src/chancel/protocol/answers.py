"""Our answers to the peer's keys, kept for a peer that did not get them.

An answer that goes out before the peer has our key may harm it (``Profile.answer_hold``), so it is
held until our key has been sent often enough or the peer has shown that it arrived.

The latest answer is *wanted* until the peer uses the receive key that came of it, or offers another
key. While no exchange sends it, it is repeated for each repeat of the peer's key, and now and then
of our own accord (see ``exchange``).
"""

from __future__ import annotations

import math

from chancel.protocol.agreement import Answer
from chancel.protocol.behaviour import Behaviour
from chancel.protocol.liveness import Liveness
from chancel.protocol.profile import Profile
from chancel.wire.types import Salt, Spi

MAX_ANSWERED = 4
"""Answered keys of the peer that are remembered; packets of still older ones are long lost."""


class Answers:
    """The latest answer, and the SPIs and salts of the last few keys that were answered."""

    def __init__(self, live: Liveness, profile: Profile, behaviour: Behaviour) -> None:
        self._live = live
        self._profile = profile
        self._behaviour = behaviour
        self._latest: Answer | None = None
        self._salts: dict[Spi, Salt] = {}
        self._hold = 0
        self._sent_at = -math.inf

    @property
    def to_send(self) -> Answer | None:
        """The latest answer, unless the peer may lack part of our key and be harmed by one."""
        return None if self._hold else self._latest

    @property
    def latest(self) -> Answer | None:
        """The answer that may still be wanted."""
        return self._latest

    def salt(self, peer_spi: Spi) -> Salt | None:
        """The salt that belongs to this SPI of the peer, if that key was answered."""
        return self._salts.get(peer_spi)

    def add(self, answer: Answer) -> None:
        """The peer's key was answered."""
        self._latest = answer
        self._hold = self._profile.answer_hold
        self._salts[answer.peer_spi] = answer.peer_salt
        while len(self._salts) > MAX_ANSWERED:
            del self._salts[next(iter(self._salts))]

    def key_sent(self) -> None:
        """Our key went out to the peer once more."""
        self._hold = max(0, self._hold - 1)

    def key_arrived(self) -> bool:
        """The peer has all of our key; whether the answer was held until now."""
        held = self._latest is not None and self._hold > 0
        self._hold = 0
        return held

    def drop(self) -> None:
        """The latest answer is of no more use: the peer offers another key, or keys are erased."""
        self._latest = None

    def sent(self, now: float) -> None:
        """The latest answer went out."""
        self._sent_at = now

    def repeat_for(self, peer_spi: Spi, now: float) -> Answer | None:
        """The answer to give again now to a key that the peer repeats."""
        latest = self.to_send
        due = now >= self._sent_at + self._profile.offer_interval_s
        if not self._behaviour.answer_repeated_key or not due or not self._wanted():
            return None
        return latest if latest is not None and latest.peer_spi == peer_spi else None

    def repeat_at(self) -> float:
        """When to send the latest answer unasked, if no exchange does."""
        interval_s = self._behaviour.late_answer_interval_s
        if interval_s is None or self._hold or not self._wanted():
            return math.inf
        return self._sent_at + interval_s

    def _wanted(self) -> bool:
        return self._latest is not None and not self._live.used(self._latest.own_spi)
