"""Rules of ``why`` for a tunnel whose ends find each other through cathedrals.

What is said of the cathedral alone is public: a liturgy says the same of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chancel.daemon.durations import ago, duration
from chancel.daemon.why_facts import (
    CLOCK_TOLERANCE_S,
    LASTING_S,
    SILENCE_S,
    Finding,
    Rule,
    Tunnel,
    hears,
)

ANSWER_S = 3 * LASTING_S
"""Infos and questions go out every five seconds: by now there were several."""

DIRECT_S = 60.0
"""A direct address is told of 15 seconds after both ends were registered."""

Cathedral = dict[str, Any]
"""A cathedral in a status answer, of a tunnel or of a liturgy."""

_KEYS = {
    "secret-unreadable": "cathedral_secret",
    "cosk-unreadable": "cathedral_cosk",
    "kek-unreadable": "kek",
}

_AMBRIES = {
    "ambry-bad-tag": (
        "the cathedral's ambry can't be opened: it was made for another kek, as after this device"
        " was locked out",
        "ask the flock's owner for the kek of this device, or for a new bundle (chancel ambry)",
    ),
    "ambry-expired": (
        "the cathedral's ambry has expired",
        "the flock's owner has to make a new bundle: chancel ambry roll, and touch the settings of"
        " the cathedrals",
    ),
    "ambry-tunnel": (
        "the cathedral's ambry is for another tunnel",
        "compare the spi line with that of the peer, whose halves are the other way round",
    ),
    "ambry-repeated": (
        "the cathedral serves an ambry again that was replaced before",
        "its bundle is out of date: install the newest on every cathedral, and touch the settings",
    ),
    "ambry-not-kept": (
        "an ambry came, and its secret can't be written to the secret's file",
        "the log of chapel says why (ambry can't be kept): is the disk full, the directory ours?",
    ),
}


def unreadable(code: str, directive: str, process: str) -> Finding:
    """The process that keeps a key can't read its file."""
    return Finding(
        code,
        f"the file of {directive} can't be read",
        f"the log of {process} says why (key unavailable)",
    )


def unknown(cathedral: Cathedral) -> Finding | None:
    """No name of a cathedral has an address."""
    if cathedral["address"] is not None:
        return None
    return Finding(
        "cathedral-unknown",
        "no name of a cathedral can be looked up",
        "check the machine's DNS (getent ahostsv4 NAME) and the cathedral lines; it is tried again"
        " every 10 s",
    )


def skewed(cathedral: Cathedral) -> Finding | None:
    """Its clock and ours differ by more than either tolerates."""
    skew_s = cathedral["clock_skew_s"]
    if skew_s is None or abs(skew_s) <= CLOCK_TOLERANCE_S:
        return None
    side = "behind" if skew_s > 0 else "ahead of"
    return Finding(
        "cathedral-clock",
        f"your clock is {duration(abs(skew_s))} {side} the cathedral's, so each refuses what the"
        " other says",
        f"set the clock that is wrong (timedatectl set-ntp true); {CLOCK_TOLERANCE_S:.0f} s are"
        " tolerated",
    )


def silent(cathedral: Cathedral, silence: str, check: str) -> Finding:
    """Nothing comes from it: how long that has been so, and what may be done about it."""
    others = cathedral["known"] - 1
    return Finding(
        "cathedral-silent",
        f"the cathedral {cathedral['address']} {silence}"
        + (f"; {others} others are known" if others > 0 else "; no other is known"),
        check,
    )


def tried(tunnel: Tunnel) -> Iterator[str]:
    """What is known of the cathedral, and of an address that is tried."""
    cathedral = tunnel.get("cathedral")
    if cathedral is None:
        return
    if cathedral["address"] is not None:
        yield (
            f"cathedral {cathedral['address']} for {duration(cathedral['since_s'] or 0.0)}, last"
            f" heard {ago(cathedral['heard_s'])}; it told of the peer"
            f" {ago(cathedral['peer_announced_s'])}"
        )
    if tunnel["path"] == "relay" and cathedral["candidate"] is not None:
        yield f"{cathedral['candidate']} is tried, in case the peer can be reached there directly"
    elif tunnel["path"] == "relay" and not cathedral["nat_detection"]:
        yield "no direct path is sought: there is no cathedral_nat_port line"
    elif tunnel["path"] == "relay" and _is_settled(cathedral):
        yield (
            "the cathedral tells no address of the peer's own: one of the ends is behind a NAT that"
            " gives each connection another port, has no cathedral_nat_port line, or can't reach"
            " that port of the cathedral (UDP)"
        )


def _is_settled(cathedral: Tunnel) -> bool:
    """Whether a cathedral that knows both ends would have told of a direct address by now."""
    announced_s = cathedral["peer_announced_s"]
    return (
        announced_s is not None
        and announced_s < SILENCE_S
        and (cathedral["since_s"] or 0.0) >= DIRECT_S
    )


def _key(tunnel: Tunnel) -> Finding | None:
    directive = _KEYS.get(_of(tunnel, "trouble") or "")
    if directive is None:
        return None
    return unreadable("cathedral-key-unreadable", directive, "chapel")


def _name(tunnel: Tunnel) -> Finding | None:
    return unknown(tunnel["cathedral"])


def _clock(tunnel: Tunnel) -> Finding | None:
    return skewed(tunnel["cathedral"])


def _silent(tunnel: Tunnel) -> Finding | None:
    silent_s = _of(tunnel, "silent_s")
    if silent_s is None:
        return None
    return silent(
        tunnel["cathedral"],
        f"has been silent for {duration(silent_s)}",
        "check that it runs and that its UDP port is open on the way, and this machine's clock; a"
        " second cathedral line, or cathedral_remembrance, gives this end another one to go to",
    )


