"""Whether the current cathedral still answers.

A cathedral may be silent because it has nothing to say. An info (what we tell it every few seconds)
is answered while the peer is registered, too. One that was asked for what it remembers says it, as
a *sign* of life, with the first info and then with the first after each 15 s, whatever becomes of
the peer. The reference waits for 45 s. We know earlier: three infos in a row without an answer are
enough if a sign was due with each of them; or with the last alone, if each should have been
answered anyway, as it is

* by one that answered the info before them: it stops when the peer leaves, but goes on with signs,
* by one that is new to us: it answers the first, or the second if it takes the first for a restart.

Infos follow faster meanwhile. Without signs silence says nothing; only while something is awaited
(a first ambry, without which there may be no exchange) a long one counts, as 45 s do otherwise.
"""

from __future__ import annotations

import math
from typing import Final

from chancel.protocol.registration_pace import INFO_SPACING_S

SILENCE_S: Final = 45.0
"""Silence after which nobody expects anything of a cathedral any more (section 6.3)."""

_UNANSWERED: Final = 3
"""Infos without an answer after which one counts as dead that should have answered each."""

_SIGN_S: Final = 15.0
"""How long a cathedral that gave a sign gives no other."""


class Silence:
    """What is known of the current cathedral's answers.

    ``signs`` is whether it is asked for signs, and ``awaited`` whether something of it is awaited.
    While :attr:`overdue`, the next info had better not wait for its turn.
    """

    def __init__(self, now: float, *, signs: bool) -> None:
        self.signs = signs
        self.awaited = False
        self.begin(now, restarted=True)

    def __repr__(self) -> str:
        return f"<Silence {self._unanswered} unanswered>"

    @property
    def overdue(self) -> bool:
        """Whether an answer is expected and has not come yet."""
        return self._missed > 0 or (self._unanswered > 0 and self._expected)

    def answering(self, now: float) -> bool:
        """Whether it was heard lately."""
        silent = self._unanswered if self._expected else self._missed
        return self._heard and silent < _UNANSWERED and now < self._heard_at + SILENCE_S

    def begin(self, now: float, *, restarted: bool) -> None:
        """Another cathedral is the current one.

        ``restarted``: it is our first, so an earlier run may have got a sign from it just now.
        """
        self._heard_at = now
        self._heard = False
        self._told = False
        self._sign_at = now if restarted else -math.inf
        self._asked_at = now
        self._unanswered = 0
        self._missed = 0
        self._answered = False
        self._steady = False

    def asked(self, now: float) -> None:
        """An info went out in its turn."""
        if self._answered or not self._unanswered:
            self._steady = self._answered
        self._answered = False
        self._unanswered += 1
        if self.signs and now >= self._sign_at + _SIGN_S:
            self._missed += 1
        self._asked_at = now

    def heard(self, now: float, *, answer: bool = False, sign: bool = False) -> bool:
        """Something authentic came: the answer to an info, a sign, or anything else.

        Returns whether that is news: it was never heard before, or was thought to be dead.
        """
        news = self._told or not self._heard
        self._heard_at = now
        self._heard = True
        self._told = False
        self._unanswered = 0
        self._missed = 0
        self._answered |= answer
        if sign:
            self._sign_at = now
        return news

    def silent_s(self, now: float) -> float:
        """How long ago it was heard, or became the current one if it never was."""
        return now - self._heard_at

    def over_at(self) -> float:
        """When it counts as dead if nothing comes: infinity if silence says nothing so far."""
        enough = 1 if self._expected else _UNANSWERED
        if self._told:
            return math.inf
        if self._unanswered >= _UNANSWERED and self._missed >= enough:
            return self._asked_at + INFO_SPACING_S
        return self._heard_at + SILENCE_S if self.awaited else math.inf

    def told(self) -> None:
        """That it counts as dead was told, and it stays the current one: not again until heard."""
        self._told = True

    @property
    def _expected(self) -> bool:
        """Whether each info should be answered."""
        return self._steady if self._heard else self.signs
