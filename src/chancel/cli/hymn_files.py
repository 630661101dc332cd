"""``chancel hymn add`` and ``del``: files of tunnels come and go. ``keygen``: their secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chancel.cli.hymn_options import Name
from chancel.cli.keygen_command import make_secret
from chancel.cli.options import ConfigDir, RuntimeDir
from chancel.daemon import places
from chancel.errors import LocalProtocolError
from chancel.tools.hymn import grammar, grammar_liturgy, hymnal, layout, layout_liturgy, service
from chancel.tools.hymn.names import TunnelName


def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="[FLOCK-]SRC-DST; a flock with a cathedral only.")
    ],
    words: Annotated[
        list[str], typer.Argument(metavar="KEY VALUE", help=f"Of {', '.join(grammar.KEYS)}.")
    ],
    config_dir: ConfigDir = None,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Write the configuration of a new tunnel.

    \b
    tunnel IP/LEN           its address and network inside; not with device tap
    mtu N|auto              auto if left out
    secret FILE             shared with the peer; or kek FILE with a cathedral
    peer IP:PORT            where the peer is; or a cathedral, which knows
    local IP:PORT           the socket outside; any if left out
    name WORD               what you call it
    user NAME               whom processes that move packets run as; you if left out
    shroud yes|no
    device tun|tap          with tap, then: bridge NAME
    cathedral HOST:PORT     then: identity HEX[:FILE], cosk FILE, natport N

    \b
    Examples:
      chancel hymn add 1-2 tunnel 10.77.0.1/30 secret /etc/hymn/k peer 198.51.100.2:2333 name office
      chancel hymn add deadbeefcafebabe-1-2 tunnel 10.8.0.1/24 kek /etc/hymn/kek
        cathedral cathedral.example:4500 identity 30b4c39:/etc/hymn/cs cosk /etc/hymn/cosk
    """
    tunnels = hymnal.here(config_dir)
    parsed = TunnelName.parse(name)
    new = grammar.new_tunnel(parsed, words, tunnels.directory.absolute())
    sockets = hymnal.sockets(parsed, places.runtime_dir(runtime_dir))
    tunnels.add(parsed, layout.compose(new, sockets), new.label)


def liturgy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="FLOCK-SRC, of our own device.")],
    words: Annotated[
        list[str],
        typer.Argument(metavar="KEY VALUE", help=f"Of {', '.join(grammar_liturgy.KEYS)}."),
    ],
    config_dir: ConfigDir = None,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Write the configuration of a liturgy: devices of a flock find each other.

    \b
    cathedral HOST:PORT     then: identity HEX[:FILE], cosk FILE, natport N
    kek FILE                opens the secrets of all tunnels
    prefix X.Y.0.0          addresses inside: X.Y.OURS.THEIRS
    group HEX               devices of one group find each other
    discoverable yes|no     no: found by those alone that can be found
    user NAME               whom the processes become; you if left out
    shroud yes|no
    device tun|tap          with tap, then: bridge NAME

    \b
    Example:
      chancel hymn liturgy deadbeefcafebabe-1 cathedral cathedral.example:4500
        identity 30b4c39:/etc/hymn/cs cosk /etc/hymn/cosk natport 4501 kek /etc/hymn/kek
        prefix 10.15.0.0 group cafe
    """
    tunnels = hymnal.here(config_dir)
    parsed = TunnelName.parse_liturgy(name)
    new = grammar_liturgy.new_liturgy(parsed, words, tunnels.directory.absolute())
    pidfile = hymnal.sockets(parsed, places.runtime_dir(runtime_dir)).pidfile
    tunnels.add(parsed, layout_liturgy.compose(new, pidfile))


def del_(name: Name, config_dir: ConfigDir = None, runtime_dir: RuntimeDir = None) -> None:
    """Delete a tunnel's configuration. Its secrets stay.

    \b
    Example:
      chancel hymn del office
    """
    tunnels = hymnal.here(config_dir)
    path = tunnels.find(name)
    if service.locate(hymnal.load(path), places.runtime_dir(runtime_dir)) is not None:
        raise LocalProtocolError(
            f"tunnel {path.stem} still up (expected chancel hymn down {path.stem} before)"
        )
    tunnels.delete(path)


def keygen(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The files to make; new.")],
) -> None:
    """Make shared secrets: 32 random bytes in each file.

    \b
    Example:
      chancel hymn keygen /etc/hymn/k
    """
    for file in files:
        typer.echo(f"generating key in {file}")
        make_secret(file)
