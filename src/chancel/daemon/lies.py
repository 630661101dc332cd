"""What a process says of a neighbour whose words can't be true.

The processes of a group don't trust each other: each is sealed off so that one that was broken into
can't do as it likes with the rest. What comes over a lane, a link or a board is therefore judged
where it comes in. A neighbour that is found lying is broken or hostile, and what it was to do can't
be had any more: the process that finds it says so in one line and ends, and the group with it.
"""

from __future__ import annotations

from chancel.errors import ChancelError


class NeighbourLied(ChancelError, ValueError):  # noqa: N818 - what happened, not an error of ours
    """A neighbour says what no process of ours says; the message is the sentence for the log."""
