"""A tunnel over WebSocket that stands a web server in between. How to set that up: README.md.

Behind the web server, and anywhere on the net:

    python proxy_tunnel.py proxy.key listen 8765
    python proxy_tunnel.py proxy.key call wss://www.example.net/chancel
"""

import asyncio
import sys
from pathlib import Path

from chancel.errors import ChancelError, LinkClosed
from chancel.links import websocket
from chancel.tunnel import Tunnel

PATH = "/chancel"
READY_S = 30.0


async def listen(key: Path, port: int) -> None:
    """Answer in capitals, one caller after the other."""
    async with await websocket.listen(port=port, path=PATH) as listener:
        print(f"* waiting at {listener.address}", flush=True)
        async for link in listener:
            try:
                async with Tunnel(link, key) as tunnel:
                    await tunnel.ready(READY_S)
                    async for message in tunnel:
                        await tunnel.send(message.upper())
            except LinkClosed as end:
                print(f"* {end}", flush=True)


async def call(key: Path, url: str) -> None:
    """Send each line of the input, and print what comes back."""
    async with Tunnel(await websocket.connect(url), key) as tunnel:
        await tunnel.ready(READY_S)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await tunnel.send(line.encode()[: tunnel.max_message])
            print((await tunnel.receive()).decode(), end="", flush=True)


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case [key, "listen", port] if port.isdecimal():
                asyncio.run(listen(Path(key), int(port)))
            case [key, "call", url]:
                asyncio.run(call(Path(key), url))
            case _:
                sys.exit(__doc__)
    except ChancelError as error:
        sys.exit(f"proxy_tunnel: {error}")
