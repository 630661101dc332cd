"""How tunnels are, whichever daemon runs them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any

from chancel.errors import LinkClosed
from chancel.tools.hymn.census import Census
from chancel.tools.hymn.figures import Figures, ask
from chancel.tools.hymn.names import TunnelName
from chancel.tools.hymn.running import daemon_of
from chancel.tools.hymn.tunnel import Tunnel


class State(enum.StrEnum):
    """The words of a list; what has no peer of its own, like a liturgy, is just ``RUNNING``."""

    DOWN = enum.auto()
    PENDING = enum.auto()
    ONLINE = enum.auto()
    RUNNING = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """``figures`` is ``None`` while it doesn't run or doesn't tell; ``problem`` says why not."""

    state: State
    figures: Figures | None = None
    problem: str | None = None


class Conditions:
    """Knows what our groups answered, and asks each tunnel when it is its turn."""

    def __init__(self, census: Census) -> None:
        self._groups = census.survey.groups
        self._stopped = census.stopped
        self._ours = {
            each["instance"]: each for group in self._groups for each in group.answer["tunnels"]
        }

    def of(self, tunnel: Tunnel) -> Condition:
        """How a tunnel is now."""
        if tunnel.instance in self._stopped:
            return Condition(State.PENDING, problem=self._stopped[tunnel.instance])
        daemon = daemon_of(tunnel.pidfile)
        if daemon is None and not any(group.knows(tunnel.instance) for group in self._groups):
            return Condition(State.DOWN)
        if not tunnel.has_peer:
            return Condition(State.RUNNING)
        try:
            figures = _figures(tunnel, self._ours.get(tunnel.instance))
        except LinkClosed as closed:
            starting = daemon is not None and daemon.pid is None
            return Condition(State.PENDING, problem=None if starting else str(closed))
        return _with(figures)

    def members(self, liturgy: Tunnel) -> Iterator[tuple[TunnelName, Condition]]:
        """The tunnels that a liturgy of ours has now, by the device at the other end."""
        if liturgy.name is None:
            return
        for group in self._groups:
            if all(each["instance"] != liturgy.instance for each in group.liturgies):
                continue
            for told in sorted(group.answer["tunnels"], key=lambda each: int(each["peer_device"])):
                name = dataclasses.replace(liturgy.name, destination=told["peer_device"])
                yield name, _with(Figures.of_status(told))


def _with(figures: Figures) -> Condition:
    return Condition(State.ONLINE if figures.is_online else State.PENDING, figures)


def _figures(tunnel: Tunnel, ours: dict[str, Any] | None) -> Figures:
    if tunnel.control is not None:
        try:
            return ask(tunnel.control, tunnel.control_user)
        except LinkClosed:
            if ours is None:
                raise
    if ours is None:
        raise LinkClosed(
            f"{tunnel.title} can't be asked: its file has no control line, and its daemon is not"
            " Chancel's"
        )
    return Figures.of_status(ours)
