"""Address strings: what they lead to, and how the ones that lead nowhere are refused."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import addresses, tcp
from chancel.links.addresses import Action, Option, Scheme, Target
from chancel.links.framing import MAX_LONG, LengthPrefix
from chancel.links.interface import Link, Listener, Port
from chancel.links.memory import memory_pair
from chancel.links.tls import client_context, server_context
from tests.links.authority import Files, make_files
from tests.links.streams import port_of, run

UPPER = """
import asyncio, sys
from chancel.links import addresses

async def main():
    async with await addresses.connect(sys.argv[1]) as link:
        async for message in link:
            await link.send(message.upper())

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(addresses, "_schemes", {})


async def exchange(there: Link, back: Link) -> None:
    """A message each way."""
    await there.send(b"there")
    assert await back.receive() == b"there"
    await back.send(b"back")
    assert await there.receive() == b"back"


@pytest.mark.parametrize(
    ("listening", "calling"),
    [
        ("tcp://127.0.0.1:0", ""),
        ("tcp://localhost:0", "?retries=2&interval=0.5&framing=u16"),
        ("tcp://[::1]:0?framing=cobs", "?framing=cobs"),
        ("TCP://127.0.0.1:0/", ""),
        ("udp://127.0.0.1:0", ""),
        ("udp://[::1]:0", ""),
        ("ws://127.0.0.1:0/a/path", ""),
        ("ws://127.0.0.1:0?max_message=1000", "?retries=1&max_message=1000"),
        ("unix://{tmp}/s%20s?framing=slip", "?framing=slip"),
    ],
)
def test_an_address_is_listened_on_and_called(listening: str, calling: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with await addresses.listen(listening.format(tmp=tmp_path)) as listener:
            assert isinstance(listener, Listener)
            address = listener.address.replace(" ", "%20")
            async with await addresses.connect(address + calling) as left:
                await left.send(b"first")
                async with await listener.accept() as right:
                    assert await right.receive() == b"first"
                    await exchange(left, right)

    run(test)


def test_udp_is_bound() -> None:
    async def test() -> None:
        async with (
            await addresses.bind("udp://127.0.0.1:0") as left,
            await addresses.bind("udp://localhost:0") as right,
        ):
            assert isinstance(left, Port)
            await left.send(b"hello", right.local)
            assert await right.receive() == (b"hello", left.local)

    run(test)


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_certificates_stand_in_the_address(scheme: str, files: Files) -> None:
    async def test() -> None:
        served = f"certificate={files.certificate}&key={files.key}"
        async with await addresses.listen(f"{scheme}://127.0.0.1:0?{served}") as listener:
            address = listener.address
            async with (
                await addresses.connect(f"{address}?cafile={files.cafile}") as left,
                await listener.accept() as right,
            ):
                await exchange(left, right)
            with pytest.raises(LinkClosed, match="certificate"):
                await addresses.connect(address)  # not one of the system's authorities

    run(test)


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_a_context_is_an_argument(scheme: str, files: Files) -> None:
    async def test() -> None:
        context = server_context(files.certificate, files.key)
        async with await addresses.listen(f"{scheme}://127.0.0.1:0", context=context) as listener:
            trust = client_context(files.cafile)
            async with (
                await addresses.connect(listener.address, context=trust) as left,
                await listener.accept() as right,
            ):
                await exchange(left, right)
            with pytest.raises(LocalProtocolError, match="one or the other"):
                await addresses.connect(listener.address, context=trust, cafile=files.cafile)
        with pytest.raises(LocalProtocolError, match="no certificate: expected"):
            await addresses.listen(f"{scheme}://127.0.0.1:0")

    run(test)


def test_arguments_win_over_the_query() -> None:
    async def test() -> None:
        async with await addresses.listen("tcp://127.0.0.1:0?framing=u16", framing="u32") as four:
            address = f"{four.address}?framing=cobs"
            async with await addresses.connect(address, framing=lambda: LengthPrefix(4)) as left:
                assert left.max_message == MAX_LONG
                async with await four.accept() as right:
                    await exchange(left, right)

    run(test)


def test_retries_reach_the_transport() -> None:
    async def test() -> None:
        listener = await tcp.listen("127.0.0.1", 0)
        address = listener.address
        listener.close()
        await listener.wait_closed()
        calling = asyncio.create_task(addresses.connect(f"{address}?retries=-1&interval=0.01"))
        await asyncio.wait([calling], timeout=0.05)
        assert not calling.done()
        async with (
            await tcp.listen("127.0.0.1", port_of(listener)) as again,
            await calling,
            await again.accept(),
        ):
            pass

    run(test)


def test_a_program_is_started_and_serves_its_standard_streams(tmp_path: Path) -> None:
    async def test() -> None:
        script = tmp_path / "a program.py"
        script.write_text(UPPER)
        command = shlex.join([sys.executable, str(script), "stdio:?framing=u32"])
        async with await addresses.connect(f"exec:{command}", framing="u32") as link:
            await link.send(b"ping")
            assert await link.receive() == b"PING"

    run(test)


def test_a_command_has_no_shell(tmp_path: Path) -> None:
    async def test() -> None:
        victim = tmp_path / "victim"
        async with await addresses.connect(f"exec:echo $HOME; touch {victim}") as link:
            with pytest.raises(LinkClosed, match="echo ended with status 0 in the middle"):
                await link.receive()  # "$H" is a large length
        assert not victim.exists()

    run(test)


def test_a_serial_line_is_opened() -> None:
    async def test() -> None:
        near, far = os.openpty()
        try:
            device = os.ttyname(far)
            async with await addresses.connect(f"serial://{device}?baud=9600&framing=slip") as link:
                assert device in link.peer.name
            with pytest.raises(LinkClosed, match="nowhere"):
                await addresses.connect("serial:///dev/nowhere")
            with pytest.raises(LocalProtocolError, match="cobs or slip"):
                await addresses.connect(f"serial://{device}?framing=u16")
        finally:
            os.close(near)
            os.close(far)

    run(test)


# Refused.


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("", "unknown scheme '': expected one of exec, serial, stdio, tcp"),
        ("127.0.0.1:4000", "unknown scheme '127.0.0.1'"),
        ("ftp://host:1", "unknown scheme 'ftp'"),
        ("tcp://host", "no port: expected tcp://host:port"),
        ("tcp://:4000", "no host: expected tcp://host:port"),
        ("tcp:4000", "no host"),
        ("tcp://host:0", "port 0 can't be called"),
        ("tcp://host:65536", "Port out of range.*at most 65535"),
        ("tcp://host:http", "expected tcp://host:port"),
        ("tcp://[::1:4000", "expected tcp://host:port"),
        ("tcp://host:1/path", "no path can be here"),
        ("tcp://host:1#part", "# has no meaning"),
        ("tcp://host:1?colour=red", "unknown option 'colour': expected framing, retries, interval"),
        ("tcp://host:1?framing=u8", "option framing=u8: expected one of u16, u32, slip, cobs"),
        ("tcp://host:1?retries=many", "option retries=many: expected a whole number"),
        ("tcp://host:1?retries=-2", "option retries=-2"),
        ("tcp://host:1?interval=nan", "option interval=nan: expected seconds"),
        ("tcp://host:1?interval=-1", "option interval=-1"),
        ("tcp://host:1?interval=inf", "option interval=inf"),
        ("tcp://host:1?retries", "expected tcp://host:port"),
        ("tcp://host:1?retries=1&retries=2", "option retries stands there twice"),
        ("tls://host:1?context=x", "option context=x: expected an ssl.SSLContext"),
        ("udp://host:1?retries=1", "unknown option 'retries': expected none"),
        ("unix://relative/path", "three slashes"),
        ("unix:///", "three slashes"),
        ("serial:///dev/x?baud=fast", "option baud=fast: expected a whole number"),
        ("serial:///dev/x?baud=0", "option baud=0"),
        ("ws:///path", "no host: expected ws://host:port/path"),
        ("stdio:///x", "expected stdio: and nothing more"),
        ("exec:", "no program"),
        ("exec:echo 'x", "No closing quotation"),
        ("tcp://host:1\n", "one line"),
        ("tcp://" + "x" * 5000, "at most 4096 characters"),
    ],
)
def test_the_part_at_fault_is_named(address: str, part: str) -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match=part):
            await addresses.connect(address)

    run(test)


