"""WebSocket links against each other, and against peers that speak WebSocket but not Chancel."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio import client, server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import addresses, websocket
from chancel.links.calls import MAX_CALLS, MAX_OPENING
from chancel.links.conformance import check_link, check_listener
from chancel.links.conformance.rules_listener import Dial
from chancel.links.interface import Link, Listener
from chancel.links.websocket import SUBPROTOCOL, WebSocketLink
from chancel.tunnel import Tunnel
from tests.links import bulk

PATIENCE_S = 60.0


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test, and don't let it hang."""
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


@asynccontextmanager
async def pair(**options: object) -> AsyncIterator[tuple[WebSocketLink, WebSocketLink]]:
    """A caller's link and that of the called."""
    async with await websocket.listen(**options) as listener:  # type: ignore[arg-type]
        left = await websocket.connect(listener.address, max_message=left_limit(options))
        right = await listener.accept()
        assert isinstance(right, WebSocketLink)
        async with left, right:
            yield left, right


def left_limit(options: dict[str, object]) -> int:
    limit = options.get("max_message", websocket.MAX_MESSAGE)
    assert isinstance(limit, int)
    return limit


@asynccontextmanager
async def caller(address: str) -> AsyncIterator[client.ClientConnection]:
    """A peer that isn't ours and can do whatever a WebSocket can."""
    async with client.connect(address, subprotocols=[SUBPROTOCOL], proxy=None) as connection:
        yield connection


def test_it_keeps_the_rules() -> None:
    asyncio.run(check_link(pair))


def test_the_listener_keeps_the_rules() -> None:
    @asynccontextmanager
    async def listening() -> AsyncIterator[tuple[Listener, Dial]]:
        async with await websocket.listen() as listener:
            yield listener, lambda: websocket.connect(listener.address)

    asyncio.run(check_listener(listening))


def test_messages_arrive_whole_and_in_order() -> None:
    async def test() -> None:
        async with pair() as (left, right):
            messages = [b"", b"\0", bytes(range(256)), bytes(left.max_message)]
            await left.send_batch(messages)
            await right.send(memoryview(b"back"))
            assert [await right.receive() for _ in messages] == messages
            assert await left.receive() == b"back"

    run(test)


def test_they_are_what_they_claim_to_be() -> None:
    async def test() -> None:
        async with await websocket.listen(path="/way/in") as listener:
            assert isinstance(listener, Listener)
            assert listener.address.startswith("ws://127.0.0.1:")
            assert listener.address.endswith("/way/in")
            left = await websocket.connect(listener.address)
            async with left, await listener.accept() as right:
                assert isinstance(left, Link)
                assert left.reliable
                assert left.peer.name == listener.address
                assert right.peer.name.startswith("ws://127.0.0.1:")
                assert not right.peer.authenticated

    run(test)


def test_a_sender_waits_for_a_slow_reader_and_loses_nothing() -> None:
    message = bytes(websocket.MAX_MESSAGE)

    async def test() -> None:
        async with pair() as (left, right):
            sent = 0

            async def send() -> None:
                nonlocal sent
                while sent < 1000:
                    await left.send(message)
                    sent += 1

            sending = asyncio.create_task(send())
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                await asyncio.wait([sending], timeout=0.5)
            assert sent < 1000
            for _ in range(1000):
                assert await right.receive() == message
            await sending

    run(test)


def test_what_was_sent_before_closing_still_arrives() -> None:
    async def test() -> None:
        async with pair() as (left, right):
            messages = [bytes([number]) * 30_000 for number in range(100)]
            await asyncio.gather(left.send_batch(messages), take(right, messages[:50]))
            left.close()
            with pytest.raises(LocalProtocolError, match="was closed"):
                await left.send(b"more")
            await take(right, messages[50:])
            with pytest.raises(LinkClosed, match="the peer closed the connection"):
                await right.receive()
            with pytest.raises(LinkClosed, match="the peer closed the connection"):
                await right.send(b"too late")
            await left.wait_closed()

    run(test)


async def take(link: Link, expected: list[bytes]) -> None:
    for message in expected:
        assert await link.receive() == message


