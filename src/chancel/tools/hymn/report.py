"""One tunnel in full, as its file says it and as it is now, in the reference's words and blanks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chancel.tools.hymn.condition import Condition, State
from chancel.tools.hymn.figures import Direction, Figures
from chancel.tools.hymn.tunnel import Cathedral, Tunnel


def lines(tunnel: Tunnel, condition: Condition) -> Iterator[str]:
    """What is printed for a tunnel."""
    figures = condition.figures
    yield f"{tunnel.title}:"
    if tunnel.is_server:
        yield from _server(tunnel)
        yield from _state(condition)
        return
    yield from _device(tunnel, figures)
    yield ""
    if tunnel.cathedral is not None:
        yield from _cathedral(tunnel, tunnel.cathedral, figures)
        yield ""
    elif tunnel.peer is not None:
        yield f"  peer\t\t{tunnel.peer}"
        yield ""
    if tunnel.liturgy is None and not tunnel.tap:
        # Our `add` and the reference's put a new one on top of the file: the oldest is shown first.
        yield from _networks("routes", tunnel.routes)
        yield from _networks("accepts", tunnel.accepts)
    yield from _state(condition)


def _server(tunnel: Tunnel) -> Iterator[str]:
    """The reference's tool knows none."""
    if tunnel.label:
        yield f"  name\t\t{tunnel.label}"
    yield "  mode\t\tcathedral"
    yield f"  shroud\t{'yes' if tunnel.shroud else 'no'}"
    yield f"  local\t\t{tunnel.local}"
    yield ""


def _device(tunnel: Tunnel, figures: Figures | None) -> Iterator[str]:
    if tunnel.label:
        yield f"  name\t\t{tunnel.label}"
    if tunnel.liturgy is not None:
        yield "  liturgy\tyes"
        yield f"    group\t{tunnel.liturgy.group:x}"
        yield f"    prefix\t{tunnel.liturgy.prefix}"
    yield f"  device\t{'tap' if tunnel.tap else 'tun'}"
    yield f"  shroud\t{'yes' if tunnel.shroud else 'no'}"
    if tunnel.bridge is not None:
        yield f"  bridge\t{tunnel.bridge}"
    if tunnel.liturgy is not None:
        return
    if tunnel.local is not None:
        yield f"  local\t\t{tunnel.local}"
    yield f"  tunnel\t{tunnel.address}"
    found_out = tunnel.mtu == "auto" and figures is not None
    yield f"  mtu\t\t{tunnel.mtu}" + (f" ({figures.mtu})" if figures and found_out else "")


def _cathedral(tunnel: Tunnel, cathedral: Cathedral, figures: Figures | None) -> Iterator[str]:
    peer = figures.peer if figures and figures.peer != tunnel.peer else None
    yield f"  cathedral\t{cathedral.address}" + (f" ({peer})" if peer else "")
    yield f"    nat-port\t{cathedral.nat_port}" if cathedral.nat_port else "    nat     \tdisabled"
    yield f"    flock-src\t{cathedral.flock:x}"
    if cathedral.flock_dst != cathedral.flock:
        yield f"    flock-dst\t{cathedral.flock_dst:x}"
    yield f"    identity\t{cathedral.identity:x}"


def _networks(title: str, networks: tuple[str, ...]) -> Iterator[str]:
    yield f"  {title}"
    for network in reversed(networks):
        yield f"    {network}"
    if not networks:
        yield "    none"
    yield ""


def _state(condition: Condition) -> Iterator[str]:
    if condition.figures is not None:
        yield from _direction("tx", condition.figures.tx)
        yield from _direction("rx", condition.figures.rx)
    elif condition.state is State.RUNNING:
        yield "  running"
    elif condition.state is State.DOWN:
        yield "  not active"
    else:
        yield "  starting" if condition.problem is None else "  not answering"


def _direction(title: str, side: Direction) -> Iterator[str]:
    yield f"  {title}"
    yield "    spi            " + (
        f"{side.spi:08x} (age: {side.age_s} seconds)" if side.spi else "none"
    )
    yield f"    pkt            {side.packets} "
    yield f"    bytes          {side.octets} "
    yield "    last packet    " + ("never" if side.last_s is None else f"{side.last_s} seconds ago")
    yield ""


def as_object(tunnel: Tunnel, condition: Condition) -> dict[str, Any]:
    """The same for programs; numbers that the file has in hex are text."""
    cathedral, liturgy, figures = tunnel.cathedral, tunnel.liturgy, condition.figures
    return {
        "name": tunnel.title,
        "label": tunnel.label or None,
        "file": str(tunnel.path),
        "mode": tunnel.mode,
        "instance": tunnel.instance,
        "state": condition.state,
        "problem": condition.problem,
        "device": "tap" if tunnel.tap else "tun",
        "bridge": tunnel.bridge,
        "shroud": tunnel.shroud,
        "local": _text(tunnel.local),
        "tunnel": tunnel.address if tunnel.has_peer else None,
        "mtu": tunnel.mtu if tunnel.has_peer else None,
        "mtu_now": None if figures is None else figures.mtu,
        "peer": _text(tunnel.peer),
        "peer_now": None if figures is None else _text(figures.peer),
        "cathedral": None
        if cathedral is None
        else {
            "address": cathedral.address,
            "nat_port": cathedral.nat_port or None,
            "flock_src": f"{cathedral.flock:x}",
            "flock_dst": f"{cathedral.flock_dst:x}",
            "identity": f"{cathedral.identity:x}",
        },
        "liturgy": None
        if liturgy is None
        else {
            "group": f"{liturgy.group:x}",
            "prefix": liturgy.prefix,
            "discoverable": liturgy.discoverable,
        },
        "routes": list(reversed(tunnel.routes)),
        "accepts": list(reversed(tunnel.accepts)),
        "tx": None if figures is None else _side(figures.tx),
        "rx": None if figures is None else _side(figures.rx),
    }


def _side(side: Direction) -> dict[str, Any]:
    return {
        "spi": f"{side.spi:08x}" if side.spi else None,
        "age_s": side.age_s if side.spi else None,
        "packets": side.packets,
        "bytes": side.octets,
        "last_s": side.last_s,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
