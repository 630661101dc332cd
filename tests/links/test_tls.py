"""TLS links: who is believed, what is cut off, and callers who never finish a handshake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import calls, tcp, tls
from chancel.links.conformance import Dial, check_link, check_listener
from chancel.links.framing import Damage, LengthPrefix
from chancel.links.interface import Listener
from chancel.links.stream import StreamLink
from chancel.links.tls import TlsCover, client_context, server_context
from tests.links.authority import Files, make_files
from tests.links.streams import listener_of, pair_of, port_of, run, steps, until

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("tls"), HOST)


async def opened(files: Files) -> tuple[Listener, Dial]:
    listener = await tls.listen(HOST, 0, context=server_context(files.certificate, files.key))
    context = client_context(files.cafile)
    return listener, partial(tls.connect, HOST, port_of(listener), context=context)


def test_it_keeps_the_rules_of_links(files: Files) -> None:
    async def test() -> None:
        await check_link(pair_of(lambda: opened(files)))

    asyncio.run(test())


def test_it_keeps_the_rules_of_listeners(files: Files) -> None:
    async def test() -> None:
        await check_listener(listener_of(lambda: opened(files)))

    asyncio.run(test())


# Who is believed.


def test_an_unknown_authority_is_refused_at_once_whatever_retries_say(files: Files) -> None:
    async def test() -> None:
        listener, _ = await opened(files)
        async with listener:
            with pytest.raises(LinkClosed, match="certificate was refused: unable to get local"):
                await tls.connect(HOST, port_of(listener), retries=-1, interval_s=1000)

    run(test)


def test_a_certificate_for_somebody_else_is_refused(files: Files) -> None:
    async def test() -> None:
        listener, _ = await opened(files)
        context = client_context(files.cafile)
        async with listener:
            with pytest.raises(LinkClosed, match="certificate was refused: Hostname mismatch"):
                await tls.connect(
                    HOST, port_of(listener), context=context, server_name="example.org"
                )
            assert isinstance(listener, calls.StreamListener)
            await until(lambda: listener.failed == 1)

    run(test)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        listener, dial = await opened(make_files(tmp_path, HOST, days=-1))
        async with listener:
            with pytest.raises(LinkClosed, match="refused: certificate has expired"):
                await dial()

    run(test)


def test_a_listener_can_demand_certificates(files: Files, tmp_path: Path) -> None:
    async def test() -> None:
        context = server_context(files.certificate, files.key, cafile=files.cafile)
        stranger = make_files(tmp_path, "stranger")
        async with await tls.listen(HOST, 0, context=context) as listener:
            port = port_of(listener)
            good = client_context(files.cafile, files.certificate, files.key)
            async with (
                await tls.connect(HOST, port, context=good) as left,
                await listener.accept() as right,
            ):
                await left.send(b"hello")
                assert await right.receive() == b"hello"
            for bad in (
                client_context(files.cafile),
                client_context(files.cafile, stranger.certificate, stranger.key),
            ):
                # TLS 1.3 tells the caller after its own part is done.
                with pytest.raises(LinkClosed, match="TLS failed"):
                    async with await tls.connect(HOST, port, context=bad) as link:
                        await link.receive()
            assert listener.failed == 2

    run(test)


def test_an_older_version_is_refused(files: Files) -> None:
    async def test() -> None:
        old = client_context(files.cafile)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        listener, _ = await opened(files)
        async with listener:
            with pytest.raises(LinkClosed, match=r"TLS failed: .*version"):
                await tls.connect(HOST, port_of(listener), context=old)

    run(test)


# Files.


def test_files_that_do_not_serve_are_named(files: Files, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    other = make_files(tmp_path, "other")
    with pytest.raises(LocalProtocolError, match="cafile /nowhere: No such file"):
        client_context("/nowhere")
    with pytest.raises(LocalProtocolError, match=f"cafile {junk}"):
        client_context(str(junk))
    with pytest.raises(LocalProtocolError, match="certificate /nowhere: No such file"):
        server_context("/nowhere")
    with pytest.raises(LocalProtocolError, match=f"certificate {files.certificate} and key"):
        server_context(files.certificate, other.key)
    with pytest.raises(LocalProtocolError, match="without a certificate"):
        client_context(files.cafile, key=files.key)


def test_an_encrypted_key_is_refused_and_not_asked_about(files: Files, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(LocalProtocolError, match="encrypted"):
        server_context(files.certificate, str(locked))


# What comes over the wire.


def test_a_connection_that_ends_without_goodbye_may_lack_something(files: Files) -> None:
    async def test() -> None:
        listener, dial = await opened(files)
        async with listener, await dial() as left, await listener.accept() as right:
            await left.send(b"the first half")
            assert await right.receive() == b"the first half"
            assert isinstance(left, StreamLink)
            left._live.get_extra_info("socket").shutdown(socket.SHUT_WR)  # as another would
            with pytest.raises(LinkClosed, match="goodbye: something may be missing"):
                await right.receive()

    run(test)


def test_an_orderly_end_says_so(files: Files) -> None:
    async def test() -> None:
        listener, dial = await opened(files)
        async with listener, await dial() as left, await listener.accept() as right:
            left.close()
            with pytest.raises(LinkClosed, match=r"^the peer closed the connection$"):
                await right.receive()

    run(test)


def test_an_altered_record_ends_the_link_after_what_was_good(files: Files) -> None:
    async def test() -> None:
        listener, dial = await opened(files)
        async with listener, await dial() as left, await listener.accept() as right:
            assert isinstance(left, StreamLink)
            assert isinstance(right, StreamLink)
            assert left._cover is not None
            record = bytearray(left._cover.seal(LengthPrefix().encode(b"bad")))
            record[-1] ^= 1
            await left.send_batch([])  # nothing
            left._live.write(bytes(record))
            with pytest.raises(LinkClosed, match="TLS failed"):
                await right.receive()
            assert right.drops == {Damage.TLS_REFUSED: 1}

    run(test)


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff"])
def test_a_caller_who_speaks_no_tls_is_passed_over(files: Files, noise: bytes) -> None:
    async def test() -> None:
        listener, dial = await opened(files)
        assert isinstance(listener, calls.StreamListener)
        async with listener:
            with socket.create_connection((HOST, port_of(listener))) as caller:
                caller.send(noise)
                caller.shutdown(socket.SHUT_WR)
                await until(lambda: listener.failed == 1)
            async with await dial(), await listener.accept():
                pass

    run(test)


def test_a_server_that_speaks_no_tls_is_refused(files: Files) -> None:
    async def test() -> None:
        async with await tcp.listen(HOST, 0) as plain:
            calling = asyncio.create_task(
                tls.connect(HOST, port_of(plain), context=client_context(files.cafile))
            )
            async with await plain.accept() as link:
                await link.send(b"plain words")
                with pytest.raises(LinkClosed, match="TLS failed"):
                    await calling

    run(test)


def test_a_server_that_hangs_up_is_tried_again(files: Files) -> None:
    async def test() -> None:
        listener, _ = await opened(files)
        port = port_of(listener)
        listener.close()
        await listener.wait_closed()
        loop = asyncio.get_running_loop()
        with socket.create_server((HOST, port)) as rude:
            rude.setblocking(False)
            context = client_context(files.cafile)
            calling = asyncio.create_task(
                tls.connect(HOST, port, context=context, retries=-1, interval_s=0.01)
            )
            for _ in range(3):
                caller, _ = await loop.sock_accept(rude)
                caller.close()
        context = server_context(files.certificate, files.key)
        async with (
            await tls.listen(HOST, port, context=context) as again,
            await calling,
            await again.accept(),
        ):
            pass

    run(test)


def test_callers_who_never_finish_do_not_shut_the_others_out(files: Files) -> None:
    async def test() -> None:
        listener, dial = await opened(files)
        assert isinstance(listener, calls.StreamListener)
        with contextlib.ExitStack() as closing:
            async with listener:
                for _ in range(calls.MAX_OPENING + 20):
                    closing.enter_context(socket.create_connection((HOST, port_of(listener))))
                    await steps(3)
                await until(lambda: listener.failed == 20)  # the oldest
                assert len(listener._opening) == calls.MAX_OPENING
                async with await dial() as left, await listener.accept() as right:
                    await left.send(b"in spite of them")
                    assert await right.receive() == b"in spite of them"

    run(test)


def test_a_caller_has_a_limited_time(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "OPEN_S", 0.05)

    async def test() -> None:
        listener, _ = await opened(files)
        assert isinstance(listener, calls.StreamListener)
        async with listener:
            with socket.create_connection((HOST, port_of(listener))) as caller:
                await until(lambda: listener.failed == 1)
                caller.settimeout(30)
                with contextlib.suppress(ConnectionResetError):
                    assert caller.recv(1) == b""

    run(test)


# The cover itself: two of them, and bytes carried by hand.


def carry(client: TlsCover, server: TlsCover) -> None:
    """Let both say what they have, until neither has anything."""
    to_server, to_client = client.output(), b""
    while to_server or to_client:
        assert client.open_untrusted(to_client) == b""
        assert server.open_untrusted(to_server) == b""
        to_server, to_client = client.output(), server.output()


@given(parts=st.lists(st.binary(min_size=1, max_size=200), min_size=1), cut=st.integers(1, 97))
def test_bytes_pass_whatever_the_cut(files: Files, parts: list[bytes], cut: int) -> None:
    server = TlsCover(server_context(files.certificate, files.key))
    client = TlsCover(client_context(files.cafile), HOST)
    carry(client, server)
    data = b"".join(client.seal(part) for part in parts) + client.goodbye()
    plain = b"".join(server.open_untrusted(data[at : at + cut]) for at in range(0, len(data), cut))
    assert plain == b"".join(parts)
    assert server.ended
    assert server.failure is None
    # The other direction is open still.
    assert client.open_untrusted(server.seal(b"after")) == b"after"


@given(noise=st.binary(min_size=1, max_size=300))
def test_no_bytes_make_a_cover_raise(files: Files, noise: bytes) -> None:
    for cover in (
        TlsCover(server_context(files.certificate, files.key)),
        TlsCover(client_context(files.cafile), HOST),
    ):
        for byte in noise:
            assert cover.open_untrusted(bytes((byte,))) == b""
        assert not cover.ready
