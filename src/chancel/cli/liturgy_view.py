"""The picture of a liturgy for a terminal: a pure function of its part of a status answer."""

from __future__ import annotations

from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chancel.daemon import why_liturgy
from chancel.daemon.durations import ago, duration
from chancel.daemon.why_facts import Finding


def panel(liturgy: dict[str, Any]) -> Panel:
    """Draw one liturgy; its tunnels are drawn as all others."""
    rows = [(" ", Text(each.says, "bold yellow")) for each in why_liturgy.findings(liturgy)]
    return _panel(liturgy, rows + [(label, Text(text)) for label, text in _rows(liturgy)])


def explanation(liturgy: dict[str, Any]) -> Panel:
    """Draw what is wrong, and what a person can do."""
    found = why_liturgy.findings(liturgy)
    rows = [row for each in found for row in _explained(each)]
    tried = ("tried", Text(why_liturgy.tried(liturgy)))
    return _panel(liturgy, [tried, *(rows or [("", Text("nothing is wrong", "green"))])])


def summary(liturgy: dict[str, Any]) -> str:
    """In one line."""
    members, tunnels = len(liturgy["members"]), len(liturgy["tunnels"])
    answered = ago(liturgy["answered_s"])
    return (
        f"liturgy {liturgy['instance']}: {members} others are there, {tunnels} tunnels,"
        f" last answer {answered}"
    )


def _panel(liturgy: dict[str, Any], rows: list[tuple[str, Text]]) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(label, text)
    title = Text.assemble((liturgy["instance"], "bold"), "  ", ("liturgy", "green"))
    if liturgy["descr"]:
        title.append(f"  {liturgy['descr']}", "dim")
    return Panel(grid, title=title, title_align="left", expand=False)


def _rows(liturgy: dict[str, Any]) -> list[tuple[str, str]]:
    hidden = ", hidden" if liturgy["hidden"] else ""
    kept = sorted({*liturgy["tunnels"].values()} - {*liturgy["members"]})
    rows = [
        (
            "device",
            f"{liturgy['device']:02x} of {liturgy['flock']}, group {liturgy['group']}{hidden}",
        ),
        ("members", _devices(liturgy["members"])),
        ("kept", f"{_devices(kept)} (not named any more)" if kept else ""),
        ("cathedral", _cathedral(liturgy["cathedral"])),
        ("answered", ago(liturgy["answered_s"])),
        ("inside", _inside(liturgy)),
        ("local", liturgy["local"]),
    ]
    return [(label, text) for label, text in rows if text]


def _cathedral(cathedral: dict[str, Any]) -> str:
    if cathedral["address"] is None:
        return "none known yet"
    return (
        f"{cathedral['address']} for {duration(cathedral['since_s'] or 0.0)},"
        f" {cathedral['known']} known"
    )


def _inside(liturgy: dict[str, Any]) -> str:
    if liturgy["tap"]:
        return "Ethernet" + (f", ports of {liturgy['bridge']}" if liturgy["bridge"] else "")
    upper = ".".join(liturgy["prefix"].split(".")[:2])
    return f"{upper}.{liturgy['device']}.DEVICE here, {upper}.DEVICE.{liturgy['device']} there"


def _devices(devices: list[int]) -> str:
    return ", ".join(f"{device:02x}" for device in devices) or "nobody"


def _explained(finding: Finding) -> list[tuple[str, Text]]:
    return [("failed", Text(finding.says, "bold yellow")), ("do", Text(finding.do))]
