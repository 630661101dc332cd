"""Wirings that a test makes in its own process, and closes.

Their descriptors lie between 900 and the usual limit of 1024: a process has room for two of them.
"""

from __future__ import annotations

import os

from chancel.daemon.topology import Wiring


def close(wiring: Wiring, mapped: frozenset[int] = frozenset()) -> None:
    """Close all of a wiring but the memory that a process of it has ``mapped``, and so closed."""
    for bell in wiring.bells.values():
        bell.close()
    for pair in (*wiring.key_links.values(), *wiring.guardian_links.values()):
        for end in pair:
            end.close()
    for lane in wiring.lanes.values():
        lane.writer.close()
        lane.reader.close()
    memories = {*(lane.memory for lane in wiring.lanes.values()), *wiring.boards.values()}
    for memory in memories - mapped:
        os.close(memory)
