"""Traffic, as applications make it: functions that run in a host of the lab, one process each.

They are written to cost little beside what they measure: buffers are made before, received data is
counted and not copied. Each yields once it is ready; those that begin together then wait at a
``gate``, a file that has the moment when it is there, on the machine's monotonic clock, which all
hosts share. Without a gate (an empty name) they begin at once.
"""

from __future__ import annotations

import time
from pathlib import Path

_LOOK_INTERVAL_S = 0.002


def pass_gate(gate: str) -> float:
    """Wait for the moment to begin, and return it."""
    if not gate:
        return time.monotonic()
    path = Path(gate)
    while not path.exists():
        time.sleep(_LOOK_INTERVAL_S)
    moment = float(path.read_text())
    time.sleep(max(0.0, moment - time.monotonic()))
    return moment
