"""The picture of a cathedral for a terminal: a pure function of its part of a status answer."""

from __future__ import annotations

import time
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chancel.cli import status_words as words
from chancel.daemon.durations import ago, duration

EXPIRY_WARNING_S = 7 * 86_400.0
"""A bundle that expires sooner should have been rolled by now."""


def panel(cathedral: dict[str, Any], wall: float | None = None) -> Panel:
    """Draw one cathedral; ``wall`` is the time it is seen at, now if left out."""
    wall = time.time() if wall is None else wall
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for note in notes(cathedral, wall):
        grid.add_row(" ", Text(note, "bold yellow"))
    for label, text in _rows(cathedral, wall):
        grid.add_row(label, Text(text))
    title = Text.assemble((cathedral["instance"], "bold"), "  ", ("cathedral", "green"))
    if cathedral["descr"]:
        title.append(f"  {cathedral['descr']}", "dim")
    return Panel(grid, title=title, title_align="left", expand=False)


def notes(cathedral: dict[str, Any], wall: float) -> list[str]:
    """What somebody should know or do, the most important first."""
    found = []
    problems = cathedral["settings"]["problems"] if "settings" in cathedral else []
    if problems:
        found.append("the settings have errors, so those before them are in force:")
        found += problems
    for bundle in cathedral.get("bundles", ()):
        if bundle["problem"]:
            found.append(bundle["problem"])
        expires = bundle["expires_wall"]
        if expires is not None and expires - wall < EXPIRY_WARNING_S:
            flocks = " and ".join(bundle["flocks"])
            found.append(f"the bundle of {flocks} {_expiry(expires, wall)}: devices need a new one")
    if cathedral["send_error"]:
        found.append(f"the machine refused to send: {cathedral['send_error']}")
    return found


def _rows(cathedral: dict[str, Any], wall: float) -> list[tuple[str, str]]:
    rates, relayed = cathedral["rates"], cathedral["relayed"]
    rows = [
        ("address", _address(cathedral)),
        ("tunnels", _where(cathedral["tunnels"])),
        ("liturgies", _where(cathedral["liturgies"])),
        ("relaying", words.rate(rates["bps"], rates["pps"])),
        ("relayed", _relayed(relayed["traffic"])),
        ("exchanges", _relayed(relayed["offers"])),
    ]
    if "settings" in cathedral:
        rows += [
            ("settings", _settings(cathedral["settings"], wall)),
            ("federation", ", ".join(cathedral["federation"]) or "none"),
            *[("bundle", _bundle(bundle, wall)) for bundle in cathedral["bundles"]],
        ]
        if (more := cathedral["bundles_total"] - len(cathedral["bundles"])) > 0:
            rows.append(("", f"and {more} bundles more"))
    rows += [
        ("drops", _drops(cathedral["drops"])),
        ("calls", _calls(cathedral["datagrams"])),
        ("offloads", words.offloads(cathedral["offloads"])),
    ]
    return rows


def _address(cathedral: dict[str, Any]) -> str:
    text = str(cathedral["local"])
    if cathedral["announced"] != cathedral["local"]:
        text += f", to clients {cathedral['announced']}"
    if cathedral["nat_local"]:
        text += f", NAT detection {cathedral['nat_local']}"
    hidden = {"masked (shroud)": "shroud", "all of one size (TFC)": "tfc"}
    return ", ".join([text, *(word for word, key in hidden.items() if cathedral[key])])


def _where(counts: dict[str, int]) -> str:
    return f"{counts['local']} here, {counts['federated']} at other cathedrals"


def _relayed(relayed: dict[str, int]) -> str:
    came, went = relayed["packets_in"], relayed["packets_out"]
    return f"{went} of {came} packets, {words.scaled(relayed['bytes'], 'B')}"


def _settings(settings: dict[str, Any], wall: float) -> str:
    taken = settings["taken_wall"]
    when = "none in force" if taken is None else f"taken {ago(max(0.0, wall - taken))}"
    return (
        f"{settings['flocks']} flocks, {settings['allows']} devices,"
        f" {settings['xflocks']} pairs of flocks; {when}"
    )


def _bundle(bundle: dict[str, Any], wall: float) -> str:
    flocks = " and ".join(bundle["flocks"])
    if bundle["generation"] is None:
        return f"{flocks}: none in force"
    return f"{flocks}: generation {bundle['generation']}, {_expiry(bundle['expires_wall'], wall)}"


def _expiry(expires: float, wall: float) -> str:
    left = expires - wall
    return f"expires in {duration(left)}" if left >= 0 else f"expired {ago(-left)}"


def _drops(drops: dict[str, dict[str, Any]]) -> str:
    counted = sorted(drops.items(), key=lambda item: (-item[1]["count"], item[0]))
    return ", ".join(f"{drop['count']} {reason}" for reason, drop in counted) or "none"


def _calls(datagrams: dict[str, dict[str, int]]) -> str:
    """How many datagrams a system call moved, which trains make many."""
    return ", ".join(
        f"{name} {moved['datagrams'] / max(1, moved['calls']):.1f} datagrams per call"
        for name, moved in (("receiving", datagrams["rx"]), ("sending", datagrams["tx"]))
    )
