"""The numbers that one version of the protocol fixes. Nothing else tests versions.

Seconds are seconds of a monotonic clock unless said otherwise. Sizes of packets are constants of
``chancel.wire`` and labels of key derivation those of ``chancel.crypto.kdf``.
"""

from __future__ import annotations

import dataclasses
from typing import Final


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Timers and limits of one protocol version (protocol section 13.2)."""

    offer_validity_s: int
    """By how many whole seconds of wall clock an offer may be early or late, inclusive."""
    offer_interval_s: float
    offer_transmissions: int
    """How often an exchange sends its fragments before it gives up."""
    key_offer_validity_s: int
    """The same as ``offer_validity_s`` for the key offers of a pilgrim, a one-way sender."""
    key_offer_interval_s: float
    key_offer_transmissions: int
    """How often a pilgrim announces each key at that interval."""
    failures_before_pause: int
    pause_s: float
    clock_jump_s: float
    """By how much the wall clock must outrun the monotonic one to count as a jump."""
    clock_jump_hold_s: float
    """For how long after a jump no peer is given up."""

    rekey_packets: int
    """Packets received under one key after which a new exchange starts."""
    rekey_age_s: float
    send_limit_packets: int
    """No packet is sealed with this number or a higher one."""
    send_limit_age_s: float
    heartbeat_timeout_s: float
    """Silence after which a new exchange starts."""
    dead_peer_s: float
    """Silence after which all keys are erased."""

    heartbeat_interval_s: float
    burst_interval_s: float
    burst_s: float
    """For how long after a new key heartbeats follow each other by the burst interval."""

    mtu_minimum: int
    """The smallest MTU: the largest payload of an inner packet, in bytes."""
    probe_interval_s: float
    probe_retry_s: float
    probe_sizes: tuple[int, ...]
    """IP packet sizes that discovery tries first; the tunnel's overhead is taken off each."""
    probe_step: int
    """By how many bytes discovery steps down after those."""
    overhead_bytes: int
    """IPv4, UDP, traffic header, tail and tag around each payload."""

    @property
    def mtu_maximum(self) -> int:
        """The largest MTU, and the one that ``auto`` starts with."""
        return self.probe_sizes[0] - self.overhead_bytes


CURRENT: Final = Profile(
    offer_validity_s=10,
    offer_interval_s=1.0,
    offer_transmissions=15,
    key_offer_validity_s=1750,
    key_offer_interval_s=30.0,
    key_offer_transmissions=115,
    failures_before_pause=4,
    pause_s=60.0,
    clock_jump_s=60.0,
    clock_jump_hold_s=10.0,
    rekey_packets=2**33,
    rekey_age_s=3500.0,
    send_limit_packets=2**34,
    send_limit_age_s=3600.0,
    heartbeat_timeout_s=30.0,
    dead_peer_s=120.0,
    heartbeat_interval_s=15.0,
    burst_interval_s=1.0,
    burst_s=15.0,
    mtu_minimum=623,
    probe_interval_s=5.0,
    probe_retry_s=600.0,
    probe_sizes=(1500, 1422, 1280),
    probe_step=32,
    overhead_bytes=78,
)
"""The protocol as the reference speaks it today (1.3.0 and later)."""
