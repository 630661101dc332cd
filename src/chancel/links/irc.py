"""A room of an IRC server (RFC 2812) as a channel of lines: as much of a client as that takes.

A line of IRC has 512 bytes, and the server puts who wrote it in front; so how long a text may be
depends on our own nick, user and host, which the server tells when we join.

Servers limit how fast one may write. ngircd reads on after a pause (three lines, then two a
second); others throw out who writes much more than a line in two seconds, which is too slow for a
tunnel's key exchange (``text``): there, ask for an exemption, as bots have, or run the server.
"""

from __future__ import annotations

import asyncio
import re
import ssl as tls
from collections.abc import Sequence
from typing import Final, NamedTuple

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.endpoint import Inbox
from chancel.links.text import LineRate

NGIRCD_RATE: Final = LineRate(2.0, burst=3)
"""What ngircd takes without holding back, as it is configured by default."""

MAX_LINE: Final = 512
"""Bytes of a line, with CR and LF (RFC 2812, section 2.3)."""

MAX_SERVER_LINE: Final = 16_384
"""Bytes of a line that are read: with tags (IRCv3) there may be more than :data:`MAX_LINE`."""

JOIN_S: Final = 60.0
"""How long a server may take to let us in: some look up names first, or wait for an answer."""

_WORD = re.compile(r"[^\s\0:,!@][^\s\0,!@]*")

_REFUSALS: Final = {
    "403": "there is no such room",
    "405": "we are in too many rooms",
    "432": "the server doesn't allow this nick",
    "433": "the nick is in use: choose another",
    "436": "the nick is in use: choose another",
    "437": "nick or room isn't available for now",
    "464": "the server wants another password",
    "465": "the server has banned us",
    "471": "the room is full",
    "473": "the room is for the invited",
    "474": "the room has banned us",
    "475": "the room wants another key",
    "476": "that can't be the name of a room",
    "477": "the room is for registered nicks",
}
"""Why we don't get in."""


class _Line(NamedTuple):
    """One line of the server."""

    source: str
    command: str
    parameters: Sequence[str]

    @property
    def nick(self) -> str:
        """Who it comes from."""
        return self.source.partition("!")[0]


