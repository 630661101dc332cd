"""Telling systemd, or whatever else set ``NOTIFY_SOCKET``, how far we are (sd_notify(3)).

A datagram of text; nobody answers, and nobody has to be there.
"""

from __future__ import annotations

import contextlib
import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(state: str) -> None:
    """Send one state, if anybody wants to know."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end,
    ):
        end.sendto(state.encode(), address)
