"""The picture of a group's tunnels for a terminal: a pure function of its status answer."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chancel.cli import cathedral_view, liturgy_view
from chancel.cli import status_words as words
from chancel.daemon.durations import ago, duration
from chancel.daemon.health import state

_ROWS_OF_OTHER_MODES = {
    "pilgrim": {"exchange", "receiving", "heartbeat", "clock"},
    "shrine": {"exchange", "sending"},
}
"""Of a one-way tunnel: what it can't have."""

MAX_PANELS = 4
"""More tunnels than this are shown as a table, one row for each."""

_STATE_STYLE = {"up": "green", "pending": "yellow", "down": "red"}


def render(answer: dict[str, Any]) -> RenderableType:
    """Draw tunnels, cathedrals, liturgies of a status answer; ``silent`` tells of dead groups."""
    tunnels = answer["tunnels"]
    cathedrals = [cathedral_view.panel(each) for each in answer.get("cathedrals", ())]
    cathedrals += [liturgy_view.panel(each) for each in answer.get("liturgies", ())]
    silent = [Text(sentence, "red") for sentence in answer.get("silent", ())]
    if not tunnels and not cathedrals:
        return Group(*(silent or [Text("no tunnel is running")]))
    running = answer.get("groups", ())
    open_ = [Text(said, "bold yellow") for each in running if (said := words.confinement(each))]
    if len(tunnels) > MAX_PANELS:
        return Group(_overview(tunnels), *cathedrals, *open_, *silent)
    groups = [_group(group) for group in running]
    panels = [*map(_panel, tunnels), *cathedrals]
    return Group(*panels, *groups, *open_, *silent)


def state_text(tunnel: dict[str, Any]) -> Text:
    """``up`` or ``pending``, in its colour."""
    found = state(tunnel)
    return Text(found, _STATE_STYLE[found])


def _overview(tunnels: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("tunnel", "", "peer", "sending", "receiving", "keys", "mtu", ""):
        table.add_column(heading, overflow="fold")
    for tunnel in tunnels:
        rates = tunnel["rates"]
        table.add_row(
            Text(tunnel["instance"]),
            state_text(tunnel),
            Text(tunnel["peer"] or "unknown"),
            Text(words.rate(rates["tx_bps"], rates["tx_pps"])),
            Text(words.rate(rates["rx_bps"], rates["rx_pps"])),
            Text(ago(tunnel["tx"]["age_s"])),
            Text(str(tunnel["mtu"])),
            Text("; ".join(words.notes(tunnel)), "yellow"),
        )
    return table


def _panel(tunnel: dict[str, Any]) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _rows(tunnel):
        grid.add_row(label, text)
    title = Text.assemble((tunnel["instance"], "bold"), "  ", state_text(tunnel))
    if tunnel["descr"]:
        title.append(f"  {tunnel['descr']}", "dim")
    return Panel(grid, title=title, title_align="left", expand=False)


def _rows(tunnel: dict[str, Any]) -> list[tuple[str, Text]]:
    rows = [(" ", Text(note, "bold yellow")) for note in words.notes(tunnel)]
    rates = tunnel["rates"]
    plain = [
        ("peer", _peer(tunnel)),
        ("cathedral", words.cathedral(tunnel)),
        ("local", tunnel["local"]),
        ("tunnel", _tunnel(tunnel)),
        ("outside", words.outside(tunnel)),
        ("mtu", f"{tunnel['mtu']} ({'discovered' if tunnel['mtu_discovery'] else 'fixed'})"),
        ("keys", words.keys(tunnel)),
        ("exchange", _exchange(tunnel["exchange"])),
        ("announced", words.announced(tunnel)),
        ("sending", _direction(tunnel["tx"], rates["tx_bps"], rates["tx_pps"])),
        ("receiving", _direction(tunnel["rx"], rates["rx_bps"], rates["rx_pps"])),
        ("heartbeat", ago(tunnel["last_heartbeat_s"])),
        ("clock", _clock(tunnel["clock_skew_s"])),
        ("drops", _drops(tunnel["drops"])),
        ("offloads", words.offloads(tunnel["offloads"])),
    ]
    others = _ROWS_OF_OTHER_MODES.get(tunnel["mode"], set())
    return rows + [(label, Text(text)) for label, text in plain if text and label not in others]


def _tunnel(tunnel: dict[str, Any]) -> str:
    if tunnel["tap"]:
        port = f", a port of {tunnel['bridge']}" if tunnel["bridge"] else ""
        return f"Ethernet on {tunnel['device']}{port}"
    addresses = [tunnel[each] for each in ("tunnel", "tunnel6") if tunnel[each]]
    return f"{', '.join(addresses)} on {tunnel['device']}"


def _group(group: dict[str, Any]) -> Text:
    """What all tunnels of a group share."""
    wakeups = [
        f"{process} {counted['per_hour']}" for process, counted in sorted(group["wakeups"].items())
    ]
    sandbox = f"sandbox {group['sandbox']}"
    landlock = f"Landlock version {group['landlock']}" if group["landlock"] else "no Landlock"
    accelerator = f", accelerator {group['accelerator']}" if "accelerator" in group else ""
    return Text(
        f"group {group['pid']}: {sandbox}, {landlock}{accelerator};"
        f" wake-ups per hour: {', '.join(wakeups)}",
        "dim" if group["sandbox"] == "on" else "yellow",
    )


def _peer(tunnel: dict[str, Any]) -> str:
    if tunnel["peer"] is None:
        return "unknown"
    since = tunnel["path_since_s"]
    return f"{tunnel['peer']} ({tunnel['path']})" + (f" for {duration(since)}" if since else "")


def _exchange(exchange: dict[str, Any]) -> str:
    return f"{exchange['state']}: {exchange['reason']}" if exchange["reason"] else exchange["state"]


def _direction(side: dict[str, Any], bits_per_s: float, packets_per_s: float) -> str:
    if side["spi"] is None:
        return "no key"
    return (
        f"{words.rate(bits_per_s, packets_per_s)}; {side['packets']} packets,"
        f" {words.scaled(side['bytes'], 'B')} under key {side['spi']},"
        f" made {ago(side['age_s'])}; last {ago(side['last_s'])}"
    )


def _clock(skew_s: float | None) -> str:
    if skew_s is None:
        return "not compared yet"
    if abs(skew_s) < words.CLOCK_WARNING_S:
        return "agrees with the peer's"
    return f"{duration(abs(skew_s))} {'behind' if skew_s > 0 else 'ahead of'} the peer's"


def _drops(drops: dict[str, int]) -> str:
    counted = sorted(drops.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {reason}" for reason, count in counted if count) or "none"