@pytest.mark.parametrize(
    ("call", "address", "words"),
    [
        (addresses.listen, "serial:///dev/x", "can't listen on serial: it can connect"),
        (addresses.listen, "exec:cat", "can't listen on exec"),
        (addresses.bind, "tcp://host:1", "can't bind tcp: it can connect and listen"),
        (addresses.listen, "tcp://127.0.0.1:0?retries=1", "unknown option 'retries'"),
        (addresses.bind, "udp://nobody.invalid:1", "host nobody.invalid"),
    ],
)
def test_what_a_scheme_can_not_do_is_refused(
    call: Callable[[str], object], address: str, words: str
) -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match=words):
            await call(address)  # type: ignore[misc]

    run(test)


def test_a_name_of_nobody_is_not_our_callers_fault() -> None:
    async def test() -> None:
        for scheme in ("udp", "tcp"):
            with pytest.raises(LinkClosed, match=r"nobody\.invalid:1 can't be reached"):
                await addresses.connect(f"{scheme}://nobody.invalid:1")

    run(test)


def test_a_password_is_not_repeated() -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match="no place in an address") as caught:
            await addresses.connect("ws://user:sesame@host:1/x")
        assert "sesame" not in str(caught.value)

    run(test)


@given(
    st.text(max_size=30), st.sampled_from(["", "tcp:", "tcp://", "udp://h:1?", "ws://[", "unix:"])
)
def test_no_text_raises_anything_else(text: str, start: str) -> None:
    async def test() -> None:
        # Parsed only: it would call whoever is named.
        try:
            scheme, _, known = addresses._found(start + text)
            if not known.opaque:
                addresses._taken_apart(start + text, scheme)
        except LocalProtocolError:
            return

    run(test)


