"""``chancel exec``: a command whose only network is a tunnel."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from chancel.cli import names
from chancel.cli.options import RuntimeDir
from chancel.daemon import cell, cell_command, config, ctl, health, places
from chancel.daemon.cell_command import Command
from chancel.daemon.cell_group import CellGroup
from chancel.daemon.cell_view import MAX_NAME_SERVERS
from chancel.errors import LinkClosed

PEER_LIMIT_S = 5.0
"""How long the command waits for the peer's answer. A tunnel's first packets have no key yet."""

RETRY_S = 0.05


def exec_(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME -- COMMAND",
            help="What to run, in tunnel NAME; with -c without NAME.",
            autocompletion=names.command_names,
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", metavar="FILE", help="A tunnel that lives as long as the command."
        ),
    ] = None,
    name_servers: Annotated[
        list[str] | None,
        typer.Option(
            "--dns", metavar="ADDRESS", help="A name server behind the tunnel; up to three."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="LOGFILE", help="Where the tunnel's log goes, with -c."),
    ] = None,
    runtime_dir: RuntimeDir = None,
) -> int:
    """Run a command whose only network is a tunnel. No root needed.

    When the tunnel ends the command has no network at all. Its exit status is returned.

    \b
    Examples:
      chancel exec -c office.conf -- curl http://10.0.0.2/
      chancel exec -c office.conf --dns 10.0.0.2 -- bash
      chancel up office; chancel exec office -- ssh 10.0.0.2
    """
    name = None if file is not None else words[0]
    rest = words if file is not None else words[1:]
    typed = rest[1:] if rest[:1] == ["--"] else rest
    if not typed:
        raise typer.BadParameter("expected a command behind --", param_hint="COMMAND")
    command = Command(typed, _name_servers(name_servers or []))
    directory = places.runtime_dir(runtime_dir)
    if file is not None:
        with _log(log) as descriptor, _ending_in_order():
            return _with_a_tunnel(file, directory, descriptor, command)
    if log is not None:
        raise typer.BadParameter("the tunnel runs already, with its own log", param_hint="--log")
    group, _ = names.find(directory, name)
    entered = cell.received(ctl.enter(group.socket))
    return cell_command.run(command, entered)


def _with_a_tunnel(file: Path, directory: Path, log: int, command: Command) -> int:
    """Run the command beside a group of its own, which ends with it."""
    loaded = config.load(file)
    loaded.check_cell()
    config.check([loaded])
    places.check_runtime_dir(directory, [loaded.instance])
    group = CellGroup(file, directory, log)

    def tell_end(ended: int) -> None:
        if ended == group.pid:
            print(
                f"chancel: the tunnel has ended: {command.words[0]} has no network any more",
                file=sys.stderr,
            )

    try:
        _wait_for_the_peer(places.control_socket(directory, loaded.instance), loaded.instance)
        return cell_command.run(command, group.cell, tell_end)
    finally:
        group.end()


def _wait_for_the_peer(control: Path, instance: str) -> None:
    """Wait until there is a key to send with. A peer that is away is the command's own affair."""
    deadline = time.monotonic() + PEER_LIMIT_S
    with contextlib.suppress(LinkClosed):  # it ended; whoever waits for it says so
        while time.monotonic() < deadline:
            (tunnel,) = ctl.ask(control, {"do": "status"})["tunnels"]
            if health.can_send(tunnel):
                return
            time.sleep(RETRY_S)
        print(
            f"chancel: {instance} has no answer from its peer yet (see chancel status --why)",
            file=sys.stderr,
        )


def _name_servers(typed: Sequence[str]) -> list[str]:
    if len(typed) > MAX_NAME_SERVERS:
        raise typer.BadParameter(f"expected at most {MAX_NAME_SERVERS}", param_hint="--dns")
    try:
        return [str(ipaddress.ip_address(address)) for address in typed]
    except ValueError as error:
        raise typer.BadParameter(f"{error} (expected an IP address)", param_hint="--dns") from error


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[int]:
    """The tunnel's log, for its owner alone; nowhere by default, for the terminal is COMMAND's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path or Path(os.devnull), flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does, with all that we started; one that is ignored stays
    ignored.
    """
    handled = [
        each
        for each in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(each) is not signal.SIG_IGN
    ]
    before = {each: signal.signal(each, _leave) for each in handled}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(cell_command.BY_SIGNAL + number)
