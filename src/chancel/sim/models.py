"""What a link does to packets, as a pure function of size, time and a seeded generator.

Shared by the simulator, which schedules the deliveries on its virtual clock, and the lab, which
holds real packets back in real time.
"""

from __future__ import annotations

import dataclasses
import random
from typing import NamedTuple

REORDER_HOLD_S = 0.05
"""A reordered packet is held back for up to this long, so that later ones overtake it."""


class Delivery(NamedTuple):
    """One copy of a packet that comes out of a link."""

    at: float
    """When, on the clock of the ``now`` that was given."""
    corrupted: bool
    """The carrier is to damage this copy, see :func:`corrupt`."""


@dataclasses.dataclass(slots=True)
class LinkModel:
    """One direction of one link; probabilities are per packet, between 0 and 1.

    Jitter (uniform) alone keeps the order of packets; ``reorder`` breaks it. With a rate, packets
    wait for their turn and are lost when ``queue_limit`` bytes wait already. An object carries the
    state of its own queue: ``dataclasses.replace(model)`` makes the like for another direction.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate_bytes_s: float | None = None
    queue_limit: int = 256 * 1024
    _idle_at: float = dataclasses.field(default=0.0, init=False, repr=False, compare=False)
    _last_at: float = dataclasses.field(default=0.0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a probability, between 0 and 1")
        if self.latency_s < 0 or self.jitter_s < 0 or self.queue_limit < 0:
            raise ValueError("latency, jitter and queue limit cannot be negative")
        if self.rate_bytes_s is not None and self.rate_bytes_s <= 0:
            raise ValueError("a rate is more than 0 bytes per second; None means no limit")

    @property
    def perfect(self) -> bool:
        """Whether packets pass at once, unchanged, each exactly once."""
        return self == LinkModel(queue_limit=self.queue_limit)

    def deliveries(self, size: int, now: float, rng: random.Random) -> list[Delivery]:
        """The copies of a packet of ``size`` bytes, entering now, that come out; earliest first.

        An empty list means that it is lost. ``now`` must not go back from call to call.
        """
        if self.loss and rng.random() < self.loss:
            return []
        sent_at = now
        if self.rate_bytes_s is not None:
            sent_at = max(now, self._idle_at)
            if (sent_at - now) * self.rate_bytes_s > self.queue_limit:
                return []
            sent_at += size / self.rate_bytes_s
            self._idle_at = sent_at
        first = self._copy(sent_at, rng)
        if not self.duplicate or rng.random() >= self.duplicate:
            return [first]
        return sorted((first, self._copy(sent_at, rng)))

    def _copy(self, sent_at: float, rng: random.Random) -> Delivery:
        at = sent_at + self.latency_s
        if self.jitter_s:
            at += self.jitter_s * rng.random()
        if self.reorder and rng.random() < self.reorder:
            at += REORDER_HOLD_S * rng.random()
        else:
            at = self._last_at = max(at, self._last_at)
        return Delivery(at, bool(self.corrupt) and rng.random() < self.corrupt)


def corrupt(packet: bytes, rng: random.Random) -> bytes:
    """Flip one random bit, as a bad cable would that the checksums missed."""
    damaged = bytearray(packet)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)
