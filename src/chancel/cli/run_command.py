"""``chancel run``: the daemon, in the foreground or (``-d``) in the background."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from chancel.cathedrald import config as cathedral_config
from chancel.cli.options import RuntimeDir
from chancel.daemon import config, config_liturgy, places
from chancel.daemon.job import Job
from chancel.daemon.sandbox_mode import Sandbox
from chancel.errors import ConfigError


class LogTo(enum.StrEnum):
    """Where the log goes."""

    STDOUT = enum.auto()
    SYSLOG = enum.auto()


def run(
    files: Annotated[
        list[Path],
        typer.Option(
            "-c",
            "--config",
            metavar="FILE",
            help="A tunnel's configuration, or a directory of them; repeatable.",
        ),
    ],
    runtime_dir: RuntimeDir = None,
    detached: Annotated[
        bool,
        typer.Option("-d", "--detach", help="Go into the background once the tunnels are up."),
    ] = False,
    log: Annotated[
        LogTo | None,
        typer.Option("--log", help="Where the log goes; with -d to syslog.", show_default=False),
    ] = None,
    confinement: Annotated[
        Sandbox,
        typer.Option("--sandbox", help="log: stop nothing, but log what the sandbox would stop."),
    ] = Sandbox.ON,
) -> None:
    """Run tunnels, a liturgy or a cathedral, in the foreground unless -d is given.

    All files are carried by one group of processes, which ends when one of them does; a cathedral
    (mode cathedral) and a liturgy (mode liturgy, with all its tunnels) have one to themselves.
    Nothing is created before every file was found right.

    \b
    Examples:
      chancel run -c office.conf
      chancel run -d -c /etc/hymn
      chancel run -c office.conf -c lab.conf --runtime-dir ./run
      chancel run -c office.conf --sandbox log
      chancel run -c cathedral.conf
    """
    if detached and log is LogTo.STDOUT:
        raise ConfigError("--log", None, None, "stdout can't be had with -d (expected syslog)")
    paths = [path for each in files for path in _configurations(each)]
    directory = places.runtime_dir(runtime_dir)
    job = Job(
        tuple(paths),
        directory,
        detached=detached,
        syslog=detached or log is LogTo.SYSLOG,
        sandbox=confinement,
    )
    if len(paths) == 1 and cathedral_config.is_cathedral(paths[0]):
        places.check_runtime_dir(directory, [cathedral_config.load(paths[0]).instance])
        job.start("chancel.cathedrald")
    if len(paths) == 1 and config_liturgy.is_liturgy(paths[0]):
        liturgy = config_liturgy.load(paths[0])
        config_liturgy.check_users(liturgy)
        places.check_runtime_dir(directory, [liturgy.instance])
        job.start()
    configs = [config.load(path) for path in paths]
    config.check(configs)
    places.check_runtime_dir(directory, [each.instance for each in configs])
    job.start()


def _configurations(path: Path) -> list[Path]:
    """The file, or every ``NAME.conf`` of the directory, in the order of their names."""
    if not path.is_dir():
        return [path]
    found = places.configurations(path)
    if not found:
        problem = "no configuration in this directory (expected a NAME.conf for each tunnel)"
        raise ConfigError(str(path), None, None, problem)
    return found
