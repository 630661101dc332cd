"""Send a file, with a progress bar. What was interrupted goes on where it stopped.

    chancel keygen files.key                                    # once; carry a copy to the other
    python send_file.py files.key tcp://0.0.0.0:4000 receive FOLDER
    python send_file.py files.key tcp://198.51.100.1:4000 send FILE

The receiver tells how much of the file it has, the sender sends the rest, and the receiver compares
SHA-256 before the file gets its name. Each piece says where it belongs, so that one that got lost
is noticed at once. Take a reliable transport (docs/links.md): over UDP something always gets lost.
"""

import argparse
import asyncio
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from chancel.errors import ChancelError
from chancel.links import addresses
from chancel.tunnel import Tunnel

OFFSET_BYTES = 8
"""In front of each piece: where in the file it belongs, big-endian."""

BATCH = 64
"""Pieces for one call, which is many times faster than a call for each."""

READY_S = 30.0


class TransferError(Exception):
    """No file was transferred; the text says what to do."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """What the sender says first."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> "Offer":
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(file.name, file.stat().st_size, digest)

    @classmethod
    def read(cls, message: bytes) -> "Offer":
        try:
            offer = cls(**json.loads(message))
            name = Path(offer.name).name
        except (TypeError, ValueError) as error:
            raise TransferError(
                "the other end doesn't send a file: look what runs there"
            ) from error
        if name in ("", "..") or name != offer.name:
            raise TransferError(f"{offer.name!r} is no name for a file: rename it at the sender")
        return offer


async def send(tunnel: Tunnel, file: Path, progress: Progress) -> None:
    """Send ``file``; return when the receiver has compared it."""
    offer = await asyncio.to_thread(Offer.of, file)  # the tunnel stays alive meanwhile
    await tunnel.send(json.dumps(dataclasses.asdict(offer)).encode())
    offset = int(await tunnel.receive())
    bar = progress.add_task(offer.name, total=offer.size, completed=offset)
    size = tunnel.max_message - OFFSET_BYTES
    with file.open("rb") as stream:
        stream.seek(offset)
        while data := stream.read(size * BATCH):
            pieces = [
                (offset + at).to_bytes(OFFSET_BYTES, "big") + data[at : at + size]
                for at in range(0, len(data), size)
            ]
            await tunnel.send_batch(pieces)
            offset += len(data)
            progress.update(bar, completed=offset)
    verdict = (await tunnel.receive()).decode(errors="replace")
    if verdict != "good":
        raise TransferError(verdict)


async def receive(tunnel: Tunnel, folder: Path, progress: Progress) -> None:
    """Receive one file into ``folder``."""
    offer = Offer.read(await tunnel.receive())
    file, part = folder / offer.name, folder / f"{offer.name}.part"
    if file.exists():
        raise TransferError(f"{file} is there already: move it away")
    with part.open("ab") as stream:
        offset = stream.tell()
        if offset > offer.size:
            raise TransferError(f"{part} is of another file: remove it")
        await tunnel.send(str(offset).encode())
        bar = progress.add_task(offer.name, total=offer.size, completed=offset)
        while offset < offer.size:
            for piece in await tunnel.receive_batch():
                if int.from_bytes(piece[:OFFSET_BYTES], "big") != offset:
                    raise TransferError(
                        f"something got lost after {offset} bytes: start both ends again"
                    )
                offset += stream.write(piece[OFFSET_BYTES:])
            progress.update(bar, completed=offset)
    if (await asyncio.to_thread(Offer.of, part)).sha256 != offer.sha256:
        part.unlink()
        await tunnel.send(b"what arrived is not what was sent: start both ends again")
        raise TransferError(f"{offer.name} is not what was sent: start both ends again")
    part.rename(file)
    await tunnel.send(b"good")


async def main(key: Path, address: str, what: str, path: Path) -> None:
    if what == "send":
        link = await addresses.connect(address)
    else:
        async with await addresses.listen(address) as listener:
            print(f"waiting at {listener.address}", flush=True)
            link = await listener.accept()
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    async with Tunnel(link, key) as tunnel:
        await tunnel.ready(READY_S)
        with Progress(*columns) as progress:
            await (send if what == "send" else receive)(tunnel, path, progress)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("key", type=Path, help="a file of 32 random bytes, the same on both sides")
    parser.add_argument("address", help="tcp://HOST:PORT, tls://..., unix:///PATH")
    parser.add_argument("what", choices=("send", "receive"))
    parser.add_argument("path", type=Path, help="the file to send, or the folder to receive into")
    try:
        asyncio.run(main(**vars(parser.parse_args())))
    except (ChancelError, TransferError, OSError) as error:
        sys.exit(f"send_file: {error}")
