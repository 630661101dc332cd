"""Why a tunnel doesn't work: the first thing that failed, and what a person can do.

A pure function of one tunnel's status (``describe``). The rules stand in causal order: whoever
can't read the secret sends no offers, whose offers are refused gets no keys, and without keys
nothing passes a filter; so the first rule that holds hides what follows from it. A condition has to
last before it is told, and what happened long ago isn't: each drop says when it was last counted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from chancel.daemon import why_cathedral
from chancel.daemon.durations import ago, duration
from chancel.daemon.why_facts import (
    CLOCK_TOLERANCE_S,
    KEEPERS,
    LASTING_S,
    RECENT_S,
    SEVERAL,
    SILENCE_S,
    Finding,
    Rule,
    Tunnel,
    hears,
    offer_came,
    recent,
    rejected,
)
from chancel.wire.drop import Drop

ANNOUNCEMENT_TOLERANCE_S = 1750.0
"""The same for a pilgrim's announcements (section 12.4)."""

_SEND_ERRORS = {
    "ENETUNREACH": ("this machine has no route to {peer}", "connect it, or add a route"),
    "EHOSTUNREACH": ("this machine can't reach {peer}", "check the cable and the route to it"),
    "EPERM": (
        "a firewall of this machine refuses what we send to {peer}",
        "allow UDP to {peer} on the way out (nft list ruleset)",
    ),
    "EACCES": (
        "this machine forbids sending to {peer}",
        "check that it is no broadcast address, and the routes of type prohibit",
    ),
    "ENETDOWN": ("the network interface towards {peer} is down", "set it up (ip link)"),
    "ENODEV": ("the network interface towards {peer} is gone", "bring it back (ip link)"),
    "EADDRNOTAVAIL": (
        "this machine no longer has the address of {local}",
        "give it back, or leave the address out of the local line",
    ),
}
"""Errors that last, in words; what isn't here passes by itself."""


class Explanation(NamedTuple):
    """One tunnel: where its peer is, what was tried, what is wrong (the cause first)."""

    path: str
    tried: tuple[str, ...]
    findings: tuple[Finding, ...]


def explain(tunnel: Tunnel) -> Explanation:
    """Explain one tunnel of a status answer."""
    cause = next((found for rule in _CAUSES if (found := rule(tunnel)) is not None), None)
    if cause is not None:
        return Explanation(_path(tunnel), tuple(_tried(tunnel)), (cause,))
    others = tuple(found for rule in _LOSSES if (found := rule(tunnel)) is not None)
    return Explanation(_path(tunnel), tuple(_tried(tunnel)), others)


def _path(tunnel: Tunnel) -> str:
    if tunnel["peer"] is None:
        return "the peer's address is unknown"
    proved, since = tunnel["path_proved_s"], tunnel["path_since_s"]
    how = f"{tunnel['peer']} ({tunnel['path']})"
    if proved is None:
        return f"{how}, never proved: nothing authentic has come from anywhere"
    whole = "" if since is None else f" for {duration(since)}"
    return f"{how}{whole}, last proved {ago(proved)}"


def _tried(tunnel: Tunnel) -> Iterator[str]:
    exchange, received = tunnel["exchange"], tunnel["traffic"]["rx"]
    if exchange["trying_s"] is not None:
        yield (
            f"{exchange['offers_sent']} offers sent in {duration(exchange['trying_s'])}"
            f" to get a key ({exchange['reason'] or 'no keys'}; {exchange['state']})"
        )
    if exchange["completed"]:
        yield (
            f"{exchange['completed']} key exchanges completed,"
            f" the last {ago(exchange['completed_s'])}"
        )
    yield from why_cathedral.tried(tunnel)
    yield (
        f"{received['datagrams']} datagrams came, the last authentic offer"
        f" {ago(exchange['offer_received_s'])}, the last authentic packet"
        f" {ago(tunnel['rx']['last_s'])}"
    )


# What keeps a tunnel from being up, in causal order.


def _secret(tunnel: Tunnel) -> Finding | None:
    cathedral = tunnel.get("cathedral")
    within_s = RECENT_S
    if cathedral is not None and cathedral["wants_ambry"]:
        if cathedral["ambry_s"] is None:
            return None  # it has yet to come
        within_s = min(within_s, cathedral["ambry_s"])  # what was refused before says nothing
    if not recent(tunnel, KEEPERS, Drop.NO_SECRET, within_s=within_s):
        return None
    return Finding(
        "secret-unreadable",
        "the shared secret can't be read",
        "the log of the keeper says which file and why (shared secret unavailable)",
    )


