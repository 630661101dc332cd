"""The shared secret that comes as an ambry: waiting for the first one, and for the peer to have it.

An ambry is a shared secret that a cathedral hands out wrapped, in *generations*. A device that may
get one doesn't use a secret that it merely still has (cathedral section 8.5): it may be one that
others were told to forget. Yet it must come up where all cathedrals are dead, so it waits for ten
seconds and not for ever, unless a cathedral is there to ask.

A new generation reaches both ends within seconds. Until they have agreed on keys under it those of
the old one stay in use; but not for long, as the peer may be a lost device that gets none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

AMBRY_PATIENCE_S: Final = 10.0
"""For how long the first ambry is waited for while no cathedral answers: two infos, and a bit."""
AMBRY_LIMIT_S: Final = 75.0
"""For how long keys of a replaced secret outlive it."""


class Switch:
    """Says when exchanges may begin, and when the keys of a replaced secret are erased.

    ``has_secret`` tells whether there is one from earlier times.
    """

    def __init__(self, awaits_ambry: bool, has_secret: Callable[[], bool], now: float) -> None:
        self._has_secret = has_secret
        self.opens_at = now + AMBRY_PATIENCE_S if awaits_ambry else -math.inf
        """From when on exchanges are started and answered."""
        self.erase_at = math.inf
        """When keys are erased unless an exchange completes before."""

    def cathedral_answers(self) -> None:
        """A cathedral is there to ask for the first ambry: it is waited for as long as it takes."""
        if self.opens_at > -math.inf:
            self.opens_at = math.inf

    def cathedral_silent(self, now: float) -> None:
        """There is none any more: what was true at the start is true again."""
        if self.opens_at == math.inf:
            self.opens_at = now + AMBRY_PATIENCE_S

    def opened(self, now: float) -> bool:
        """Whether exchanges may begin now; without a secret there is nothing to begin with."""
        if self.opens_at == -math.inf:
            return True
        if now < self.opens_at:
            return False
        opened = self._has_secret()
        self.opens_at = -math.inf if opened else now + AMBRY_PATIENCE_S
        return opened

    def replaced(self, has_keys: bool, now: float) -> None:
        """There is another secret; ``has_keys``: and keys that came of the old one."""
        self.opens_at = -math.inf
        if has_keys:
            # Not later for another replacement: whoever hands out two in turn could go on for ever.
            self.erase_at = min(self.erase_at, now + AMBRY_LIMIT_S)

    def completed(self) -> None:
        """An exchange under the secret of now brought a sending key, or there are no keys left."""
        self.erase_at = math.inf
