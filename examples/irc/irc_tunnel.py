"""A tunnel through a chat room: the server and everybody in the room see lines of letters.

Make a key (``chancel keygen room.key``), and carry it to the other by a way that nobody can listen
to. Then, with a server of your own (README.md) or one that lets you write two lines a second:

    python irc_tunnel.py room.key 127.0.0.1:6667 "#chancel" alice bob
    python irc_tunnel.py room.key 127.0.0.1:6667 "#chancel" bob alice

First comes one's own nick, then that of the other. What you type appears there. The end of input
(Control-D) ends it.
"""

import asyncio
import sys
from pathlib import Path

from chancel.errors import ChancelError
from chancel.links import irc
from chancel.links.text import TextLink, tunnel_profile
from chancel.tunnel import Tunnel

RATE = irc.NGIRCD_RATE
"""LineRate(0.5, burst=4), from chancel.links.text, suits most public servers. Both ends need the
same."""

READY_S = 600.0
"""The other may still have to come; the key exchange itself takes seven seconds at this rate."""


async def say(tunnel: Tunnel) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):  # a thread, so the rest goes on
        await tunnel.send(line.encode()[: tunnel.max_message])


async def show(tunnel: Tunnel) -> None:
    async for message in tunnel:
        text = filter(str.isprintable, message.decode(errors="replace"))
        print(">", "".join(text), flush=True)


async def main(key: Path, host: str, port: int, room: str, nick: str, peer: str) -> None:
    channel = await irc.join(host, room, nick, port=port, peer=peer)
    print(f"* waiting for {peer} in {channel.name}", flush=True)
    link = TextLink(channel, rate=RATE)
    async with Tunnel(link, key, profile=tunnel_profile(RATE)) as tunnel:
        await tunnel.ready(READY_S)
        print("* connected", flush=True)
        tasks = [asyncio.create_task(say(tunnel)), asyncio.create_task(show(tunnel))]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    key, server, *names = sys.argv[1:]
    host, _, port = server.rpartition(":")
    try:
        asyncio.run(main(Path(key), host, int(port), *names))
    except ChancelError as error:
        sys.exit(f"irc_tunnel: {error}")
