"""An IRC server to test against: ngircd, with its own configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.links import servers

_CONFIGURATION = """\
[Global]
Name = irc.example.net
AdminEMail = nobody@example.net
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = hello
{password}
[Limits]
{limits}
[Options]
DNS = no
Ident = no
PAM = no
"""


@contextlib.contextmanager
def ngircd(limits: str = "", password: str | None = None) -> Iterator[int]:
    """Run a server; yields its port. Without ``limits``, those that it has by default."""
    program, port = servers.find("ngircd", "ngircd"), servers.free_port()

    def command(folder: Path) -> list[str | Path]:
        file = folder / "ngircd.conf"
        wanted = "" if password is None else f"Password = {password}"
        file.write_text(_CONFIGURATION.format(port=port, limits=limits, password=wanted))
        return [program, "--nodaemon", "--config", file]

    with servers.running(command, port):
        yield port
