"""What a tunnel's boards mean, as the ``tunnels`` of a status answer: plain JSON, for programs.

Times on boards are monotonic, so ages come out right whatever the wall clock does; ``..._s`` are
seconds ago, ``None`` for never. ``tx`` is what we send, ``rx`` what we receive.
"""

from __future__ import annotations

import errno
import ipaddress
import math
from typing import Any

from chancel.daemon import offloads
from chancel.daemon.config_types import KEEPER, Mode
from chancel.daemon.offloads import ALL, Offload
from chancel.daemon.records import (
    EXCHANGE_REASONS,
    EXCHANGE_STATES,
    NO_IP,
    NOWHERE,
    TROUBLES,
    BlessRecord,
    ConfessRecord,
    HeavenTxRecord,
    KeeperRecord,
    current_peer,
)
from chancel.daemon.run import unpack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.daemon.topology import ROLE
from chancel.daemon.view import View
from chancel.protocol.behaviour import CHANCEL
from chancel.protocol.profile import CURRENT
from chancel.wire.types import Address

POST_QUANTUM = "hybrid ML-KEM-1024 + X25519"
"""Of every key in tunnel mode: the exchange has no other kind."""
ONE_WAY = "drawn by the sender, under the shared secret"
"""In the one-way modes there is no exchange."""

IDLE = EXCHANGE_STATES[0]

Answer = dict[str, Any]


def describe(settings: TunnelSettings, about: Answer, view: View, now: float) -> Answer:
    """One tunnel; ``about`` has what only the guardian knows of it."""
    confess, keeper = view.confess, view.keeper
    peer = current_peer(settings.peer, confess, keeper)
    return {
        "instance": settings.instance,
        **about,
        "mode": str(settings.mode),
        "shroud": settings.shroud,
        "tfc": settings.tfc,
        "tunnel": str(settings.tunnel) if settings.tunnel else None,
        "tunnel6": str(settings.tunnel6) if settings.tunnel6 else None,
        "networks": [str(network) for network in settings.networks],
        "peer": str(peer) if peer else None,
        "path": _path(peer, settings, keeper),
        "path_since_s": age(keeper.target_at or confess.moved_at, now),
        "path_proved_s": age(max(confess.peer_at, keeper.peer_at), now),
        "mtu": view.heaven_rx.mtu or settings.mtu,
        "mtu_configured": settings.mtu,
        "mtu_discovery": settings.mtu_discovery,
        "mtu_lost_s": age(view.heaven_rx.mtu_lost_at, now),
        "tx": _direction(view.bless, view.bless.last_at, CURRENT.send_limit_age_s, now),
        "rx": _direction(confess, confess.alive_at, _receive_limit_s(settings.mode), now),
        "post_quantum": _kind(settings.mode) if view.bless.spi or confess.spi else None,
        "offloads": offloads.with_broken(about.get("offloads", {}), _broken(view)),
        "exchange": _exchange(keeper, now),
        "cathedral": settings.cathedral and _cathedral(settings.cathedral, keeper, now),
        "clock_skew_s": None if math.isnan(keeper.skew_s) else keeper.skew_s,
        "last_heartbeat_s": age(view.heaven_tx.heartbeat_at, now),
        "traffic": _traffic(view),
        "send_error": errno.errorcode.get(view.purgatory_tx.error),
        "inner_refused": _refused(view.heaven_tx),
        "drops": view.drops(),
        "drops_by_process": _drops_by_process(settings.mode, view, now),
    }


def age(at: float, now: float) -> float | None:
    """Seconds since ``at``; ``None`` for never. A board may be newer than ``now``."""
    return max(0.0, now - at) if at else None


def owner(board: str, mode: Mode) -> str:
    """The process that writes a board."""
    return KEEPER[mode] if board == ROLE else board


def _kind(mode: Mode) -> str:
    return POST_QUANTUM if mode is Mode.TUNNEL else ONE_WAY


def _receive_limit_s(mode: Mode) -> float | None:
    """The age at which a receive key goes, used or not."""
    return (CHANCEL.one_way() if mode is Mode.SHRINE else CHANCEL).receive_key_limit_s


