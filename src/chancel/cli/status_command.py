"""``chancel status``: how the tunnels of this machine are."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from chancel.cli import names, status_words, why_view
from chancel.cli.options import RuntimeDir
from chancel.cli.status_view import render
from chancel.daemon import ctl, metrics_client, places
from chancel.daemon.health import state

INTERVAL_S = 1.0


def status(
    name: names.MaybeRunning = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second.")] = False,
    why: Annotated[
        bool, typer.Option("--why", help="What was tried, what failed first, and what to do.")
    ] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="The group's metrics, as Prometheus reads them.")
    ] = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Show how tunnels are: peer, keys, rates, drops, clock.

    \b
    Examples:
      chancel status
      chancel status office --json
      chancel status --why
      chancel status office --metrics
      chancel status --watch
    """
    directory = places.runtime_dir(runtime_dir)
    if metrics:
        if as_json or watch or why:
            raise typer.BadParameter("expected no other option with it", param_hint="--metrics")
        socket = names.find(directory, name)[0].answer["group"]["metrics"]
        typer.echo(metrics_client.read(Path(socket)), nl=False)
        return
    draw = why_view.render if why else render

    def look() -> dict[str, Any]:
        return collect(*names.running(directory, name))

    def print_json() -> None:
        answer = look()
        typer.echo(json.dumps(why_view.as_json(answer) if why else answer))

    if as_json and watch:
        _repeat(print_json)
    elif as_json:
        print_json()
    elif watch:
        with Live(auto_refresh=False) as live:
            _repeat(lambda: live.update(draw(look()), refresh=True))
    else:
        Console().print(draw(look()))


def collect(survey: ctl.Survey, name: str | None) -> dict[str, Any]:
    """One answer for all groups, or for the tunnel or group called ``name``.

    ``groups`` has each group's ``group``, ``cathedrals`` all cathedrals, ``liturgies`` all
    liturgies, and ``tunnels`` all tunnels with ``group_pid``, ``state`` and ``notes`` added. Raises
    :class:`chancel.errors.LinkClosed` when ``name`` isn't running.
    """
    groups = survey.groups if name is None else (survey.find(name),)
    tunnels = [
        tunnel
        | {
            "group_pid": group.answer["group"]["pid"],
            "state": state(tunnel),
            "notes": status_words.notes(tunnel),
        }
        for group in groups
        for tunnel in group.answer["tunnels"]
    ]
    named = [tunnel for tunnel in tunnels if tunnel["instance"] == name]
    cathedrals = [
        cathedral | {"group_pid": group.answer["group"]["pid"]}
        for group in groups
        for cathedral in group.answer.get("cathedrals", ())
    ]
    liturgies = [
        liturgy | {"group_pid": group.answer["group"]["pid"]}
        for group in groups
        for liturgy in group.liturgies
    ]
    return {
        "ok": True,
        "groups": [group.answer["group"] for group in groups],
        "tunnels": named or tunnels,
        "cathedrals": cathedrals,
        "liturgies": [] if named else liturgies,
        "silent": list(survey.silent) if name is None else [],
    }


def _repeat(show: Callable[[], None]) -> None:
    """Until somebody interrupts, which is how watching ends well."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            show()
            time.sleep(INTERVAL_S)
