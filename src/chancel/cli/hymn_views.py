"""``chancel hymn list`` and ``status``, in the reference's words, and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from chancel.cli.hymn_options import Json, MaybeName, chosen, complain, tunnel_flocks
from chancel.cli.options import ConfigDir, RuntimeDir
from chancel.daemon import places
from chancel.tools.hymn import census, hymnal, listing, report
from chancel.tools.hymn.condition import Condition, Conditions
from chancel.tools.hymn.tunnel import Tunnel


def list_(
    flock: Annotated[
        str | None,
        typer.Argument(
            metavar="FLOCK",
            help="Only those of a flock; hymn: of none.",
            autocompletion=tunnel_flocks,
        ),
    ] = None,
    as_json: Json = False,
    config_dir: ConfigDir = None,
    runtime_dir: RuntimeDir = None,
) -> int:
    """List tunnels, those without a flock first.

    online: keys, and a packet from the peer in the last two minutes. pending: not (yet) so.

    \b
    Examples:
      chancel hymn list
      chancel hymn list deadbeefcafebabe --json
    """
    found, broken = chosen(hymnal.here(config_dir), None)
    looking = _Looking(places.runtime_dir(runtime_dir))
    if as_json:
        listed = [each for each in found if flock is None or listing.flock_of(each) == flock]
        rows = [listing.row(each, looking(each), listing.owner(each, found)) for each in listed]
        rows += [
            listing.member_row(name, condition, each)
            for each in listed
            if each.liturgy is not None
            for name, condition in looking.members(each)
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for line in listing.lines(found, looking, flock, looking.members):
            typer.echo(line)
    return complain([*map(str, broken), *looking.problems])


def status(
    name: MaybeName = None,
    as_json: Json = False,
    config_dir: ConfigDir = None,
    runtime_dir: RuntimeDir = None,
) -> int:
    """Show what is configured for a tunnel, and what it counts while it runs.

    \b
    Examples:
      chancel hymn status office
      chancel hymn status --json
    """
    found, broken = chosen(hymnal.here(config_dir), name)
    looking = _Looking(places.runtime_dir(runtime_dir))
    if as_json:
        told = [report.as_object(each, looking(each)) for each in found]
        typer.echo(json.dumps(told, indent=2))
    else:
        for each in found:
            for line in report.lines(each, looking(each)):
                typer.echo(line)
    return complain([*map(str, broken), *looking.problems])


def help_(context: typer.Context) -> None:
    """Show the commands of hymn.

    \b
    Example:
      chancel hymn help
    """
    if context.parent is not None:
        typer.echo(context.parent.get_help())


class _Looking:
    """Looks at tunnels, and keeps what is wrong with them for later."""

    def __init__(self, runtime: Path) -> None:
        self._conditions = Conditions(census.take(runtime))
        self.members = self._conditions.members
        self.problems: list[str] = []

    def __call__(self, tunnel: Tunnel) -> Condition:
        condition = self._conditions.of(tunnel)
        if condition.problem is not None:
            self.problems.append(condition.problem)
        return condition
