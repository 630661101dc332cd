"""``chancel hymn up``, ``down`` and ``restart``: one tunnel, or all that nobody else starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import typer

from chancel import console
from chancel.cli.hymn_options import FAILED, USAGE, MaybeName, Name, chosen, complain
from chancel.cli.options import ConfigDir, RuntimeDir
from chancel.daemon import places
from chancel.errors import ChancelError, ConfigError, LocalProtocolError
from chancel.tools.hymn import hymnal, listing, service
from chancel.tools.hymn.names import TunnelName
from chancel.tools.hymn.tunnel import Tunnel


def up(name: MaybeName = None, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> int:
    """Start a tunnel, or all, in the background; returns when they are there.

    Those of a liturgy are started by it.

    \b
    Examples:
      chancel hymn up office
      chancel hymn up
    """
    return _each(_Band(config_dir, runtime_dir), name, _start, "start")


def down(
    name: MaybeName = None, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None
) -> int:
    """Stop a tunnel, or all; returns when they are gone. Whichever daemon runs them.

    \b
    Example:
      chancel hymn down office
    """
    return _each(_Band(config_dir, runtime_dir), name, _stop, "down")


def restart(name: Name, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> int:
    """Stop a tunnel, if it is up, and start it.

    \b
    Example:
      chancel hymn restart office
    """

    def again(band: _Band, tunnel: Tunnel) -> int:
        return _stop(band, tunnel) or _start(band, tunnel)

    return _each(_Band(config_dir, runtime_dir), name, again, "start")


class _Band:
    """The tunnels that a command may start or stop, and where they are when they run."""

    def __init__(self, config_dir: Path | None, runtime_dir: Path | None) -> None:
        self.hymnal = hymnal.here(config_dir)
        self.runtime = places.runtime_dir(runtime_dir)

    def refuse_owned(self, word: str, verb: str) -> None:
        """Refuse to start or stop what a liturgy does, whether it has a file or not.

        Raises :class:`LocalProtocolError`.
        """
        with contextlib.suppress(ConfigError):
            name = self._named(word)
            owner = None
            if name is not None and name.destination:
                owner = listing.owner_of(name, self.hymnal.tunnels()[0])
            if owner is not None:
                called = owner.label or owner.title
                raise LocalProtocolError(
                    f"refusing to {verb} {name}, it is owned by {called} (expected chancel hymn"
                    f" {'up' if verb == 'start' else 'down'} {called})"
                )

    def _named(self, word: str) -> TunnelName | None:
        """The devices that are meant. Raises :class:`ConfigError` if that can't be told."""
        try:
            return hymnal.load(self.hymnal.find(word)).name
        except ConfigError:
            return TunnelName.parse(word)


def _each(band: _Band, name: str | None, act: Callable[[_Band, Tunnel], int], verb: str) -> int:
    """Do something with the tunnel that was named, or with all, whatever comes of the others."""
    if name is not None:
        band.refuse_owned(name, verb)
    found, broken = chosen(band.hymnal, name)
    if name is not None:
        return act(band, found[0])
    status = complain([str(error) for error in broken])
    for each in found:
        if listing.owner(each, found) is not None:
            continue
        try:
            status = max(status, act(band, each))
        except (ChancelError, OSError) as error:
            console.complain(console.explain(error))
            status = max(status, USAGE if isinstance(error, ConfigError) else FAILED)
    return status


def _start(band: _Band, tunnel: Tunnel) -> int:
    if service.locate(tunnel, band.runtime) is not None:
        typer.echo(f"tunnel {tunnel.title} is up")
        return 0
    start = service.prepare(tunnel.path, band.runtime)
    typer.echo(f"waiting for {tunnel.title} to go up ... ", nl=False)
    status = start.beside()
    typer.echo("failed" if status else "done")
    return status


def _stop(band: _Band, tunnel: Tunnel) -> int:
    found = service.locate(tunnel, band.runtime)
    if found is None:
        service.forget_crashed(tunnel)
        typer.echo(f"tunnel {tunnel.title} is down")
        return 0
    typer.echo(f"waiting for {tunnel.title} to go down ... ", nl=False)
    try:
        service.stop(tunnel, found)
    except BaseException:
        typer.echo("failed")
        raise
    typer.echo("done")
    return 0
