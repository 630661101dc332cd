"""A reverse proxy to test through: nginx, configured as in ``examples/websocket_proxy``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.links import servers

EXAMPLE = Path(__file__).parents[2] / "examples" / "websocket_proxy" / "nginx.conf"


@contextlib.contextmanager
def nginx(behind: int) -> Iterator[str]:
    """Run nginx in front of the port ``behind``; yields the address to call."""
    program, port = servers.find("nginx", "nginx-light"), servers.free_port()

    def command(folder: Path) -> list[str | Path]:
        configuration = EXAMPLE.read_text()
        for old, new in ((8080, port), (8765, behind)):
            assert f"127.0.0.1:{old};" in configuration
            configuration = configuration.replace(f"127.0.0.1:{old};", f"127.0.0.1:{new};")
        file = folder / "nginx.conf"
        file.write_text(configuration)
        return [program, "-p", folder, "-e", "stderr", "-c", file]

    with servers.running(command, port):
        yield f"ws://127.0.0.1:{port}/chancel"
