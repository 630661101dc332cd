"""Whether the current cathedral still answers.

A cathedral may be silent because it has nothing to say. An info (what we tell it every few seconds)
is answered while the peer is registered, too. One that was asked for what it remembers says it, as
a *sign* of life, with the first info and then with the first after each 15 s. The reference waits
for 45 s. We know earlier of a cathedral

* that is new to us: it answers the first info, or the second if it takes the first for a restart,
* that answered each of the last infos: it stops when the peer leaves, but goes on giving signs.

Their next infos follow faster, and three without an answer are enough, the last of which should
have brought a sign. Without signs silence never says anything.
"""

from __future__ import annotations

import math
from typing import Final

INFO_INTERVAL_S: Final = 5.0
"""From one info to the next (cathedral section 2.2)."""

INFO_SPACING_S: Final = 3.2
"""No two infos to one cathedral are closer: it passes on to others one in 3 s (section 4.4.6), and
the way there may take the second less long than the first."""

SILENCE_S: Final = 45.0
"""Silence after which a cathedral counts as dead in any case (section 6.3)."""

_UNANSWERED: Final = 3
"""Infos without an answer after which one counts as dead that should have answered each."""

_UNANSWERED_LONG: Final = 9
"""The same for one that may have had nothing to say: as many as there are in 45 s."""

_SIGN_S: Final = 15.0
"""How long a cathedral that gave a sign gives no other."""

_STEADY: Final = 2
"""Answers to infos in a row after which the next is expected to be answered, too."""


class Silence:
    """What is known of the current cathedral's answers.

    ``signs`` is whether it is asked for signs. While :attr:`overdue`, the next info had better not
    wait for its turn.
    """

    def __init__(self, now: float, *, signs: bool) -> None:
        self.signs = signs
        self.begin(now, restarted=True)

    def __repr__(self) -> str:
        return f"<Silence {self._unanswered} unanswered>"

    @property
    def overdue(self) -> bool:
        """Whether an answer is expected and has not come yet."""
        return self._unanswered > 0 and self._expected

    @property
    def answering(self) -> bool:
        """Whether it was heard lately."""
        few = _UNANSWERED if self._expected else _UNANSWERED_LONG
        return self._heard and self._unanswered < few

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
        self._answered = False
        self._row = 0

    def asked(self, now: float) -> None:
        """An info went out."""
        if self._answered:
            self._row += 1
        elif not self._unanswered:
            self._row = 0  # something was heard since the last info, but no answer to it
        self._answered = False
        self._unanswered += 1
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
        self._answered |= answer
        if sign:
            self._sign_at = now
        return news

    def silent_s(self, now: float) -> float:
        """How long ago it was heard, or became the current one if it never was."""
        return now - self._heard_at

    def over_at(self) -> float:
        """When it counts as dead if nothing comes: infinity if silence says nothing so far."""
        if self._told or not self.signs or self._unanswered < _UNANSWERED:
            return math.inf
        if self._expected and self._asked_at >= self._sign_at + _SIGN_S:
            return self._asked_at + INFO_SPACING_S
        return self._heard_at + SILENCE_S

    def told(self) -> None:
        """That it counts as dead was told, and it stays the current one: not again until heard."""
        self._told = True

    @property
    def _expected(self) -> bool:
        """Whether each info should be answered."""
        return self._row >= _STEADY if self._heard else self.signs
