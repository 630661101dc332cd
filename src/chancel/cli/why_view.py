"""``chancel status --why``: what ``daemon.why`` found, for a terminal and for programs."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chancel.cli import cathedral_view, liturgy_view
from chancel.cli.status_view import state_text
from chancel.daemon import why_liturgy
from chancel.daemon.why import explain
from chancel.daemon.why_facts import Finding

NOTHING = "nothing is wrong"


def render(answer: dict[str, Any]) -> RenderableType:
    """Draw the explanation of each of the ``tunnels`` of a status answer."""
    silent = [Text(f"down: {sentence}", "red") for sentence in answer.get("silent", ())]
    panels = [_panel(tunnel) for tunnel in answer["tunnels"]]
    panels += [liturgy_view.explanation(each) for each in answer.get("liturgies", ())]
    panels += [cathedral_view.panel(each) for each in answer.get("cathedrals", ())]
    return Group(*panels, *silent) if panels or silent else Text("no tunnel is running")


def as_json(answer: dict[str, Any]) -> dict[str, Any]:
    """The same for programs: ``failed`` has the findings, the cause first.

    Of liturgies likewise; of cathedrals ``notes`` has what somebody should know or do.
    """
    tunnels = []
    for tunnel in answer["tunnels"]:
        explained = explain(tunnel)
        tunnels.append(
            {
                "instance": tunnel["instance"],
                "state": tunnel["state"],
                "path": explained.path,
                "tried": list(explained.tried),
                "failed": [finding._asdict() for finding in explained.findings],
            }
        )
    now = time.time()
    cathedrals = [
        {"instance": each["instance"], "notes": cathedral_view.notes(each, now)}
        for each in answer.get("cathedrals", ())
    ]
    liturgies = [
        {
            "instance": each["instance"],
            "tried": [why_liturgy.tried(each)],
            "failed": [finding._asdict() for finding in why_liturgy.findings(each)],
        }
        for each in answer.get("liturgies", ())
    ]
    return {
        "ok": True,
        "tunnels": tunnels,
        "cathedrals": cathedrals,
        "liturgies": liturgies,
        "silent": answer["silent"],
    }


def _panel(tunnel: dict[str, Any]) -> Panel:
    explained = explain(tunnel)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("path", Text(explained.path))
    for number, tried in enumerate(explained.tried):
        grid.add_row("" if number else "tried", Text(tried))
    for finding in explained.findings:
        _add(grid, finding)
    if not explained.findings:
        grid.add_row("", Text(NOTHING, "green"))
    title = Text.assemble((tunnel["instance"], "bold"), "  ", state_text(tunnel))
    return Panel(grid, title=title, title_align="left", expand=False)


def _add(grid: Table, finding: Finding) -> None:
    grid.add_row("failed", Text(finding.says, "bold yellow"))
    grid.add_row("do", Text(finding.do))
