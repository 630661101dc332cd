"""A program's own standard streams, or those of a program that we start, as a link.

So whatever carries a byte stream to another machine carries messages: :func:`spawn` runs
``ssh host program`` at the near end, and that program calls :func:`connect` at the far end. For
POSIX systems.

What the far shell says at its start would be taken for messages. Where it can't be made silent, a
framer that finds its frames in noise helps (:class:`~chancel.links.framing.Cobs`, at both ends).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import Callable, Sequence

from chancel.errors import LocalProtocolError
from chancel.links.descriptors import DescriptorTransport
from chancel.links.framing import Framer, LengthPrefix
from chancel.links.sockets import in_words
from chancel.links.stream import StreamLink

EXIT_GRACE_S = 2.0
"""Between the end of a child's output and its end, and the other way round: a child that has left
the pipe to a child of its own, or that closes it and lives on."""

PATIENCE_S = 5.0
"""How long a child may take to end after its input has ended, and then after SIGTERM."""

MAX_STDERR_BYTES = 1 << 16
"""What is kept of a child's standard error: the end of it."""

MAX_LAST_WORDS = 200
"""Characters of a child's last line that a reason repeats."""


async def connect(*, framer: Callable[[], Framer] = LengthPrefix) -> StreamLink:
    """Our own standard input and output, which are the link's from now on, and close with it.

    From then on ``print`` goes to standard error, and reading standard input finds nothing, so that
    neither disturbs the messages. Raises ``LocalProtocolError`` if they are a terminal or a file,
    or taken already.
    """
    for number, name in ((0, "standard input"), (1, "standard output")):
        if not _carries_bytes(number):
            raise LocalProtocolError(
                f"{name} is no pipe or socket: start this program by ssh, or by stdio.spawn"
            )
    link = StreamLink(lambda _: "stdio:", framer())
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    DescriptorTransport(link, source, sink)
    return link


def _carries_bytes(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def spawn(
    command: Sequence[str],
    *,
    framer: Callable[[], Framer] = LengthPrefix,
    keep_stderr: bool = False,
) -> ChildLink:
    """Start a program (no shell) and talk to its standard input and output.

    Its standard error is ours, or with ``keep_stderr`` in :attr:`ChildLink.stderr`. When it ends,
    ``receive`` raises ``LinkClosed`` with its exit status in words. Raises ``LocalProtocolError``
    if it can't be started.
    """
    if not command:
        raise LocalProtocolError("no program to start: name it, and its arguments")
    child_input, sink = os.pipe()
    source, child_output = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=child_input,
            stdout=child_output,
            stderr=asyncio.subprocess.PIPE if keep_stderr else None,
        )
    except BaseException as error:
        os.close(sink)
        os.close(source)
        if isinstance(error, OSError | ValueError):
            raise LocalProtocolError(
                f"{command[0]} can't be started: {in_words(error)}; check its name and its rights"
            ) from error
        raise
    finally:
        os.close(child_input)
        os.close(child_output)
    link = ChildLink(command[0], framer(), process)
    DescriptorTransport(link, source, sink)
    link.watch()
    return link


class ChildLink(StreamLink):
    """A link to a program that we started; :func:`spawn` makes it.

    ``close`` ends its input; one that doesn't end then is ended, and none is left a zombie.
    """

    def __init__(self, name: str, framer: Framer, process: asyncio.subprocess.Process) -> None:
        super().__init__(lambda _: f"exec:{name}", framer)
        self.stderr = b""
        """The end of its standard error, if it is kept."""
        self._name = os.path.basename(name)  # noqa: PTH119 - a word for people, no path
        self._process = process
        self._output_ended = asyncio.Event()
        self._watching: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def watch(self) -> None:
        """Begin to wait for its end."""
        self._watching.append(asyncio.create_task(self._watch()))
        if self._process.stderr is not None:
            self._watching.append(asyncio.create_task(self._keep(self._process.stderr)))

    def eof_received(self) -> bool:
        """Its output has ended; the reason is known when it has ended itself."""
        self._at_eof = True
        self._output_ended.set()
        return True

    async def wait_closed(self) -> None:
        """Wait until it has what was sent, and is gone: by itself, or by force."""
        await super().wait_closed()
        await asyncio.wait(self._watching)

    def _may_let_go(self) -> bool:
        # It may write something before it has read all, and must not fail by that.
        return self._at_eof

    def _patience_s(self) -> float:
        return PATIENCE_S

    async def _watch(self) -> None:
        try:
            await self._until_end()
            await self._released.wait()
            await self._reap()
        finally:
            if self._process.returncode is None:
                self._process.kill()

    async def _until_end(self) -> None:
        """Until it has ended, or its output, or the link; say why nothing more comes."""
        exited = asyncio.create_task(self._process.wait())
        events = [
            exited,
            asyncio.create_task(self._output_ended.wait()),
            asyncio.create_task(self._released.wait()),
        ]
        try:
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if self._released.is_set():
                return
            await asyncio.wait(events[:2], timeout=EXIT_GRACE_S)
            if len(self._watching) > 1:
                await asyncio.wait(self._watching[1:], timeout=EXIT_GRACE_S)
        finally:
            for event in events:
                event.cancel()
        self._end_of_input(self._last_words())

    async def _reap(self) -> None:
        for push in (self._process.terminate, self._process.kill):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._process.wait()
                return
            with contextlib.suppress(ProcessLookupError):
                push()
        await self._process.wait()

    async def _keep(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(MAX_STDERR_BYTES):
            self.stderr = (self.stderr + data)[-MAX_STDERR_BYTES:]

    def _last_words(self) -> str:
        """How it ended, and what it said last."""
        status = self._process.returncode
        if status is None:
            return f"{self._name} closed its output"
        if status < 0:
            words = f"{self._name} was ended by {_signal_name(-status)}"
        else:
            words = f"{self._name} ended with status {status}"
        lines = self.stderr.decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        said = "".join(c for c in last.strip() if c.isprintable())[:MAX_LAST_WORDS]
        return f"{words}: {said}" if said else words


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
