"""What one version of the protocol fixes: numbers, layouts, derivations. Nothing tests versions.

Seconds are seconds of a monotonic clock unless said otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from chancel.crypto import kdf, kdf_legacy
from chancel.crypto.kdf import KeySchedule
from chancel.wire import datagram, grace
from chancel.wire.datagram import Layouts
from chancel.wire.grace import GraceCodec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One protocol version (protocol sections 13.2 and 15)."""

    layouts: Layouts
    graces: GraceCodec
    keys: KeySchedule

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
    answer_hold: int
    """How often our key goes out before an answer goes with it, unless the peer has shown that it
    has our key: 0.9.20 stops at an answer that arrives before all of the key."""
    failures_before_pause: float
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
    burst_delay_s: float
    """How long after a new key the burst of heartbeats begins."""
    burst_interval_s: float
    burst_s: float
    """For how long after a new key heartbeats follow each other by the burst interval."""

    mtu_minimum: int
    """The smallest MTU: the largest payload of an inner packet, in bytes."""
    mtu_maximum: int
    """The largest MTU, and the one that ``auto`` starts with."""
    tfc_fills_bare_offers: bool
    """Whether offers get the size of all other datagrams (TFC) where no mask hides what they are,
    too."""
    probe_interval_s: float
    probe_retry_s: float
    probe_sizes: tuple[int, ...]
    """IP packet sizes that discovery tries first; the tunnel's overhead is taken off each. Without
    any there is no discovery."""
    probe_step: int
    """By how many bytes discovery steps down after those."""
    overhead_bytes: int
    """IPv4, UDP, traffic header, tail and tag around each payload."""


CURRENT: Final = Profile(
    layouts=datagram.CURRENT,
    graces=grace.CURRENT,
    keys=kdf.CURRENT,
    offer_validity_s=10,
    offer_interval_s=1.0,
    offer_transmissions=15,
    key_offer_validity_s=1750,
    key_offer_interval_s=30.0,
    key_offer_transmissions=115,
    answer_hold=0,
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
    burst_delay_s=0.0,
    burst_interval_s=1.0,
    burst_s=15.0,
    mtu_minimum=623,
    mtu_maximum=1422,
    tfc_fills_bare_offers=True,
    probe_interval_s=5.0,
    probe_retry_s=600.0,
    probe_sizes=(1500, 1422, 1280),
    probe_step=32,
    overhead_bytes=78,
)
"""The protocol as the reference speaks it today (1.3.0 and later)."""

V0_9: Final = dataclasses.replace(
    CURRENT,
    layouts=datagram.LEGACY,
    graces=grace.LEGACY,
    keys=kdf_legacy.LEGACY,
    offer_validity_s=5,
    offer_transmissions=25,
    answer_hold=3,
    failures_before_pause=math.inf,
    burst_delay_s=1.0,
    burst_s=5.0,
    mtu_minimum=576,
    mtu_maximum=1500,
    tfc_fills_bare_offers=False,
    probe_sizes=(),
    overhead_bytes=62,
)
"""The protocol of release 0.9.20 (protocol section 15)."""