def _device_down(tunnel: Tunnel) -> Finding | None:
    if recent(tunnel, ("heaven-tx",), Drop.DEVICE_WRITE_FAILED) < SEVERAL:
        return None
    device = tunnel["device"]
    return Finding(
        "device-down",
        f"the device {device} takes no packets: it is down",
        f"set it up: ip link set {device} up",
    )


def _cannot_send(tunnel: Tunnel) -> Finding | None:
    words = _SEND_ERRORS.get(tunnel["send_error"] or "")
    if words is None or hears(tunnel):
        return None
    if not recent(tunnel, ("purgatory-tx",), Drop.SEND_FAILED, within_s=SILENCE_S):
        return None
    says, do = (each.format(peer=tunnel["peer"], local=tunnel["local"]) for each in words)
    return Finding("cannot-send", f"{says} ({tunnel['send_error']})", do)


def _peer_unknown(tunnel: Tunnel) -> Finding | None:
    if tunnel["peer"] is not None or hears(tunnel) or rejected(tunnel) >= SEVERAL:
        return None
    return Finding(
        "peer-unknown",
        "the peer's address is unknown and has to be learnt from its first offer"
        f" ({tunnel['traffic']['rx']['datagrams']} datagrams came)",
        f"start the peer, with an address of this machine and the port of {tunnel['local']};"
        " or give its address here: peer IP:PORT",
    )


def _clock(tunnel: Tunnel) -> Finding | None:
    skew_s = tunnel["clock_skew_s"]
    one_way = tunnel["mode"] == "shrine"
    tolerance_s = ANNOUNCEMENT_TOLERANCE_S if one_way else CLOCK_TOLERANCE_S
    if skew_s is None or abs(skew_s) <= tolerance_s or hears(tunnel):
        return None
    if not recent(tunnel, KEEPERS, Drop.OFFER_TIME):
        return None
    side = "behind" if skew_s > 0 else "ahead of"
    return Finding(
        "clock",
        f"your clock is {duration(abs(skew_s))} {side} the peer's, so"
        + (" its announcements are refused" if one_way else " each end refuses the other's offers"),
        f"set the clock that is wrong (timedatectl set-ntp true); {tolerance_s:.0f} s are"
        " tolerated",
    )


def _wrong_secret(tunnel: Tunnel) -> Finding | None:
    if hears(tunnel) or offer_came(tunnel):
        return None
    if recent(tunnel, KEEPERS, Drop.OFFER_BAD_TAG) < SEVERAL:
        return None
    return Finding(
        "wrong-secret",
        "offers arrive and none is authentic: the two ends have different secrets or flocks",
        "compare the secret files (sha256sum) and the cathedral_flock lines of both ends",
    )


def _not_opened(tunnel: Tunnel) -> Finding | None:
    """The peer has to call, and all that comes is something else."""
    if tunnel["mode"] != "tunnel" or tunnel["peer"] is not None or hears(tunnel):
        return None
    if offer_came(tunnel) or rejected(tunnel) < SEVERAL:
        return None
    return Finding(
        "not-understood",
        "datagrams arrive and none can be opened: the peer still uses keys from before this end was"
        " started, or both ends aren't set up alike",
        "wait half a minute: then the peer asks for new keys; after that compare the secret files,"
        " and the shroud, profile and mode lines of both ends",
    )


def _no_answer(tunnel: Tunnel) -> Finding | None:
    exchange = tunnel["exchange"]
    trying_s = exchange["trying_s"]
    if trying_s is None or trying_s < LASTING_S or hears(tunnel) or offer_came(tunnel):
        return None
    way = "through the cathedral" if tunnel["path"] == "relay" else f"to {tunnel['peer']}"
    sent = f"{exchange['offers_sent']} offers sent {way} in {duration(trying_s)}"
    if rejected(tunnel):
        return Finding(
            "not-understood",
            f"{sent}; what arrives here is not understood",
            "both ends need the same secret, and the same shroud, profile and mode lines",
        )
    if tunnel["path"] == "relay":
        return Finding(
            "no-answer",
            f"no answer: {sent}, and nothing came back",
            "check that the peer runs, with the same secret or a kek of the same flock, and what"
            " its own status --why says",
        )
    port = str(tunnel["peer"]).rpartition(":")[2]
    return Finding(
        "no-answer",
        f"no answer: {sent}, and nothing came back",
        f"check that the peer runs, that UDP port {port} is open there and on the way,"
        " and that its peer line leads here",
    )