def test_a_peer_that_reads_no_more_delays_the_end_and_cannot_prevent_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "LINGER_S", 0.05)

    async def test() -> None:
        async with await websocket.listen() as listener, silent(listener.address):
            link = await listener.accept()
            sending = asyncio.create_task(link.send_batch([bytes(65536)] * 1000))
            await asyncio.wait([sending], timeout=0.5)
            assert not sending.done()
            link.close()
            with pytest.raises(LinkClosed, match="closed at this end"):
                await sending
            await link.wait_closed()

    run(test)


@asynccontextmanager
async def silent(address: str) -> AsyncIterator[None]:
    """A peer that has stopped reading."""
    async with client.connect(
        address, subprotocols=[SUBPROTOCOL], proxy=None, max_queue=1, close_timeout=0.01
    ):
        yield


def test_text_is_refused_and_counted() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener, caller(listener.address) as stranger:
            link = await listener.accept()
            assert isinstance(link, WebSocketLink)
            await stranger.send("text")
            await stranger.send(b"binary")
            assert await link.receive() == b"binary"
            assert link.refused == 1
            link.close()

    run(test)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1000, "the peer closed the connection"),
        (1001, "the peer is going away"),
        (1011, "the peer failed"),
        (4321, "the peer closed with code 4321"),
    ],
)
def test_a_close_code_comes_as_words(code: int, words: str) -> None:
    async def test() -> None:
        async with await websocket.listen() as listener, caller(listener.address) as stranger:
            link = await listener.accept()
            await stranger.close(code, "because\n\x1b[31m")
            with pytest.raises(LinkClosed) as closed:
                await link.receive()
            assert str(closed.value) == words + r" ('because\n\x1b[31m')"
            link.close()

    run(test)


def test_a_message_that_is_too_large_ends_it_with_that_reason() -> None:
    async def test() -> None:
        listener = await websocket.listen(max_message=100)
        async with listener, caller(listener.address) as stranger:
            link = await listener.accept()
            await stranger.send(bytes(101))
            with pytest.raises(LinkClosed, match="the peer sent a message that is too large"):
                await link.receive()
            link.close()
            with pytest.raises(ConnectionClosed):
                await stranger.recv()

    run(test)


def test_a_connection_that_breaks_ends_it() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener, caller(listener.address) as stranger:
            link = await listener.accept()
            stranger.transport.abort()
            with pytest.raises(LinkClosed, match="the connection broke"):
                await link.receive()
            link.close()
            await link.wait_closed()

    run(test)


