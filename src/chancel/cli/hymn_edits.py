"""The commands of ``chancel hymn`` that change one thing in a tunnel's file, and nothing else."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import Annotated

import typer

from chancel.cli.hymn_options import Name
from chancel.cli.options import ConfigDir
from chancel.errors import ConfigError
from chancel.tools.hymn import edits, hymnal

OnOff = Annotated[str, typer.Argument(metavar="on|off")]
Network = Annotated[
    str, typer.Argument(metavar="NET/LEN", help="A network; host bits are cleared.")
]


class Action(StrEnum):
    """What to do with a network."""

    ADD = auto()
    DEL = auto()


What = Annotated[Action, typer.Argument(metavar="add|del")]


def mtu(
    name: Name,
    size: Annotated[str, typer.Argument(metavar="MTU", help="576 to 9200, or auto.")],
    config_dir: ConfigDir = None,
) -> None:
    """Change a tunnel's MTU.

    \b
    Example:
      chancel hymn mtu office 1300
    """
    typer.echo(edits.set_mtu(hymnal.here(config_dir), name, size))


def nat(
    name: Name,
    port: Annotated[str, typer.Argument(metavar="PORT", help="Of the cathedral; 0 for none.")],
    config_dir: ConfigDir = None,
) -> None:
    """Change the port of NAT detection. Without it, traffic is relayed by cathedrals.

    \b
    Example:
      chancel hymn nat home 4501
    """
    typer.echo(edits.set_nat_port(hymnal.here(config_dir), name, port))


def name(
    tunnel: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Letters, digits and '-'.")],
    config_dir: ConfigDir = None,
) -> None:
    """Name a tunnel as you like.

    \b
    Example:
      chancel hymn name 1-2 office
    """
    typer.echo(edits.set_label(hymnal.here(config_dir), tunnel, new))


def route(
    what: What,
    network: Network,
    via: Annotated[str, typer.Argument(metavar="via")],
    name: Name,
    config_dir: ConfigDir = None,
) -> None:
    """Route a network through a tunnel, and accept what comes from there; or no longer.

    \b
    Example:
      chancel hymn route add 10.88.0.0/24 via office
    """
    _change(what, "route", network, (via, "via"), name, config_dir)


def accept(
    what: What,
    network: Network,
    on: Annotated[str, typer.Argument(metavar="on")],
    name: Name,
    config_dir: ConfigDir = None,
) -> None:
    """Accept a network inside a tunnel, without a route; or no longer.

    \b
    Example:
      chancel hymn accept add 10.99.0.0/24 on office
    """
    _change(what, "accept", network, (on, "on"), name, config_dir)


def _change(
    what: Action,
    kind: str,
    network: str,
    word: tuple[str, str],
    name: str,
    config_dir: ConfigDir,
) -> None:
    given, expected = word
    if given != expected:
        problem = f"{given!r} (expected {what} {network} {expected} {name})"
        raise ConfigError(kind, None, None, problem)
    change = edits.add_network if what is Action.ADD else edits.remove_network
    typer.echo(change(hymnal.here(config_dir), name, kind, network))


def shroud(name: Name, state: OnOff, config_dir: ConfigDir = None) -> None:
    """Have datagrams masked, or not; the same at both ends.

    \b
    Example:
      chancel hymn shroud office on
    """
    typer.echo(edits.set_shroud(hymnal.here(config_dir), name, state))


def bridge(
    name: Name,
    words: Annotated[list[str], typer.Argument(metavar="on BRIDGE | clear")],
    config_dir: ConfigDir = None,
) -> None:
    """Make the device of a tunnel (tap) a port of a bridge, or no longer.

    \b
    Example:
      chancel hymn bridge wires on br0
    """
    typer.echo(edits.set_bridge(hymnal.here(config_dir), name, words))


def cathedral(
    name: Name,
    address: Annotated[str, typer.Argument(metavar="HOST:PORT")],
    config_dir: ConfigDir = None,
) -> None:
    """Register a tunnel at another cathedral.

    \b
    Example:
      chancel hymn cathedral home cathedral.example:4500
    """
    typer.echo(edits.set_cathedral(hymnal.here(config_dir), name, address))


def remembrance(name: Name, state: OnOff, config_dir: ConfigDir = None) -> None:
    """Remember cathedrals, in a file, for the day when the configured one is gone; or don't.

    \b
    Example:
      chancel hymn remembrance home on
    """
    typer.echo(edits.set_remembrance(hymnal.here(config_dir), name, state))
