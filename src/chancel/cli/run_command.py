"""``chancel run``: the daemon, in the foreground or (``-d``) in the background."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

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


Files = Annotated[
    list[Path],
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="A tunnel's configuration, or a directory of them; repeatable.",
    ),
]
Detached = Annotated[
    bool, typer.Option("-d", "--detach", help="Go into the background once the tunnels are up.")
]
Log = Annotated[
    LogTo | None,
    typer.Option("--log", help="Where the log goes; with -d to syslog.", show_default=False),
]
Confinement = Annotated[
    Sandbox,
    typer.Option("--sandbox", help="log: stop nothing, but log what the sandbox would stop."),
]


class Kind(NamedTuple):
    """What may be in files: who runs it, whether it is in these, and a check of them that returns
    the names of its instances, or raises :class:`ConfigError`."""

    program: str
    is_of: Callable[[Sequence[Path]], bool]
    check: Callable[[Sequence[Path]], list[str]]


def _cathedral(paths: Sequence[Path]) -> list[str]:
    return [cathedral_config.load(paths[0]).instance]


def _liturgy(paths: Sequence[Path]) -> list[str]:
    liturgy = config_liturgy.load(paths[0])
    config_liturgy.check_users(liturgy)
    return [liturgy.instance]


def _tunnels(paths: Sequence[Path]) -> list[str]:
    configs = [config.load(path) for path in paths]
    config.check(configs)
    return [each.instance for each in configs]


def _alone(is_one: Callable[[Path], bool]) -> Callable[[Sequence[Path]], bool]:
    """Such a file has a group of processes to itself; among others it is refused as a tunnel's."""
    return lambda paths: len(paths) == 1 and is_one(paths[0])


KINDS = (
    Kind("chancel.cathedrald", _alone(cathedral_config.is_cathedral), _cathedral),
    Kind("chancel.daemon", _alone(config_liturgy.is_liturgy), _liturgy),
    Kind("chancel.daemon", lambda _: True, _tunnels),
)
"""The first that fits is run."""


def run(
    files: Files,
    runtime_dir: RuntimeDir = None,
    detached: Detached = False,
    log: Log = None,
    confinement: Confinement = Sandbox.ON,
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
    paths = tuple(path for each in files for path in _configurations(each))
    job = Job(
        paths,
        places.runtime_dir(runtime_dir),
        detached=detached,
        syslog=detached or log is LogTo.SYSLOG,
        sandbox=confinement,
    )
    kind = next(each for each in KINDS if each.is_of(paths))
    places.check_runtime_dir(job.runtime_dir, kind.check(paths))
    job.start(kind.program)


def _configurations(path: Path) -> list[Path]:
    """The file, or every ``NAME.conf`` of the directory, in the order of their names."""
    if not path.is_dir():
        return [path]
    found = places.configurations(path)
    if not found:
        problem = "no configuration in this directory (expected a NAME.conf for each tunnel)"
        raise ConfigError(str(path), None, None, problem)
    return found
