"""The sender's side of graces: heartbeats, and discovery of the MTU (protocol section 11).

A **grace** is a control message inside the tunnel. A heartbeat shows the peer that we live and that
we use its key, which is what ends its exchange: so a new key is followed by a burst of them. A
probe is as large as the MTU that it tries; the peer answers with a tiny acknowledgement.

Discovery steps down through fixed sizes, one every few seconds, until one is acknowledged. It
starts some seconds after the machine, again when the peer's address changes, and long after the
last discovery ended. New keys don't start it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

from chancel.errors import LocalProtocolError
from chancel.protocol.events import MAX_EVENTS, Event, MtuChanged, MtuNotFound
from chancel.protocol.profile import CURRENT, Profile
from chancel.wire.drop import Drop
from chancel.wire.grace import Heartbeat, MtuAck, MtuProbe


class Graces:
    """One tunnel's heartbeats and probes.

    ``maximum`` is the configured MTU, or the largest allowed one where ``discovery`` (MTU ``auto``)
    is on; ``mtu`` is the one in force. Without a sending key the machine sleeps.

    ``discovery`` is refused (``LocalProtocolError``) where the protocol version has none.

    ``safe_mtu`` is the largest payload that surely arrives on the path as it is now: the MTU in
    force, or the smallest there is until discovery has an acknowledgement from this path.
    """

    def __init__(
        self, maximum: int, discovery: bool, now: float, profile: Profile = CURRENT
    ) -> None:
        if discovery and not profile.probe_sizes:
            raise LocalProtocolError("this version finds out no MTU: give it a number")
        self.mtu = maximum
        self.safe_mtu = profile.mtu_minimum if discovery else maximum
        self.drops: Counter[Drop] = Counter()
        self._maximum = maximum
        self._discovery = discovery
        self._profile = profile
        self._has_key = False
        self._heartbeat_at = now
        self._burst_until = now
        self._probe_at = now + profile.probe_interval_s
        self._sizes = discovery_sizes(maximum, profile)
        self._ack: int | None = None
        self._payloads: list[bytes] = []
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def __repr__(self) -> str:
        return f"<Graces mtu={self.mtu} {'awake' if self._has_key else 'asleep'}>"

    def key_installed(self, now: float) -> None:
        """There is a new sending key: show soon, and for a while often, that it is used."""
        begin = now + self._profile.burst_delay_s
        self._heartbeat_at = min(self._heartbeat_at, begin) if self._has_key else begin
        self._has_key = True
        self._burst_until = now + self._profile.burst_s

    def key_lost(self) -> None:
        """There is no sending key any more."""
        self._has_key = False
        self._ack = None

    def path_changed(self, now: float) -> None:
        """The peer's address changed: discover the MTU of the new path, from the top."""
        if self._discovery:
            self.safe_mtu = self._profile.mtu_minimum
        self._restart_discovery(now)

    def probe_received(self, size: int) -> None:
        """The peer asks whether ``size`` bytes arrived. Sizes we would never use aren't confirmed.

        One answer is outstanding at most: further probes until :meth:`payloads` get none.
        """
        if not self._profile.mtu_minimum <= size <= self._maximum:
            self.drops[Drop.GRACE_SIZE] += 1
        elif self._has_key and self._ack is None:
            self._ack = size

    def ack_received(self, size: int, now: float) -> None:
        """The peer says that ``size`` bytes arrived.

        An acknowledgement of more than our own maximum, or where we never probe, isn't believed.
        """
        if not self._discovery or not self._profile.mtu_minimum <= size <= self._maximum:
            self.drops[Drop.GRACE_SIZE] += 1
            return
        self._restart_discovery(now + self._profile.probe_retry_s)
        self.safe_mtu = size
        if size != self.mtu:
            self.mtu = size
            self._events.append(MtuChanged(size))

    def wake_at(self) -> float | None:
        """When a heartbeat or probe is due; ``None`` without a key."""
        if not self._has_key:
            return None
        return min(self._heartbeat_at, self._probe_at) if self._discovery else self._heartbeat_at

    def wake(self, now: float) -> None:
        """Make the heartbeat and the probe that are due."""
        if not self._has_key:
            return
        if now >= self._heartbeat_at:
            profile = self._profile
            bursting = now < self._burst_until
            self._heartbeat_at = now + (
                profile.burst_interval_s if bursting else profile.heartbeat_interval_s
            )
            self._payloads.append(self._profile.graces.encode(Heartbeat()))
        if self._discovery and now >= self._probe_at:
            self._probe(now)

    def payloads(self) -> list[bytes]:
        """Drain the payloads to seal with ``NEXT_GRACE``."""
        payloads = self._payloads
        self._payloads = []
        return payloads if self._ack is None else [*payloads, *self.acknowledgements()]

    def acknowledgements(self) -> list[bytes]:
        """Drain of :meth:`payloads` only the acknowledgement, for an end that sends it elsewhere,
        too."""
        if self._ack is None:
            return []
        ack, self._ack = self._ack, None
        return [self._profile.graces.encode(MtuAck(ack))]

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or ``None``."""
        return self._events.popleft() if self._events else None

    def _probe(self, now: float) -> None:
        size = next(self._sizes, None)
        if size is None:
            self._events.append(MtuNotFound(self._profile.mtu_minimum))
            self._restart_discovery(now + self._profile.probe_retry_s)
            return
        self._probe_at = now + self._profile.probe_interval_s
        self._payloads.append(self._profile.graces.encode(MtuProbe(size)))

    def _restart_discovery(self, at: float) -> None:
        self._sizes = discovery_sizes(self._maximum, self._profile)
        self._probe_at = at


def discovery_sizes(maximum: int, profile: Profile) -> Iterator[int]:
    """The sizes of discovery's probes in the order of section 11.3: the first is tried twice."""
    if not profile.probe_sizes:
        return
    overhead = profile.probe_sizes[0] - maximum  # with what shroud and IPv6 add to it
    yield maximum
    size = maximum
    for packet in profile.probe_sizes:
        size = packet - overhead
        yield size
    while size > profile.mtu_minimum:
        size = max(size - profile.probe_step, profile.mtu_minimum)
        yield size
