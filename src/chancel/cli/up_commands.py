"""``chancel up``, ``down`` and ``list``: tunnels by name, from the configuration directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from chancel.cli import names
from chancel.cli.hymn_options import Json, Name
from chancel.cli.options import ConfigDir, RuntimeDir
from chancel.daemon import config, config_liturgy, ctl, health, places
from chancel.errors import ConfigError, LinkClosed
from chancel.tools.hymn import census, hymnal, service
from chancel.tools.hymn.condition import Conditions, State
from chancel.tools.hymn.hymnal import Hymnal
from chancel.tools.hymn.tunnel import Tunnel


def up(name: Name, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> None:
    """Start a tunnel in the background; returns when it is there.

    As root it is this machine's; without root it has a network of its own, for chancel exec NAME.

    \b
    Examples:
      chancel up office
      chancel exec office -- ping 10.0.0.2
    """
    path = hymnal.here(config_dir).find(name)
    service.prepare(path, places.runtime_dir(runtime_dir)).become()


def down(name: Name, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> None:
    """End a tunnel; returns when it is gone. The others of its group stay.

    \b
    Example:
      chancel down office
    """
    runtime = places.runtime_dir(runtime_dir)
    tunnel = _known(name, places.config_dir(config_dir))
    if tunnel is None:
        group, instance = names.find(runtime, name)
        service.stop_ours(group, instance or name)
        return
    found = service.locate(tunnel, runtime)
    if found is None:
        raise LinkClosed(f"no tunnel called {tunnel.instance!r} is running (looked in {runtime})")
    service.stop(tunnel, found)


def list_(
    as_json: Json = False, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None
) -> None:
    """List the tunnels that are configured, and those that run.

    States: up, pending (no answer from the peer yet), down, broken (see the reason).

    \b
    Examples:
      chancel list
      chancel list --json
    """
    taken = census.take(places.runtime_dir(runtime_dir))
    running = _running(taken.survey)
    conditions = Conditions(taken)
    rows = [
        _configured(path, running, conditions) for path in sorted(hymnal.here(config_dir).files())
    ]
    listed = {row["instance"] for row in rows}
    rows += [_row(name, name, state) for name, state in running.items() if name not in listed]
    rows += [
        _row(name, name, State.PENDING, reason)
        for name, reason in taken.stopped.items()
        if name not in listed
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        label = f"  ({row['label']})" if row["label"] else ""
        reason = f"  {row['reason']}" if row["reason"] else ""
        typer.echo(f"{row['name']:{width}}  {row['state']}{label}{reason}")


def _known(name: str, directory: Path) -> Tunnel | None:
    """The tunnel of that name, if there is a file; it may run without one."""
    places.configuration(directory, name)  # raises for what is no name at all
    try:
        return hymnal.load(Hymnal(directory).find(name))
    except ConfigError:
        return None


def _running(survey: ctl.Survey) -> dict[str, str]:
    """The state of whatever our groups run, by instance."""
    states: dict[str, str] = {}
    for group in survey.groups:
        states |= {each["instance"]: health.state(each) for each in group.answer["tunnels"]}
        others = (*group.answer.get("cathedrals", ()), *group.liturgies)
        states |= {each["instance"]: "up" for each in others}
    return states


def _configured(path: Path, running: dict[str, str], conditions: Conditions) -> dict[str, Any]:
    try:
        tunnel = hymnal.load(path)
        if tunnel.is_server:
            from chancel.cathedrald import config as cathedral_config  # loads half of a daemon

            cathedral_config.load(path)
        elif tunnel.liturgy is not None:
            config_liturgy.load(path)
        else:
            config.load(path)
    except ConfigError as error:
        return _row(path.stem, None, "broken", str(error))
    state, reason = running.get(tunnel.instance), None
    if state is None:
        condition = conditions.of(tunnel)
        state, reason = _WORDS[condition.state], condition.problem
    return _row(path.stem, tunnel.instance, state, reason) | {"label": tunnel.label or None}


_WORDS = {
    State.DOWN: "down",
    State.PENDING: "pending",
    State.ONLINE: "up",
    State.RUNNING: "up",
}
"""For what another daemon runs."""


def _row(name: str, instance: str | None, state: str, reason: str | None = None) -> dict[str, Any]:
    return {"name": name, "instance": instance, "state": state, "reason": reason, "label": None}