def _direction(
    record: BlessRecord | ConfessRecord, last_at: float, limit_s: float | None, now: float
) -> Answer:
    age_s = age(record.installed_at, now) if record.spi else None
    return {
        "spi": f"{record.spi:08x}" if record.spi else None,
        "age_s": age_s,
        "expires_s": None if age_s is None or limit_s is None else max(0.0, limit_s - age_s),
        "packets": record.packets,
        "bytes": record.octets,
        "last_s": age(last_at, now),
    }


def _exchange(keeper: KeeperRecord, now: float) -> Answer:
    """The reason is that of the exchange at hand; the board keeps it when that is over."""
    state = EXCHANGE_STATES[keeper.state]
    return {
        "state": state,
        "reason": "" if state == IDLE else EXCHANGE_REASONS[keeper.reason],
        "completed": keeper.completed,
        "completed_s": age(keeper.completed_at, now),
        "trying_s": age(keeper.trying_since, now),
        "offers_sent": keeper.offers,
        "offer_received_s": age(keeper.peer_at, now),
    }


def _broken(view: View) -> Offload:
    """What processes gave up; numbers that are no offload's name none."""
    return Offload(view.heaven_tx.broken | view.purgatory_tx.broken) & ALL


def _traffic(view: View) -> Answer:
    """Since the start: inner packets, datagrams, and the system calls that moved them."""
    inner, outer = view.heaven_rx, view.purgatory_tx
    return {
        "tx": {
            "packets": inner.packets,
            "bytes": inner.octets,
            "datagrams": outer.datagrams,
            "datagram_bytes": outer.octets,
            "datagram_calls": outer.calls,
        },
        "rx": {
            "packets": view.heaven_tx.packets,
            "bytes": view.heaven_tx.octets,
            "packet_calls": view.heaven_tx.writes,
            "datagrams": view.purgatory_rx.datagrams,
            "datagram_bytes": view.purgatory_rx.octets,
            "datagram_calls": view.purgatory_rx.calls,
        },
    }


def _refused(heaven_tx: HeavenTxRecord) -> Answer | None:
    if heaven_tx.refused_source == heaven_tx.refused_target == NO_IP:
        return None
    source, target = heaven_tx.refused_source, heaven_tx.refused_target
    return {"source": _ip(source), "target": _ip(target)}


def _ip(packed: bytes) -> str:
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)


def _drops_by_process(mode: Mode, view: View, now: float) -> Answer:
    return {
        owner(board, mode): {
            str(reason): {"count": count, "last_s": age(entry.dropped_at.get(reason, 0.0), now)}
            for reason, count in entry.drops.items()
        }
        for board, entry in view.entries.items()
        if entry.drops
    }


def _path(peer: Address | None, settings: TunnelSettings, keeper: KeeperRecord) -> str:
    if peer is None:
        return "unknown"
    if peer == settings.peer:
        return "configured"
    if keeper.target == NOWHERE:
        return "learned"
    return "direct" if keeper.direct else "relay"


def _cathedral(settings: CathedralSettings, keeper: KeeperRecord, now: float) -> Answer:
    """``answers_always``: whether a cathedral that lives is never silent for long, even while the
    peer is unknown to it.
    """
    return {
        "address": _address(keeper.cathedral),
        "known": keeper.cathedrals,
        "since_s": age(keeper.cathedral_at, now),
        "heard_s": age(keeper.cathedral_heard_at, now),
        "silent_s": age(keeper.cathedral_silent_at, now),
        "answers_always": bool(settings.remembrance),
        "peer_announced_s": age(keeper.announced_at, now),
        "candidate": _address(keeper.candidate),
        "nat_detection": settings.nat_port != 0,
        "wants_ambry": bool(settings.kek),
        "generation": f"{keeper.generation:08x}" if keeper.generation else None,
        "ambry_s": age(keeper.ambry_at, now),
        "clock_skew_s": None if math.isnan(keeper.cathedral_skew_s) else keeper.cathedral_skew_s,
        "trouble": TROUBLES[keeper.trouble] or None,
        "trouble_s": age(keeper.trouble_at, now),
    }


def _address(packed: bytes) -> str | None:
    return None if packed == NOWHERE else str(unpack_address(packed))
