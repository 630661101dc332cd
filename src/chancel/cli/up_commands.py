"""``chancel up``, ``down`` and ``list``: tunnels by name, from the configuration directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chancel.cli.options import ConfigDir, RuntimeDir
from chancel.daemon import config, ctl, health, places
from chancel.daemon.job import Job
from chancel.errors import ConfigError

Name = Annotated[str, typer.Argument(metavar="NAME", help="NAME.conf in the directory.")]


def up(name: Name, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> None:
    """Start a tunnel in the background; returns when it is there.

    As root it is this machine's; without root it has a network of its own, for chancel exec NAME.

    \b
    Examples:
      chancel up office
      chancel exec office -- ping 10.0.0.2
    """
    path = places.configuration(places.config_dir(config_dir), name)
    loaded = config.load(path)
    config.check([loaded])
    own_network = not places.is_machine_root()
    if own_network:
        loaded.check_cell()
    directory = places.runtime_dir(runtime_dir)
    places.check_runtime_dir(directory, [loaded.instance])
    Job((path,), directory, detached=True, syslog=True, own_network=own_network).start()


def down(name: Name, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> None:
    """End a tunnel; returns when it is gone. The others of its group stay.

    \b
    Example:
      chancel down office
    """
    survey = ctl.survey(places.runtime_dir(runtime_dir))
    instance = _instance(name, places.config_dir(config_dir), survey)
    group = survey.find(instance)
    if len(group.answer["tunnels"]) > 1:
        ctl.remove(group.socket, instance)
    else:
        ctl.stop(group.socket)


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    config_dir: ConfigDir = None,
    runtime_dir: RuntimeDir = None,
) -> None:
    """List the tunnels that are configured, and those that run.

    States: up, pending (no answer from the peer yet), down, broken (see the reason).

    \b
    Examples:
      chancel list
      chancel list --json
    """
    survey = ctl.survey(places.runtime_dir(runtime_dir))
    running = {
        each["instance"]: each for group in survey.groups for each in group.answer["tunnels"]
    }
    rows = [
        _configured(path, running) for path in places.configurations(places.config_dir(config_dir))
    ]
    listed = {row["instance"] for row in rows}
    rows += [_row(name, name, tunnel) for name, tunnel in running.items() if name not in listed]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        reason = f"  {row['reason']}" if row["reason"] else ""
        typer.echo(f"{row['name']:{width}}  {row['state']}{reason}")


def _instance(name: str, directory: Path, survey: ctl.Survey) -> str:
    """What the tunnel ``NAME.conf`` is called; NAME itself if that runs, whatever the file says."""
    if any(group.knows(name) for group in survey.groups):
        return name
    path = places.configuration(directory, name)
    return config.load(path).instance if path.exists() else name


def _configured(path: Path, running: dict[str, Any]) -> dict[str, Any]:
    try:
        instance = config.load(path).instance
    except ConfigError as error:
        return _row(path.stem, None, None) | {"state": "broken", "reason": str(error)}
    return _row(path.stem, instance, running.get(instance))


def _row(name: str, instance: str | None, tunnel: dict[str, Any] | None) -> dict[str, Any]:
    state = "down" if tunnel is None else health.state(tunnel)
    return {"name": name, "instance": instance, "state": state, "reason": None}
