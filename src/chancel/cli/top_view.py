"""One frame of ``chancel top``: all tunnels in some order, and what their rates were lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chancel.cli import liturgy_view
from chancel.cli import status_words as words
from chancel.cli.status_view import state_text
from chancel.daemon.durations import ago, duration

HISTORY: Final = 16
"""Rates that are kept of each tunnel: as many columns."""

_BARS = " ▁▂▃▄▅▆▇█"
_PATHS = {"direct": "green", "relay": "yellow", "unknown": "red"}
_EXPIRES_SOON_S: Final = 120.0

Tunnel = dict[str, Any]

SORTS: Final[dict[str, Callable[[Tunnel], Any]]] = {
    "rate": lambda tunnel: (-_rate(tunnel), tunnel["instance"]),
    "name": lambda tunnel: tunnel["instance"],
    "drops": lambda tunnel: (-sum(tunnel["drops"].values()), tunnel["instance"]),
    "state": lambda tunnel: (tunnel["state"] == "up", tunnel["instance"]),
}
"""The orders, by the names that a person types."""


class History:
    """What the rates of each tunnel were, the oldest first; forgets those that are gone."""

    def __init__(self) -> None:
        self._rates: dict[str, deque[float]] = {}

    def add(self, tunnels: list[Tunnel]) -> None:
        """The rates of this moment."""
        names = {tunnel["instance"] for tunnel in tunnels}
        self._rates = {name: rates for name, rates in self._rates.items() if name in names}
        for tunnel in tunnels:
            empty: deque[float] = deque(maxlen=HISTORY)
            self._rates.setdefault(tunnel["instance"], empty).append(_rate(tunnel))

    def bars(self, instance: str) -> str:
        """The rates as bars; the highest of them is full."""
        rates = self._rates.get(instance, ())
        most = max(rates, default=0.0)
        if most <= 0:
            return " " * len(rates)
        return "".join(_BARS[round(rate / most * (len(_BARS) - 1))] for rate in rates)


def render(answer: dict[str, Any], history: History, sort: str, rows: int) -> RenderableType:
    """One frame, in so many lines."""
    tunnels = sorted(answer["tunnels"], key=SORTS[sort])
    table = Table(box=None, pad_edge=False, header_style="bold reverse", expand=True)
    for heading, justify in (
        ("tunnel", "left"),
        ("", "left"),
        ("peer", "left"),
        ("way", "left"),
        ("↑", "right"),
        ("↓", "right"),
        ("lately", "left"),
        ("keys", "right"),
        ("drops", "right"),
    ):
        least = HISTORY if heading == "lately" else len(heading)
        table.add_column(heading, justify=justify, no_wrap=True, min_width=least)  # type: ignore[arg-type]
    shown = tunnels[: max(1, rows - 6)]
    for tunnel in shown:
        table.add_row(*_row(tunnel, history))
    parts: list[RenderableType] = [_summary(answer, tunnels), table]
    if len(tunnels) > len(shown):
        parts.append(Text(f"{len(tunnels) - len(shown)} more", "dim"))
    parts += [_cathedral(each) for each in answer["cathedrals"]]
    parts += [Text(liturgy_view.summary(each), "green") for each in answer.get("liturgies", ())]
    parts += [Text(sentence, "red") for sentence in answer["silent"]]
    parts.append(Text(f"sorted by {sort}: s another   q quit", "dim"))
    return Group(*parts)


def _row(tunnel: Tunnel, history: History) -> tuple[Text, ...]:
    rates = tunnel["rates"]
    dropped = sum(tunnel["drops"].values())
    return (
        Text(tunnel["instance"], "bold"),
        state_text(tunnel),
        Text(tunnel["peer"] or "unknown"),
        Text(_way(tunnel), _PATHS.get(tunnel["path"], "")),
        Text(words.scaled(rates["tx_bps"] or 0, "bit/s")),
        Text(words.scaled(rates["rx_bps"] or 0, "bit/s")),
        Text(history.bars(tunnel["instance"]), "cyan"),
        _keys(tunnel),
        Text(str(dropped), "yellow" if dropped else "dim"),
    )


def _way(tunnel: Tunnel) -> str:
    cathedral = tunnel.get("cathedral")
    if tunnel["path"] == "relay" and cathedral:
        return f"relay {cathedral['address']}"
    return str(tunnel["path"])


def _keys(tunnel: Tunnel) -> Text:
    """How old the older key is; red when it is about to expire and nothing has replaced it."""
    ages = [side["age_s"] for side in (tunnel["tx"], tunnel["rx"]) if side["age_s"] is not None]
    if not ages:
        return Text("none", "red")
    left = [s["expires_s"] for s in (tunnel["tx"], tunnel["rx"]) if s["expires_s"] is not None]
    soon = bool(left) and min(left) < _EXPIRES_SOON_S
    return Text(duration(max(ages)), "red" if soon else "")


def _summary(answer: dict[str, Any], tunnels: list[Tunnel]) -> Text:
    up = sum(tunnel["state"] == "up" for tunnel in tunnels)
    relayed = sum(tunnel["path"] == "relay" for tunnel in tunnels)
    sent = sum(tunnel["rates"]["tx_bps"] or 0 for tunnel in tunnels)
    received = sum(tunnel["rates"]["rx_bps"] or 0 for tunnel in tunnels)
    return Text.assemble(
        ("chancel  ", "bold"),
        f"{len(answer['groups'])} groups, {len(tunnels)} tunnels: {up} up, {relayed} relayed",
        f"   ↑ {words.scaled(sent, 'bit/s')}  ↓ {words.scaled(received, 'bit/s')}",
    )


def _cathedral(cathedral: dict[str, Any]) -> Text:
    said = [f"cathedral {cathedral['instance']}"]
    if cathedral.get("heard_s") is not None:
        said.append(f"heard {ago(cathedral['heard_s'])}")
    return Text("  ".join(said), "magenta")


def _rate(tunnel: Tunnel) -> float:
    rates = tunnel["rates"]
    return float((rates["tx_bps"] or 0) + (rates["rx_bps"] or 0))
