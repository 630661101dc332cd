"""A tunnel through ssh: from this program to its copy on another machine, whatever lies between.

ssh protects what passes between its two ends, and reads it there: on a jump host, a bastion, a
gateway of the office. The tunnel inside ends in the two programs. On both machines: this file, a
Python with chancel, and the same key (made by ``chancel keygen far.key``). Then, here:

    python over_ssh.py far.key near ssh me@host python3 over_ssh.py far.key far

What stands behind ``near`` is started, and its standard input and output are the link. Any program
will do that carries bytes to the far end: docker exec -i, kubectl exec -i, socat, a modem.
"""

import asyncio
import platform
import sys
import time
from pathlib import Path

from chancel.errors import ChancelError
from chancel.links import stdio
from chancel.tunnel import Tunnel

READY_S = 60.0
"""ssh may ask for a password first."""

ROUNDS = 5


async def near(key: Path, command: list[str]) -> None:
    """Start the far end, ask it for its name some times, and say how long an answer takes."""
    async with Tunnel(await stdio.spawn(command), key) as tunnel:
        await tunnel.ready(READY_S)
        for number in range(ROUNDS):
            began = time.monotonic()
            await tunnel.send(str(number).encode())
            answer = (await tunnel.receive()).decode()
            print(f"{answer}, after {(time.monotonic() - began) * 1e3:.1f} ms", flush=True)


async def far(key: Path) -> None:
    """Answer until the near end goes."""
    async with Tunnel(await stdio.connect(), key) as tunnel:
        await tunnel.ready(READY_S)
        async for question in tunnel:
            await tunnel.send(f"{question.decode()}: {platform.node()}".encode())


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case [key, "near", *command] if command:
                asyncio.run(near(Path(key), command))
            case [key, "far"]:
                asyncio.run(far(Path(key)))
            case _:
                sys.exit(__doc__)
    except ChancelError as error:
        sys.exit(f"over_ssh: {error}")
