"""A tunnel over a serial line: a cable, a radio modem, a microcontroller on USB (CDC-ACM).

Make a key (``chancel keygen line.key``), carry it to the other machine, and on both:

    python serial_line.py line.key /dev/ttyUSB0
    python serial_line.py line.key /dev/ttyACM0 57600

What you type appears at the other end. Each second line tells what the cable has cost so far. The
end of input (Control-D) ends it.
"""

import asyncio
import sys
from pathlib import Path

from chancel.errors import ChancelError
from chancel.links import serial
from chancel.tunnel import Tunnel

READY_S = 60.0
"""The other end may still be plugged in."""


async def say(tunnel: Tunnel) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):  # a thread, so the rest goes on
        await tunnel.send(line.encode()[: tunnel.max_message])


async def show(tunnel: Tunnel, line: serial.SerialLink) -> None:
    async for message in tunnel:
        text = "".join(filter(str.isprintable, message.decode(errors="replace")))
        print(f"> {text}\n* damaged frames so far: {line.drops.total()}", flush=True)


async def main(key: Path, device: str, baud: int = 115_200) -> None:
    line = await serial.connect(device, baud=baud)
    async with Tunnel(line, key) as tunnel:
        await tunnel.ready(READY_S)
        print("* connected", flush=True)
        tasks = [asyncio.create_task(say(tunnel)), asyncio.create_task(show(tunnel, line))]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case [key, device]:
                asyncio.run(main(Path(key), device))
            case [key, device, baud] if baud.isdecimal():
                asyncio.run(main(Path(key), device, int(baud)))
            case _:
                sys.exit(__doc__)
    except ChancelError as error:
        sys.exit(f"serial_line: {error}")
