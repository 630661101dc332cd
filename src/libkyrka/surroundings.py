"""What a context asks of the machine it runs on: two clocks, randomness, primitives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from chancel.crypto.suite import Suite
from chancel.crypto.system import SystemSuite


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """Both clocks are in seconds. A test hands over its own."""

    suite: Suite = dataclasses.field(default_factory=SystemSuite)
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def now(self) -> float:
        """Whole monotonic seconds: the only time that the exchange knows (kyrka section 4)."""
        return float(int(self.monotonic()))