def test_strangers_get_no_link() -> None:
    async def test() -> None:
        async with await websocket.listen(path="/in") as listener:
            for address, subprotocols, status in (
                (listener.address, None, 400),
                (listener.address.replace("/in", "/"), [SUBPROTOCOL], 404),
                (listener.address.replace("/in", "/in/deeper"), [SUBPROTOCOL], 404),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await client.connect(address, subprotocols=subprotocols, proxy=None)
                assert refused.value.response.status_code == status
            _, writer = await asyncio.open_connection(*_place(listener.address))
            writer.write(b"\x16\x03\x01 not HTTP\r\n\r\n")
            await writer.drain()
            writer.close()
            assert listener.refused == 3
            async with await websocket.connect(listener.address) as left:
                await left.send(b"hello")
                async with await listener.accept() as right:
                    assert await right.receive() == b"hello"

    run(test)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ws://").partition("/")[0].partition(":")
    return host, int(port)


def test_a_caller_too_many_is_told_to_come_later() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener:
            links = [await websocket.connect(listener.address) for _ in range(MAX_CALLS)]
            with pytest.raises(LinkClosed, match="answers 503"):
                await websocket.connect(listener.address)
            (await listener.accept()).close()
            links.append(await websocket.connect(listener.address))
            for link in links:
                link.close()
                await link.wait_closed()

    run(test)


def test_another_websocket_is_not_mistaken_for_ours() -> None:
    async def wait(connection: server.ServerConnection) -> None:
        await connection.wait_closed()

    async def test() -> None:
        async with server.serve(wait, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            with pytest.raises(LinkClosed, match="not one of Chancel"):
                await websocket.connect(f"ws://127.0.0.1:{port}/")

    run(test)


def test_calling_is_tried_again_until_somebody_listens() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener:
            address = listener.address
        with pytest.raises(LinkClosed, match="can't be reached"):
            await websocket.connect(address, retries=1, interval_s=0.01)
        calling = asyncio.create_task(websocket.connect(address, retries=-1, interval_s=0.01))
        await asyncio.wait([calling], timeout=0.1)
        listener = await websocket.listen(port=_place(address)[1])
        async with listener, await listener.accept() as right, await calling as left:
            await left.send(b"at last")
            assert await right.receive() == b"at last"

    run(test)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://", "nonsense", "ws://h:99999/"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match="give ws://host:port/path"):
            await websocket.connect(url, retries=5, interval_s=1000.0)

    run(test)


def test_a_port_in_use_is_said() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener:
            with pytest.raises(LocalProtocolError, match="choose another address or port"):
                await websocket.listen(port=_place(listener.address)[1])

    run(test)


def test_a_password_in_the_url_is_not_repeated() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener:
            url = listener.address.replace("ws://", "ws://me:hidden@") + "?token=hidden"
            async with await websocket.connect(url) as left:
                assert left.peer.name == listener.address
                assert "hidden" not in repr(left)
            closed_url = url
        with pytest.raises(LinkClosed) as failed:
            await websocket.connect(closed_url)
        assert "hidden" not in str(failed.value)

    run(test)


def test_closing_a_listener_keeps_what_was_accepted_and_ends_the_rest() -> None:
    async def test() -> None:
        listener = await websocket.listen()
        kept, dropped = [await websocket.connect(listener.address) for _ in range(2)]
        right = await listener.accept()
        listener.close()
        await listener.wait_closed()
        with pytest.raises(LocalProtocolError, match="was closed"):
            await listener.accept()
        with pytest.raises(LinkClosed, match="the peer closed the connection"):
            await dropped.receive()
        await kept.send(b"still here")
        assert await right.receive() == b"still here"
        for link in (kept, dropped, right):
            link.close()
            await link.wait_closed()

    run(test)


def test_tls(tmp_path: Path) -> None:
    theirs, ours = certificate(tmp_path)

    async def test() -> None:
        async with await websocket.listen(ssl=theirs) as listener:
            assert listener.address.startswith("wss://")
            with pytest.raises(LinkClosed, match="can't be reached"):
                await websocket.connect(listener.address)  # nobody vouches for the certificate
            left = await websocket.connect(listener.address, ssl=ours)
            async with left, await listener.accept() as right:
                await left.send(bytes(50_000))
                assert await right.receive() == bytes(50_000)

    run(test)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server on 127.0.0.1 and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    encoding = serialization.Encoding.PEM
    pem.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(encoding)
    )
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(pem)
    return theirs, ssl.create_default_context(cafile=str(pem))


@pytest.mark.timeout(bulk.TIMEOUT_S)
def test_a_tunnel_carries_much_and_nothing_is_missing() -> None:
    async def test() -> None:
        async with pair() as (left, right):
            alice, bob = Tunnel(left, bytes(32)), Tunnel(right, bytes(32))
            async with alice, bob:
                await asyncio.gather(alice.ready(), bob.ready())
                assert await bulk.carry(alice, bob) == 0

    asyncio.run(test())


def test_callers_who_only_hold_a_place_dont_shut_others_out() -> None:
    async def test() -> None:
        async with await websocket.listen() as listener:
            port = int(listener.address.rpartition(":")[2].rstrip("/"))
            silent = [
                await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_OPENING + 20)
            ]
            ended = asyncio.gather(*[reader.read() for reader, _ in silent[:20]])
            assert await asyncio.wait_for(ended, PATIENCE_S) == [b""] * 20
            assert listener.refused == 20
            async with await websocket.connect(listener.address) as caller:
                called = await listener.accept()
                await caller.send(b"honest")
                assert await called.receive() == b"honest"
                called.close()
            for _, writer in silent:
                writer.close()

    asyncio.run(test())


def test_a_path_that_has_to_be_escaped() -> None:
    async def test() -> None:
        async with await addresses.listen("ws://127.0.0.1:0/a%20b/%C3%A4") as listener:
            assert listener.address.endswith("/a%20b/%C3%A4")
            async with await addresses.connect(listener.address) as caller:
                called = await listener.accept()
                await caller.send(b"found")
                assert await called.receive() == b"found"
                called.close()

    asyncio.run(test())
