"""An asyncio transport over two descriptors: pipes, or one socket twice. For POSIX systems.

asyncio's own pipe transports don't do: the writing one takes data that arrives for the end of the
pipe where both descriptors are one socket (which is what sshd hands to a program), and a failed
write ends what could still be read.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat

from chancel.links.stream import MAX_UNSENT_BYTES, StreamLink

READ_BYTES = 1 << 16
"""Read at a time: what a pipe holds."""


class DescriptorTransport(asyncio.Transport):
    """Reads ``source``, writes ``sink``; owns both, and makes them non-blocking."""

    def __init__(self, link: StreamLink, source: int, sink: int) -> None:
        super().__init__()
        self._home = asyncio.get_running_loop()
        self._link = link
        self._source, self._sink = source, sink
        self._buffer = bytearray()
        self._paused = self._full = self._closing = False
        self._sink_open = True
        self.set_write_buffer_limits()
        # Others may share what the descriptors stand for: it is left as it was found.
        self._blocking = {each: os.get_blocking(each) for each in (source, sink)}
        for each in self._blocking:
            os.set_blocking(each, False)
        link.connection_made(self)
        self._home.add_reader(source, self._readable)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what arrives is taken."""
        return not (self._paused or self._closing)

    def pause_reading(self) -> None:
        """Leave what arrives where it is."""
        if self.is_reading():
            self._paused = True
            self._home.remove_reader(self._source)

    def resume_reading(self) -> None:
        """Take it again."""
        if self._paused and not self._closing:
            self._paused = False
            self._home.add_reader(self._source, self._readable)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """With more than ``high`` bytes unwritten, the link is told to wait until ``low`` are."""
        self._high = MAX_UNSENT_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Bytes unwritten."""
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or keep what can't be written yet. Where nobody reads, nothing is kept."""
        if not self._sink_open or self._closing:
            return
        if self._buffer:
            self._buffer += data
        else:
            written = self._try(data)
            if written == len(data) or not self._sink_open:
                return
            self._buffer += memoryview(data)[written:]
            self._home.add_writer(self._sink, self._writable)
        if len(self._buffer) > self._high and not self._full:
            self._full = True
            self._link.pause_writing()

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def write_eof(self) -> None:
        """Write no more, and let the reader know: to be called when nothing is unwritten."""
        if self._sink_open:
            self._close_sink()

    def close(self) -> None:
        """Let go of both descriptors; what is unwritten is lost."""
        if not self._closing:
            self._closing = True
            self._home.remove_reader(self._source)
            self._close_sink()
            self._home.call_soon(self._finish)

    def abort(self) -> None:
        """The same."""
        self.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._source, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a reset of a socket; for a pipe there is no such thing
            data = b""
        if data:
            self._link.data_received(data)
        else:
            self._home.remove_reader(self._source)
            self._link.eof_received()

    def _writable(self) -> None:
        written = self._try(self._buffer)
        del self._buffer[:written]
        if self._sink_open and not self._buffer:
            self._home.remove_writer(self._sink)
        if self._full and len(self._buffer) <= self._low:
            self._full = False
            self._link.resume_writing()

    def _try(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return os.write(self._sink, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._close_sink()
            self._link.writing_failed(error)
            return 0

    def _close_sink(self) -> None:
        if self._sink_open:
            self._sink_open = False
            self._buffer.clear()
            self._home.remove_writer(self._sink)
            if stat.S_ISSOCK(os.fstat(self._sink).st_mode):
                _shut(self._sink)
            self._let_go(self._sink)

    def _finish(self) -> None:
        self._let_go(self._source)
        self._link.connection_lost(None)

    def _let_go(self, descriptor: int) -> None:
        os.set_blocking(descriptor, self._blocking[descriptor])
        os.close(descriptor)


def _shut(sink: int) -> None:
    """End our direction of a socket that another descriptor keeps open."""
    shared = socket.socket(fileno=os.dup(sink))
    with shared:
        try:
            shared.shutdown(socket.SHUT_WR)
        except OSError:  # the peer is gone, so nobody is there to be told
            return