class IrcRoom:
    """A room that we are in: a :class:`~chancel.links.text.LineChannel`. :func:`join` makes it.

    With ``peer``, only lines of that nick are received. (A nick is no proof: on most servers
    anybody may take it when it is free.)
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        nick: str,
        room: str,
        peer: str | None,
    ) -> None:
        self.undelivered = 0
        """Lines of ours that the server didn't pass on."""
        self._reader = reader
        self._writer = writer
        self._nick = nick
        self._prefix = nick
        self._room = room
        self._peer = None if peer is None else peer.lower()
        self._home = asyncio.get_running_loop()
        self._lines: Inbox[str] = Inbox()
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<IrcRoom {self.name}>"

    @property
    def name(self) -> str:
        """Server and room."""
        host, port = self._writer.get_extra_info("peername")[:2]
        return f"irc://{host}:{port}/{self._room}"

    @property
    def nick(self) -> str:
        """Who we are; a server may shorten it."""
        return self._nick

    @property
    def max_line(self) -> int:
        """Bytes of text that arrive whole."""
        return MAX_LINE - len(f":{self._prefix} PRIVMSG {self._room} :\r\n".encode())

    async def send_line(self, line: str) -> None:
        """Say something in the room."""
        if not line or any(end in line for end in "\r\n\0"):
            raise LocalProtocolError("a line of IRC is not empty, and has no CR, LF or NUL in it")
        if self._lines.ended:
            raise LinkClosed(f"no longer in {self._room}")
        await self._write(f"PRIVMSG {self._room} :{line}")

    async def receive_line(self) -> str:
        """What was said next, by the peer if there is one, else by anybody but us."""
        return (await self._lines.take(1))[0]

    def close(self) -> None:
        """Quit."""
        self._lines.end("closed at this end")
        if not (self._writer.is_closing() or self._home.is_closed()):
            self._writer.write(b"QUIT\r\n")
            self._writer.close()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        if self._keeper is not None:
            await asyncio.wait([self._keeper])

    async def enter(self, password: str | None, key: str | None) -> None:
        """Register and join. Raises ``LinkClosed``."""
        if password is not None:
            await self._write(f"PASS :{password}")
        await self._write(f"NICK {self._nick}")
        await self._write(f"USER {self._nick} 0 * :{self._nick}")
        while True:
            line = await self._next()
            if line.command == "001":
                self._nick = line.parameters[0]
                await self._write(f"JOIN {self._room}" + (f" {key}" if key else ""))
            elif line.command in _REFUSALS:
                raise LinkClosed(f"{self.name} as {self._nick}: {_REFUSALS[line.command]}")
            elif line.command == "JOIN" and line.nick == self._nick:
                self._prefix = line.source
                self._keeper = asyncio.create_task(self._keep())
                return

    async def _keep(self) -> None:
        """Read until the end."""
        try:
            while True:
                self._take(await self._next())
        except LinkClosed as end:
            self._lines.end(str(end))
        finally:
            self._writer.close()

    def _take(self, line: _Line) -> None:
        ours = line.nick == self._nick
        match line.command, line.parameters:
            case "PRIVMSG", [room, text] if room.lower() == self._room.lower():
                if not ours and self._peer in (None, line.nick.lower()):
                    self._lines.put(text)
            case "NICK", [nick, *_] if ours:
                self._nick = nick
                self._prefix = f"{nick}!{self._prefix.partition('!')[2]}"
            case "396", [_, host, *_]:  # another host is shown
                self._prefix = f"{self._prefix.partition('@')[0]}@{host}"
            case "404", _:
                self.undelivered += 1
            case "KICK", [room, nick, *why] if nick == self._nick:
                raise LinkClosed(f"thrown out of {room}: {' '.join(why)!a}")
            case _:
                pass

    async def _next(self) -> _Line:
        """The next line of the server but those that are answered here. Raises ``LinkClosed``."""
        while True:
            try:
                raw = await self._reader.readuntil(b"\n")
            except (OSError, asyncio.IncompleteReadError):
                raise LinkClosed("the server has closed the connection") from None
            except asyncio.LimitOverrunError:
                raise LinkClosed("the server sends lines without end") from None
            line = _parsed(raw.decode("utf-8", "replace"))
            match line.command, line.parameters:
                case "PING", [token, *_]:
                    await self._write(f"PONG :{token}")
                case "ERROR", [*why]:
                    raise LinkClosed(f"the server ends it: {' '.join(why)!a}")
                case _:
                    return line

    async def _write(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        try:
            await self._writer.drain()
        except OSError:
            raise LinkClosed("the server has closed the connection") from None


async def join(
    host: str,
    room: str,
    nick: str,
    *,
    port: int = 6667,
    peer: str | None = None,
    ssl: tls.SSLContext | None = None,
    password: str | None = None,
    key: str | None = None,
) -> IrcRoom:
    """Enter a room (``#name``) of a server as ``nick``.

    ``peer`` is the nick to listen to, ``password`` the server's, ``key`` the room's. Raises
    ``LinkClosed`` if the server can't be reached or doesn't let us in.
    """
    for word in (room, nick, *(word for word in (peer, key) if word is not None)):
        if not _WORD.fullmatch(word):
            raise LocalProtocolError(f"{word!r} can't be a name in IRC: no spaces, commas, ! or @")
    if password is not None and any(end in password for end in "\r\n\0"):
        raise LocalProtocolError("the password has a line break in it: leave that out")
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=ssl, limit=MAX_SERVER_LINE)
    except OSError as error:
        raise LinkClosed(f"can't reach irc://{host}:{port}: {error}") from error
    irc = IrcRoom(reader, writer, nick, room, peer)
    try:
        async with asyncio.timeout(JOIN_S):
            await irc.enter(password, key)
    except TimeoutError:
        irc.close()
        raise LinkClosed(f"{irc.name} didn't let us in within {JOIN_S:.0f} s") from None
    except BaseException:
        irc.close()
        raise
    return irc


def _parsed(raw: str) -> _Line:
    """Source, command, parameters (RFC 2812, section 2.3.1). What isn't there is empty."""
    rest = raw.rstrip("\r\n")
    source = ""
    if rest.startswith("@"):
        rest = rest.partition(" ")[2].lstrip(" ")
    if rest.startswith(":"):
        source, _, rest = rest[1:].partition(" ")
    middle, _, trailing = rest.partition(" :")
    words = middle.split()
    if len(middle) < len(rest):
        words.append(trailing)
    return _Line(source, words[0].upper() if words else "", words[1:])
