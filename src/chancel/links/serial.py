"""A serial line: RS-232, a radio modem, a microcontroller on USB (CDC-ACM), a pseudo-terminal.

Such a line loses bytes when its receiver is slow, alters some, and adds some when a plug is moved.
So a message travels as a frame with a CRC-32 (``framing``); what doesn't come through is dropped
and counted, and the link is not reliable. A tunnel or channel doesn't mind.

**COBS or SLIP.** COBS, unless told otherwise: it adds at most one byte in 254, and no more for
ciphertext than for anything else, so a baud rate can be turned into a message rate. SLIP is for
peers that speak nothing else; it adds one byte in 128 on average, and doubles the worst message.

**Flow control.** RTS/CTS or DSR/DTR, where the cable has the wires: then a slow reader holds up the
sender and loses nothing. XON/XOFF is not offered: it takes two byte values out of the stream, and
frames use all of them.

**USB.** A CDC-ACM device (``/dev/ttyACM0``, a gadget's ``/dev/ttyGS0``) or an adapter
(``/dev/ttyUSB0``) is opened like any line. CDC-ACM has no wire behind it: its baud rate is ignored,
and USB's own flow control applies. A name that survives re-plugging is in ``/dev/serial/by-id``.

When the device goes away, or its other end hangs up, the link ends with
:class:`~chancel.errors.LinkClosed`. For a system with descriptors (POSIX), not for Windows.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from typing import Final, Literal

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.endpoint import LinkEndpoint
from chancel.links.framing import Cobs, Damage, Framer, Slip
from chancel.links.interface import Peer
from chancel.links.outbox import Outbox
from chancel.wire.datagram import MAX_DATAGRAM_BYTES
from chancel.wire.types import Buffer

try:
    import serial
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "serial links need the package pyserial: pip install 'chancel[serial]'",
        name=missing.name,
    ) from missing

MAX_MESSAGE: Final = MAX_DATAGRAM_BYTES
"""What ``max_message`` is unless another number is given: any datagram of a tunnel fits. A long
frame is the likelier to be damaged, and holds up all that waits behind it: at 115,200 baud this one
takes 0.13 s."""

MAX_UNSENT: Final = 16
"""Messages that ``send`` takes over before it waits."""

READ_BYTES: Final = 4096
"""Read at a time: as much as the kernel keeps of a line."""

LINGER_S: Final = 2.0
"""How long, after ``close``, a line may take for the rest of what was sent."""

Framing = Literal["cobs", "slip"]
Flow = Literal["none", "rtscts", "dsrdtr"]

_FRAMERS: Final[dict[Framing, type[Cobs] | type[Slip]]] = {"cobs": Cobs, "slip": Slip}


class SerialLink(LinkEndpoint):
    """A link over an open serial line, of which it becomes the owner. :func:`connect` makes it."""

    reliable = False

    def __init__(self, line: serial.Serial, framer: Framer) -> None:
        super().__init__(framer.max_message, room=self._take_over)
        self._line = line
        self._fd: int = line.fileno()
        self._peer = Peer(f"serial://{line.port}")
        self._framer = framer
        self._arrived: deque[bytes] = deque()
        self._outbox: Outbox[bytes] = Outbox(MAX_UNSENT)
        self._home = asyncio.get_running_loop()
        self._home.add_reader(self._fd, self._readable)
        self._writer = self._home.create_task(self._write())
        self._finisher: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SerialLink {self._line.port}>"

    @property
    def peer(self) -> Peer:
        """Whoever is at the other end of the line: its name is the device's."""
        return self._peer

    @property
    def drops(self) -> Counter[Damage]:
        """Frames that came damaged, by what was wrong with them."""
        return self._framer.drops

    async def send(self, message: Buffer) -> None:
        """Send one message."""
        self._enter()
        self._check_size(message)
        await self._outbox.put(self._framer.encode(message))

    async def wait_closed(self) -> None:
        """Wait, after :meth:`close`, until what was sent has left, or :data:`LINGER_S`."""
        if self._finisher is not None:
            await asyncio.shield(self._finisher)

    def _release(self) -> None:
        super()._release()
        self._outbox.end("closed at this end")
        if not self._home.is_closed():
            self._home.remove_reader(self._fd)
            self._finisher = self._home.create_task(self._finish())

    async def _finish(self) -> None:
        await asyncio.wait([self._writer], timeout=LINGER_S)
        self._writer.cancel()
        if self._line.is_open:
            self._home.remove_writer(self._fd)
            # The kernel holds up the one who closes a line until its own buffer has left.
            await self._home.run_in_executor(None, self._line.close)

    def _lost(self, why: str) -> None:
        """The line is gone. It is closed at once, or a device that returns gets another name."""
        self.inbox.end(why)
        self._outbox.end(why, discard=True)
        self._home.remove_reader(self._fd)
        self._home.remove_writer(self._fd)
        self._line.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(f"the line is gone: {error.strerror}")
            return
        if not data:
            self._lost("the line is gone: the other end hung up")
            return
        self._arrived += self._framer.feed(data)
        self._take_over()

    def _take_over(self) -> None:
        """Move what arrived into the inbox. While it doesn't fit, nothing more is read."""
        while self._arrived and not self.inbox.full:
            self.inbox.put(self._arrived.popleft())
        if self._arrived:
            self._home.remove_reader(self._fd)
        else:
            self._home.add_reader(self._fd, self._readable)

    async def _write(self) -> None:
        try:
            while True:
                rest = memoryview(await self._outbox.first())
                while rest:
                    try:
                        rest = rest[os.write(self._fd, rest) :]
                    except BlockingIOError:
                        await self._writable()
                self._outbox.sent()
        except LinkClosed:
            return
        except OSError as error:
            self._lost(f"the line is gone: {error.strerror}")

    async def _writable(self) -> None:
        ready = self._home.create_future()

        def writable() -> None:
            self._home.remove_writer(self._fd)
            if not ready.done():
                ready.set_result(None)

        self._home.add_writer(self._fd, writable)
        await ready


async def connect(
    device: str,
    *,
    baud: int = 115_200,
    flow: Flow = "none",
    framing: Framing = "cobs",
    max_message: int = MAX_MESSAGE,
) -> SerialLink:
    """Open a serial line: 8 data bits, no parity, 1 stop bit.

    Nobody else may have it open. Both ends need the same ``baud`` (bits per second), ``framing``
    and ``flow``. Raises ``LinkClosed`` if the device can't be opened, ``LocalProtocolError`` for a
    setting that it doesn't have.
    """
    if framing not in _FRAMERS or flow not in ("none", "rtscts", "dsrdtr"):
        raise LocalProtocolError(
            f"framing {framing!r}, flow {flow!r}: choose cobs or slip; none, rtscts or dsrdtr"
        )
    if os.name != "posix":
        raise LocalProtocolError("serial links need a POSIX system: use another transport here")
    try:
        line = serial.Serial(
            device,
            baud,
            timeout=0,
            write_timeout=0,
            rtscts=flow == "rtscts",
            dsrdtr=flow == "dsrdtr",
            exclusive=True,
        )
    except ValueError as error:
        raise LocalProtocolError(f"{device}, {baud} baud: {error}: choose another rate") from error
    except OSError as error:
        raise LinkClosed(_remedy(device, error)) from error
    return SerialLink(line, _FRAMERS[framing](max_message))


def _remedy(device: str, error: OSError) -> str:
    if isinstance(error, PermissionError) or "Permission denied" in str(error):
        return f"can't open {device}: join the group that owns it (dialout, on Debian)"
    return f"can't open {device}: {error}"
