"""``chancel run``: the daemon, in the foreground or (``-d``) in the background."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chancel.cli.options import RuntimeDir
from chancel.daemon import background, config, guardian, places


def run(
    files: Annotated[
        list[Path],
        typer.Option(
            "-c", "--config", metavar="FILE", help="A tunnel's configuration; repeatable."
        ),
    ],
    runtime_dir: RuntimeDir = None,
    detached: Annotated[
        bool,
        typer.Option("-d", "--detach", help="Return when the tunnels are up; log to syslog."),
    ] = False,
) -> int:
    """Run tunnels, in the foreground unless -d is given.

    All files are carried by one group of processes, which ends when one of them does. Nothing is
    created before every file was found right.

    \b
    Examples:
      chancel run -c office.conf
      chancel run -d -c office.conf
      chancel run -c office.conf -c lab.conf --runtime-dir ./run
    """
    configs = [config.load(path) for path in files]
    guardian.check(configs)
    directory = places.make_dir(places.runtime_dir(runtime_dir))
    if not detached:
        return guardian.run(configs, directory)
    return guardian.run(configs, directory, background.detach())
