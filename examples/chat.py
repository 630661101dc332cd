"""Chat with one other person. What you type appears there; nobody in between can read it.

Make a key, and carry it to the other by a way that nobody can listen to:

    chancel keygen chat.key

Then one waits, where the other can reach him, and the other calls. Over TCP, UDP, WebSocket, or
whatever else has an address (docs/links.md):

    python chat.py chat.key tcp://0.0.0.0:4000 --listen
    python chat.py chat.key tcp://198.51.100.1:4000

The end of input (Control-D) ends it; when the other has left, so does Enter.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from chancel.errors import ChancelError
from chancel.links import addresses
from chancel.links.interface import Link
from chancel.tunnel import Down, Tunnel, Up


async def reach(address: str, listen: bool) -> Link:
    if not listen:
        return await addresses.connect(address)
    async with await addresses.listen(address) as listener:
        print(f"* waiting at {listener.address}", flush=True)
        return await listener.accept()


async def say(tunnel: Tunnel) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):  # a thread, so the rest goes on
        await tunnel.send(line.encode()[: tunnel.max_message])


async def show(tunnel: Tunnel) -> None:
    async for message in tunnel:
        text = filter(str.isprintable, message.decode(errors="replace"))
        print(">", "".join(text), flush=True)


async def tell(tunnel: Tunnel) -> None:
    async for event in tunnel.events():
        if isinstance(event, Up | Down):
            print("* connected" if isinstance(event, Up) else f"* {event.why}", flush=True)


async def main(key: Path, address: str, listen: bool) -> None:
    async with Tunnel(await reach(address, listen), key) as tunnel:
        await tunnel.ready(timeout_s=30)
        tasks = [asyncio.create_task(each(tunnel)) for each in (say, show, tell)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("key", type=Path, help="a file of 32 random bytes, the same on both sides")
    parser.add_argument("address", help="tcp://HOST:PORT, udp://HOST:PORT, ws://HOST:PORT/, ...")
    parser.add_argument("--listen", action="store_true", help="wait there instead of calling")
    try:
        asyncio.run(main(**vars(parser.parse_args())))
    except ChancelError as error:
        sys.exit(f"chat: {error}")
