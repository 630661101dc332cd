"""What the commands of ``hymn`` share: arguments, how a shell completes them, and who is meant."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from chancel import console
from chancel.errors import ChancelError, ConfigError
from chancel.tools.hymn import hymnal, listing
from chancel.tools.hymn.hymnal import Hymnal
from chancel.tools.hymn.tunnel import Tunnel

FAILED = 1
USAGE = 2


def tunnel_names(context: typer.Context, incomplete: str) -> list[str]:
    """Tunnels that begin with ``incomplete``: their labels, and the names of their files.

    Whatever is wrong is for the command itself to say.
    """
    found = _tunnels(context)
    return completed([name for each in found for name in (each.label, each.title)], incomplete)


def tunnel_flocks(context: typer.Context, incomplete: str) -> list[str]:
    """The same for the flocks of tunnels."""
    return completed([listing.flock_of(each) for each in _tunnels(context)], incomplete)


def _tunnels(context: typer.Context) -> list[Tunnel]:
    chosen: Path | None = context.params.get("config_dir")
    try:
        return hymnal.here(chosen).tunnels()[0]
    except (ChancelError, OSError):
        return []


def completed(words: Iterable[str], incomplete: str) -> list[str]:
    """Those that a shell takes as they stand: a file may be called anything."""
    fitting = {word for word in words if word and word.startswith(incomplete)}
    return sorted(word for word in fitting if shlex.quote(word) == word)


_HELP = "Its name, [FLOCK-]SRC-DST, or the name of its file."

Name = Annotated[str, typer.Argument(metavar="NAME", help=_HELP, autocompletion=tunnel_names)]

MaybeName = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help=f"{_HELP} All without it.", autocompletion=tunnel_names),
]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def chosen(tunnels: Hymnal, name: str | None) -> tuple[list[Tunnel], list[ConfigError]]:
    """The tunnel that was named, or all, in order; and what is wrong with other files."""
    if name is not None:
        return [hymnal.load(tunnels.find(name))], []
    found, broken = tunnels.tunnels()
    return listing.ordered(found), broken


def complain(problems: list[str]) -> int:
    """Tell each; returns the exit status."""
    for each in problems:
        console.complain(each)
    return FAILED if problems else 0
