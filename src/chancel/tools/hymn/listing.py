"""All tunnels, a line for each, in the reference's order and words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chancel.tools.hymn.condition import Condition
from chancel.tools.hymn.names import NO_FLOCK, TunnelName
from chancel.tools.hymn.tunnel import Tunnel

Look = Callable[[Tunnel], Condition]
Members = Callable[[Tunnel], Iterable[tuple[TunnelName, Condition]]]
"""The tunnels that a liturgy of ours has now, none of which has a file."""


def ordered(tunnels: Iterable[Tunnel]) -> list[Tunnel]:
    """The reference's order of tunnels that come in the directory's own order.

    First those without a flock, reversed; then those of cathedrals; then liturgies. These are put
    in one by one, each in front of the first that has a greater flock or greater devices, which is
    no order that a sort would give.
    """
    plain: list[Tunnel] = []
    cathedral: list[Tunnel] = []
    liturgies: list[Tunnel] = []
    for each in tunnels:
        if each.liturgy is not None:
            _put_in(liturgies, each)
        elif each.has_flock:
            _put_in(cathedral, each)
        else:
            plain.insert(0, each)
    return plain + cathedral + liturgies


def _put_in(placed: list[Tunnel], tunnel: Tunnel) -> None:
    flock, devices = _keys(tunnel)
    for at, other in enumerate(placed):
        other_flock, other_devices = _keys(other)
        if flock < other_flock or devices < other_devices:
            placed.insert(at, tunnel)
            return
    placed.append(tunnel)


def _keys(tunnel: Tunnel) -> tuple[int, int]:
    flock = 0 if tunnel.cathedral is None else tunnel.cathedral.flock
    return flock, 0 if tunnel.name is None else tunnel.name.tunnel_id


def owner(tunnel: Tunnel, tunnels: Iterable[Tunnel]) -> Tunnel | None:
    """The liturgy that starts and stops a tunnel: of the same flock and device."""
    if tunnel.name is None or tunnel.liturgy is not None:
        return None
    return owner_of(tunnel.name, tunnels)


def owner_of(name: TunnelName, tunnels: Iterable[Tunnel]) -> Tunnel | None:
    """The same for one that may have no file: a liturgy of ours needs none."""
    for each in tunnels:
        if each.liturgy is not None and each.name is not None:
            same_flock = each.name.flock == name.flock
            if same_flock and each.name.source == name.source:
                return each
    return None


def lines(
    tunnels: list[Tunnel],
    look: Look,
    flock: str | None = None,
    members: Members = lambda _liturgy: (),
) -> Iterator[str]:
    """The list, or that of one flock, of tunnels that are :func:`ordered`.

    A tunnel is looked at when its line is asked for.
    """
    chosen = [each for each in tunnels if flock is None or flock_of(each) == flock]
    plain = [each for each in chosen if not each.has_flock and each.liturgy is None]
    if plain and flock is None:
        yield "normal tunnels:"
    for each in plain:
        yield f"    {_entry(each, look)}"
    others = chosen[len(plain) :]
    if others:
        yield "cathedral tunnels:"
    owned = {each.path: liturgy for each in others if (liturgy := owner(each, chosen)) is not None}
    liturgies = [each for each in others if each.liturgy is not None]
    for each in others:
        if each.liturgy is None and each.path not in owned:
            yield f"    {_entry(each, look)}"
    if liturgies:
        yield "liturgies:"
    for liturgy in liturgies:
        yield f"    {_entry(liturgy, look)}"
        for each in others:
            if owned.get(each.path) is liturgy:
                yield f"     + {_entry(each, look)}"
        for name, condition in members(liturgy):
            yield f"     + {name} - {condition.state}"


def flock_of(tunnel: Tunnel) -> str:
    """The text by which a list can be narrowed."""
    return NO_FLOCK if tunnel.name is None else tunnel.name.flock


def _entry(tunnel: Tunnel, look: Look) -> str:
    label = f" ({tunnel.label})" if tunnel.label else ""
    return f"{tunnel.title} - {look(tunnel).state}{label}"


def row(tunnel: Tunnel, condition: Condition, liturgy: Tunnel | None) -> dict[str, Any]:
    """The same for programs."""
    kind = "liturgy" if tunnel.liturgy else "cathedral" if tunnel.has_flock else "normal"
    return {
        "name": tunnel.title,
        "label": tunnel.label or None,
        "kind": kind,
        "liturgy": None if liturgy is None else liturgy.title,
        "instance": tunnel.instance,
        "state": condition.state,
        "problem": condition.problem,
    }


def member_row(name: TunnelName, condition: Condition, liturgy: Tunnel) -> dict[str, Any]:
    """The same of a liturgy's tunnel without a file."""
    return {
        "name": str(name),
        "label": None,
        "kind": "cathedral",
        "liturgy": liturgy.title,
        "instance": name.instance,
        "state": condition.state,
        "problem": condition.problem,
    }
