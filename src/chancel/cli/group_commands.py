"""``chancel add`` and ``chancel remove``: tunnels join and leave a running group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chancel.cli.options import RuntimeDir
from chancel.daemon import config, ctl, places


def add(
    file: Annotated[
        Path, typer.Option("-c", "--config", metavar="FILE", help="The tunnel's configuration.")
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="A tunnel of the group, when several run."),
    ] = None,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Add a tunnel to a running group; its other tunnels don't notice.

    \b
    Example:
      chancel add -c lab.conf --to office
    """
    instance = config.load(file).instance
    group = ctl.survey(places.runtime_dir(runtime_dir)).find(to)
    with file.open("rb") as opened:
        ctl.add(group.socket, str(file), opened.fileno())
    typer.echo(f"{instance} joined the group of {group.name}")


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The instance to end.")],
    runtime_dir: RuntimeDir = None,
) -> None:
    """Take one tunnel out of its group; the group's other tunnels don't notice.

    \b
    Example:
      chancel remove lab
    """
    group = ctl.survey(places.runtime_dir(runtime_dir)).find(name)
    ctl.remove(group.socket, name)
    typer.echo(f"{name} left its group")