def _no_path(tunnel: Tunnel) -> Finding | None:
    """Not one datagram has ever come, from nobody."""
    since_s, known = _of(tunnel, "since_s"), _of(tunnel, "known")
    if since_s is None or since_s < ANSWER_S or _of(tunnel, "heard_s") is not None:
        return None
    if tunnel["traffic"]["rx"]["datagrams"] or not tunnel["traffic"]["tx"]["datagrams"]:
        return None
    asked = "the cathedral" if known == 1 else f"any of {known} cathedrals"
    return Finding(
        "no-path",
        f"no path: {tunnel['traffic']['tx']['datagrams']} datagrams went out, and not one has come"
        f" in, neither from {asked} nor from the peer",
        "see whether UDP gets out of this network (guest networks may let through the web alone):"
        " try from another one, a telephone's for instance. Where it does, "
        f"{_of(tunnel, 'address')} isn't a running cathedral's address, clocks differ by more than"
        f" {CLOCK_TOLERANCE_S:.0f} s, or it doesn't know this end, whose cathedral_id needs an"
        " allow line there",
    )


def _no_answer(tunnel: Tunnel) -> Finding | None:
    since_s = _of(tunnel, "since_s")
    if _of(tunnel, "heard_s") is not None or since_s is None or since_s < ANSWER_S:
        return None
    if _of(tunnel, "answers_always"):
        alone = ""
    else:
        alone = ", or the peer isn't registered there (it answers no lonely end)"
    return Finding(
        "cathedral-no-answer",
        f"the cathedral {_of(tunnel, 'address')} hasn't answered once in {duration(since_s)}: it"
        " can't be reached, its clock and ours differ by more than"
        f" {CLOCK_TOLERANCE_S:.0f} s, or it doesn't know this end{alone}",
        "check its address, and both clocks (timedatectl); its settings need an allow line with"
        " this end's cathedral_id and the upper half of spi, its secretdir the files of"
        " cathedral_secret and of the cosk's public half; its own chancel status counts what it"
        " refuses, and why",
    )


def _ambry(tunnel: Tunnel) -> Finding | None:
    words = _AMBRIES.get(_of(tunnel, "trouble") or "")
    return None if words is None else Finding(str(_of(tunnel, "trouble")), *words)


def _no_ambry(tunnel: Tunnel) -> Finding | None:
    if not _of(tunnel, "wants_ambry") or _of(tunnel, "generation") is not None:
        return None
    if _of(tunnel, "heard_s") is None or (_of(tunnel, "since_s") or 0.0) < ANSWER_S:
        return None
    return Finding(
        "no-ambry",
        "the cathedral answers and brings no ambry, so there is no secret to begin with",
        "the flock's block in its settings needs an ambry line with a bundle that has this tunnel",
    )


def _in_vain(tunnel: Tunnel) -> Finding | None:
    if _of(tunnel, "trouble") != "cathedral-in-vain":
        return None
    return Finding(
        "cathedral-in-vain",
        "a cathedral said for minutes that the peer is there, and nothing of the peer came through"
        f" it, so it was left {ago(_of(tunnel, 'trouble_s'))} for"
        f" {_of(tunnel, 'address')}",
        "the log of chapel says which one (cathedral promises the peer in vain): see whether the"
        " peer runs and has the same secret; if so that cathedral drops what it should relay, and"
        " both ends had better have others",
    )


def _peer_missing(tunnel: Tunnel) -> Finding | None:
    heard_s, announced_s = _of(tunnel, "heard_s"), _of(tunnel, "peer_announced_s")
    if heard_s is None or (_of(tunnel, "since_s") or 0.0) < ANSWER_S:
        return None
    if announced_s is not None and announced_s < SILENCE_S:
        return None
    return Finding(
        "peer-not-registered",
        f"the cathedral answers and doesn't know the peer (last told of it {ago(announced_s)})",
        "start the peer, registered at this cathedral or at one that is federated with it; its spi"
        " has the halves of ours the other way round, and its flocks are ours",
    )


def _remembrance(tunnel: Tunnel) -> Finding | None:
    if _of(tunnel, "trouble") != "remembrance-not-kept":
        return None
    return Finding(
        "remembrance-not-kept",
        "what a cathedral told of others can't be written to the file of cathedral_remembrance",
        "the log of chapel says why (remembrance can't be kept); the file is what it was",
    )


def _if_lost(rule: Rule) -> Rule:
    """It keeps a tunnel from being up only while nothing is heard of the peer."""

    def judge(tunnel: Tunnel) -> Finding | None:
        if tunnel.get("cathedral") is None or hears(tunnel):
            return None
        return rule(tunnel)

    return judge


def _if_up(rule: Rule) -> Rule:
    """It is told of a tunnel that is up in spite of it."""

    def judge(tunnel: Tunnel) -> Finding | None:
        return None if tunnel.get("cathedral") is None else rule(tunnel)

    return judge


def _of(tunnel: Tunnel, name: str) -> Any:
    return tunnel["cathedral"][name]


CAUSES: tuple[Rule, ...] = tuple(
    map(
        _if_lost,
        (_key, _name, _clock, _no_path, _silent, _no_answer, _ambry, _no_ambry, _peer_missing),
    )
)
"""What keeps a tunnel from being up, in causal order."""

PROMISES: Rule = _if_lost(_in_vain)
"""The same where nothing that the peer sends says what is wrong."""

LOSSES: tuple[Rule, ...] = tuple(
    map(_if_up, (_key, _name, _clock, _silent, _ambry, _remembrance, _in_vain))
)
"""What will be missed as soon as it is needed."""
