"""Whom a name means where tunnels run: the instance, what people call it, or its file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from chancel.cli.hymn_options import completed, tunnel_names
from chancel.daemon import ctl, places
from chancel.errors import ChancelError
from chancel.tools.hymn import census, hymnal

_HELP = "An instance, its name, or the name of its file."


def running(directory: Path, name: str | None) -> tuple[ctl.Survey, str | None]:
    """Everything that runs, and the instance that ``name`` means; itself if it means none."""
    survey = census.take(directory).survey
    return survey, None if name is None else _instance(survey, name)


def find(directory: Path, name: str | None) -> tuple[ctl.Group, str | None]:
    """The group of a name, or the only one, and the instance that is meant.

    Raises :class:`LinkClosed` and :class:`LocalProtocolError` as :meth:`ctl.Survey.find` does.
    """
    survey, instance = running(directory, name)
    return survey.find(instance), instance


def _instance(survey: ctl.Survey, name: str) -> str:
    if any(group.knows(name) for group in survey.groups):
        return name
    called = [
        each["instance"]
        for group in survey.groups
        for each in (
            *group.answer["tunnels"],
            *group.answer.get("cathedrals", ()),
            *group.liturgies,
        )
        if each.get("descr") == name
    ]
    if len(called) == 1:
        return str(called[0])
    with contextlib.suppress(ChancelError, OSError):  # none, which is told with the name as typed
        configured = hymnal.load(hymnal.here(None).find(name)).instance
        if any(group.knows(configured) for group in survey.groups):
            return configured
    return name


def running_names(context: typer.Context, incomplete: str) -> list[str]:
    """What a shell completes: those that run, and those that are configured."""
    names = set(tunnel_names(context, incomplete))
    with contextlib.suppress(ChancelError, OSError):
        directory = places.runtime_dir(context.params.get("runtime_dir"))
        names |= {
            each.name.removesuffix(places.CONTROL_SUFFIX)
            for each in places.control_sockets(directory)
        }
    return completed(names, incomplete)


def command_names(context: typer.Context, incomplete: str) -> list[str]:
    """The same for the first word of a line whose others are a command's."""
    if context.params.get("words") or context.params.get("file") is not None:
        return []
    return running_names(context, incomplete)


Running = Annotated[str, typer.Argument(metavar="NAME", help=_HELP, autocompletion=running_names)]

MaybeRunning = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help=f"{_HELP} All without it.", autocompletion=running_names),
]
