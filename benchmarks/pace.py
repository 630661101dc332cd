"""How long the bench may take: the usual run, one that is longer, and one to see that it works."""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """``rounds``: of the tunnels' traffic; other sections have fewer. ``seconds``: of load in each.
    ``whole``: nothing is left to a longer run."""

    rounds: int = 5
    seconds: float = 1.2
    whole: bool = False


USUAL = Pace()
FULL = Pace(rounds=11, seconds=3.0, whole=True)
