"""The client of ``NAME.metrics``, for those who have no ``curl --unix-socket`` at hand."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from chancel.errors import LinkClosed

TIMEOUT_S = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def read(path: Path) -> str:
    """The metrics of the group that listens on ``path``. Raises :class:`LinkClosed`."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise LinkClosed(f"{path}: no metrics ({error})") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise LinkClosed(f"{path}: no metrics ({response.status} {response.reason})")
    return text
