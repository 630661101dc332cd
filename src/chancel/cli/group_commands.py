"""``chancel add`` and ``chancel remove``: tunnels join and leave a running group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chancel.cli import names
from chancel.cli.options import RuntimeDir
from chancel.daemon import config, ctl, places


def add(
    file: Annotated[
        Path, typer.Option("-c", "--config", metavar="FILE", help="The tunnel's configuration.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAME",
            help="A tunnel of the group, when several run.",
            autocompletion=names.running_names,
        ),
    ] = None,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Add a tunnel to a running group; its other tunnels don't notice.

    \b
    Example:
      chancel add -c lab.conf --to office
    """
    instance = config.load(file).instance
    group, _ = names.find(places.runtime_dir(runtime_dir), to)
    with file.open("rb") as opened:
        ctl.add(group.socket, str(file), opened.fileno())
    typer.echo(f"{instance} joined the group of {group.name}")


def remove(
    name: names.Running,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Take one tunnel out of its group; the group's other tunnels don't notice.

    \b
    Example:
      chancel remove lab
    """
    group, instance = names.find(places.runtime_dir(runtime_dir), name)
    ctl.remove(group.socket, instance or name)
    typer.echo(f"{instance} left its group")
