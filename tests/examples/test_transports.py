"""Examples over a serial line, over IRC and over WebSocket, with the servers that they need."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.examples.programs import EXAMPLES, Program
from tests.links import servers
from tests.links.ircd import ngircd
from tests.links.proxy import nginx
from tests.links.ttys import cable


def test_over_a_serial_line(key: Path) -> None:
    def talk(left: str, right: str) -> None:
        with (
            Program("serial_line.py", key, left) as one,
            Program("serial_line.py", key, right) as two,
        ):
            assert (one.line(), two.line()) == ("* connected", "* connected")
            one.type("can you hear me?")
            assert two.line() == "> can you hear me?"
            assert two.line().startswith("* damaged frames so far: ")
            assert one.finish()[::2] == (0, "")
            assert two.finish()[::2] == (0, "")

    async def test() -> None:
        async with cable() as wire:
            await asyncio.to_thread(talk, wire.left, wire.right)

    asyncio.run(test())


def test_over_irc(key: Path) -> None:
    with ngircd() as port:
        place = (key, f"127.0.0.1:{port}", "#chancel")
        with (
            Program("irc/irc_tunnel.py", *place, "alice", "bob") as alice,
            Program("irc/irc_tunnel.py", *place, "bob", "alice") as bob,
        ):
            assert alice.line() == f"* waiting for bob in irc://127.0.0.1:{port}/#chancel"
            assert bob.line().startswith("* waiting for alice")
            assert (alice.line(), bob.line()) == ("* connected", "* connected")
            alice.type("can they read this?")
            assert bob.line() == "> can they read this?"
            bob.type("no")
            assert alice.line() == "> no"
            assert alice.finish()[::2] == (0, "")
            assert bob.finish()[::2] == (0, "")


def test_over_websocket_through_a_proxy(key: Path) -> None:
    port = servers.free_port()
    with Program("websocket_proxy/proxy_tunnel.py", key, "listen", str(port)) as listener:
        assert listener.line() == f"* waiting at ws://127.0.0.1:{port}/chancel"
        with nginx(port) as address:
            for _ in range(2):
                with Program("websocket_proxy/proxy_tunnel.py", key, "call", address) as caller:
                    caller.type("can you hear me?")
                    assert caller.line() == "CAN YOU HEAR ME?"
                    assert caller.finish()[::2] == (0, "")


def test_the_server_of_the_readme_has_the_limits_that_the_tests_rely_on() -> None:
    configuration = (EXAMPLES / "irc" / "ngircd.conf").read_text()
    assert "[Limits]" not in configuration
    assert "Penalty" not in configuration