@pytest.mark.parametrize(
    ("package", "address", "extra"),
    [
        ("serial", "serial:///dev/ttyUSB0", "chancel[serial]"),
        ("websockets", "ws://127.0.0.1:1/", "chancel[websocket]"),
    ],
)
def test_a_missing_package_is_one_clear_line(package: str, address: str, extra: str) -> None:
    script = (
        "import asyncio, sys\n"
        "sys.modules[sys.argv[1]] = None\n"
        "from chancel.errors import LocalProtocolError\n"
        "from chancel.links import addresses\n"
        "try: asyncio.run(addresses.connect(sys.argv[2]))\n"
        "except LocalProtocolError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, package, address],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith(f"{address}: ")
    assert f"pip install '{extra}'" in done.stdout
    assert done.stdout.count("\n") == 1


def test_only_what_is_used_is_imported() -> None:
    script = (
        "import sys\n"
        "from chancel.links import addresses\n"
        "print(sorted({'serial', 'websockets', 'ssl'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "serial" not in done.stdout
    assert "websockets" not in done.stdout


# Schemes of others.


def test_others_add_schemes() -> None:
    seen: list[Target] = []
    here, there = memory_pair()

    async def connect(target: Target) -> Link:
        seen.append(target)
        return here

    options = {"speed": Option("speed_bps", int, "a whole number")}
    addresses.register("pigeon", Scheme(Action(connect, options)))

    async def test() -> None:
        async with await addresses.connect("pigeon://loft:7/roof?speed=3", speed=4) as link, there:
            await exchange(link, there)
        with pytest.raises(LocalProtocolError, match="option speed=slow: expected a whole number"):
            await addresses.connect("pigeon://loft:7?speed=slow")

    run(test)
    assert "pigeon" in addresses.schemes()
    (target,) = seen
    assert (target.host, target.port, target.path) == ("loft", 7, "/roof")
    assert target.arguments == {"speed_bps": 4}
    with pytest.raises(LocalProtocolError, match="there already"):
        addresses.register("pigeon", Scheme())


@pytest.mark.parametrize("name", ["tcp", "TCP", "", "1x", "a b", "a:"])
def test_names_that_can_not_be_schemes_are_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        addresses.register(name, Scheme())


@pytest.mark.parametrize("verb", [addresses.connect, addresses.listen, addresses.bind])
@pytest.mark.parametrize("address", ["tcp://user:hunter2@h:1", "http://user:hunter2@h/"])
def test_a_password_is_in_no_message(verb: Any, address: str) -> None:
    with pytest.raises(LocalProtocolError, match="password has no place") as refused:
        asyncio.run(verb(address))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["tcp", "udp", "tls"])
def test_a_name_that_no_host_can_have_is_refused(scheme: str) -> None:
    for host in ("a..b", "x" * 64):
        with pytest.raises(LocalProtocolError, match=f"{scheme}://{host}:1"):
            asyncio.run(addresses.connect(f"{scheme}://{host}:1"))


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::ffff:127.0.0.1]"])
def test_who_listens_everywhere_can_be_called_here(host: str) -> None:
    async def test() -> None:
        bound = host if "ffff" not in host else "127.0.0.1"
        async with await addresses.listen(f"udp://{bound}:0") as listener:
            port = listener.address.rpartition(":")[2]
            async with await addresses.connect(f"udp://{host}:{port}") as caller:
                await caller.send(b"who is there?")
                called = await listener.accept()
                assert await called.receive() == b"who is there?"
                await called.send(b"I am")
                assert await caller.receive() == b"I am"

    run(test)