def _one_sided(tunnel: Tunnel) -> Finding | None:
    """The peer's offers come, and no answer to ours does."""
    trying_s = tunnel["exchange"]["trying_s"]
    if trying_s is None or trying_s < 2 * LASTING_S or not offer_came(tunnel):
        return None
    if tunnel["tx"]["spi"] is not None and hears(tunnel):
        return None  # a rekey that takes its time harms nobody
    return Finding(
        "not-heard",
        f"the peer's offers arrive, and none of ours was answered for {duration(trying_s)}",
        f"what we send from {tunnel['local']} is lost: check the way from here to"
        f" {tunnel['peer']} and the peer's own status --why",
    )


def _no_traffic(tunnel: Tunnel) -> Finding | None:
    age_s, last_s = tunnel["tx"]["age_s"], tunnel["rx"]["last_s"]
    if tunnel["mode"] != "tunnel" or age_s is None or age_s < 2 * LASTING_S or hears(tunnel):
        return None
    refused = recent(tunnel, ("confess",), Drop.BAD_TAG, Drop.UNKNOWN_SPI, Drop.FLOCK_MISMATCH)
    return Finding(
        "no-traffic",
        f"keys were agreed {ago(age_s)}, and the last authentic packet came {ago(last_s)}"
        + (f" ({refused} were refused)" if refused else ""),
        "datagrams of other sizes than offers are lost on the way: check for firewalls that look"
        " into UDP, and whether the peer runs",
    )


def _shrine_waits(tunnel: Tunnel) -> Finding | None:
    if tunnel["mode"] != "shrine" or tunnel["rx"]["spi"] is not None:
        return None
    came = tunnel["traffic"]["rx"]["datagrams"]
    return Finding(
        "no-announcement",
        f"no pilgrim has announced a key yet ({came} datagrams came)",
        f"start the pilgrim, with this machine and the port of {tunnel['local']} as its peer;"
        " it announces its key every half minute at least",
    )


_CAUSES: tuple[Rule, ...] = (
    _secret,
    _cannot_send,
    *why_cathedral.CAUSES,
    _peer_unknown,
    _clock,
    _wrong_secret,
    _not_opened,
    why_cathedral.PROMISES,
    _no_answer,
    _one_sided,
    _no_traffic,
    _shrine_waits,
)


# What is lost in a tunnel that is up; these don't follow from each other.


def _filtered(tunnel: Tunnel) -> Finding | None:
    refused = tunnel["inner_refused"]
    count = recent(tunnel, ("heaven-tx",), Drop.INNER_ADDRESS)
    if refused is None or count < SEVERAL:
        return None
    networks = [ipaddress.ip_network(each) for each in tunnel["networks"]]
    strangers = [
        address
        for address in (refused["source"], refused["target"])
        if not any(ipaddress.ip_address(address) in network for network in networks)
    ]
    lines = " and ".join(f"accept {_host(address)}" for address in strangers)
    return Finding(
        "not-accepted",
        f"packets from {refused['source']} to {refused['target']} are refused: only"
        f" {', '.join(tunnel['networks'])} may appear inside",
        f"if that is wanted: {lines} (or the network it is in), in this end's file",
    )


def _protocol(tunnel: Tunnel) -> Finding | None:
    if recent(tunnel, ("heaven-tx",), Drop.INNER_PROTOCOL) < SEVERAL:
        return None
    return Finding(
        "protocol-not-carried",
        "the peer sends IP protocols that a tunnel doesn't carry",
        "only ICMP, TCP and UDP are let in: carry others inside UDP, or use tap yes",
    )


def _too_large(tunnel: Tunnel) -> Finding | None:
    if tunnel["mtu_discovery"]:
        return None  # then the large ones are probes
    if recent(tunnel, ("purgatory-tx",), Drop.SEND_TOO_LARGE) < SEVERAL:
        return None
    return Finding(
        "mtu-too-large",
        f"packets of the tunnel's MTU of {tunnel['mtu']} don't fit the network outside",
        "use auto as the MTU in both files, or a smaller number",
    )


def _mtu_lost(tunnel: Tunnel) -> Finding | None:
    if tunnel["mtu_lost_s"] is None or not hears(tunnel):
        return None
    return Finding(
        "mtu-unknown",
        f"no MTU was acknowledged down to the smallest, {ago(tunnel['mtu_lost_s'])}: large packets"
        " are lost on the way, or the peer doesn't answer probes",
        f"set a small MTU in both files (now {tunnel['mtu']})",
    )


_LOSSES: tuple[Rule, ...] = (
    *why_cathedral.LOSSES,
    _device_down,
    _filtered,
    _protocol,
    _too_large,
    _mtu_lost,
)


def _host(address: str) -> str:
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
