"""control: answers those who ask how the cathedral is.

As beside tunnels (``daemon.duties.control``), with another book: the cathedral's board, read-only,
and a link on which it hears news. It has no key.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from chancel.cathedrald.metrics import exposition
from chancel.cathedrald.news import CathedralSettings, checked
from chancel.cathedrald.status import CathedralBook
from chancel.daemon.duties.control import Control
from chancel.daemon.link import MessageLink
from chancel.daemon.process import Process


class CathedralControl(Control):
    """The duty of control beside a cathedral."""

    def __init__(self, process: Process) -> None:
        book = self._cathedral = CathedralBook(process.boards, time.monotonic())
        super().__init__(process, book, exposition)
        process.read_settings = CathedralSettings.from_json
        self._link: MessageLink | None = None

    def _hear(self, message: dict[str, Any], fds: list[int]) -> None:
        if "news" not in message:
            super()._hear(message, fds)
            return
        self._link = MessageLink(socket.socket(fileno=fds[0]))
        self._loop.add(self._link, self._listen)

    def _listen(self) -> None:
        """The cathedral has news."""
        received = self._link.receive() if self._link is not None else None
        if received is not None:
            message, fds = received
            for fd in fds:
                os.close(fd)
            self._cathedral.news = checked(message)


make = CathedralControl
