"""What happened, in order: a digest that two equal runs share, and the lines when asked for."""

from __future__ import annotations

import hashlib


class Trace:
    """Collects protocol events. ``count`` is how many; ``lines`` stays empty unless ``keep``."""

    def __init__(self, keep: bool = False) -> None:
        self.count = 0
        self.lines: list[str] = []
        self._keep = keep
        self._digest = hashlib.blake2b(digest_size=16)

    def record(self, at: float, node: str, event: object) -> None:
        """Add one event of a node at a virtual time."""
        line = f"{at:.6f} {node} {event!r}"
        self.count += 1
        self._digest.update(line.encode() + b"\n")
        if self._keep:
            self.lines.append(line)

    def digest(self) -> str:
        """The digest so far, in hexadecimal."""
        return self._digest.hexdigest()
