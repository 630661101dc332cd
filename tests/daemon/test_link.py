"""Links: messages and descriptors between two processes, keys among them."""

from __future__ import annotations

import fcntl
import os
import socket

import pytest

from chancel.daemon.link import KeyLink, MessageLink, make_link
from chancel.errors import LinkClosed
from chancel.protocol.messages import (
    Command,
    EraseKeys,
    InstallCathedralMask,
    InstallMask,
    InstallReceiveKey,
    InstallSendKey,
    decode,
    encode,
)
from chancel.wire.types import Salt, SessionKey, Spi

COMMANDS: list[Command] = [
    InstallSendKey(Spi(0x01020304), Salt(b"salt"), SessionKey(bytes(range(32)))),
    InstallReceiveKey(Spi(0xFFFFFFFF), Salt(bytes(4)), SessionKey(bytes(32))),
    EraseKeys(),
    InstallMask(bytes(range(32))),
    InstallCathedralMask(bytes(range(32)), bytes(range(16)), ()),
    InstallCathedralMask(
        bytes(32),
        bytes(16),
        tuple(bytes((198, 51, 100, n)) for n in range(InstallCathedralMask.MAX_HOSTS)),
    ),
]


def messages() -> tuple[MessageLink, MessageLink]:
    ours, theirs = make_link()
    return MessageLink(ours), MessageLink(theirs)


def keys() -> tuple[KeyLink, KeyLink]:
    ours, theirs = make_link()
    return KeyLink(ours), KeyLink(theirs)


def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = messages()
    sent = [{"do": "add", "tunnel": i, "settings": {"long": "x" * 9000}} for i in range(5)]
    for message in sent:
        ours.send(message)
    assert [theirs.receive() for _ in sent] == [(message, []) for message in sent]
    assert theirs.receive() is None


def test_descriptors_travel_and_are_not_inherited() -> None:
    ours, theirs = messages()
    reading, writing = os.pipe()
    ours.send({"here": "it is"}, [writing])
    os.close(writing)
    received = theirs.receive(blocking=True)
    assert received is not None
    message, (fd,) = received
    assert message == {"here": "it is"}
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.write(fd, b"through it")
    assert os.read(reading, 100) == b"through it"
    os.close(fd)
    os.close(reading)


@pytest.mark.parametrize(
    "nonsense", [b"[]", b"null", b"{", b"\xff", b"[" * 5000, '{"a": 1}'.encode("utf-32-be")]
)
def test_what_is_no_object_stops_the_receiver(nonsense: bytes) -> None:
    ours, theirs = make_link()
    ours.send(nonsense)
    with pytest.raises(ValueError):
        MessageLink(theirs).receive()


def test_key_commands_arrive_with_their_tunnel() -> None:
    ours, theirs = keys()
    for tunnel, command in enumerate(COMMANDS):
        ours.send(tunnel * 255, command)
    received = [theirs.receive() for _ in COMMANDS]
    assert received == [(tunnel * 255, command) for tunnel, command in enumerate(COMMANDS)]
    assert theirs.receive() is None


@pytest.mark.parametrize(
    "nonsense", [b"\0\1", b"\0\1X", b"\0\1S" + bytes(39), b"\0\1Z" + bytes(40)]
)
def test_what_is_no_key_command_stops_the_receiver(nonsense: bytes) -> None:
    ours, theirs = make_link()
    ours.send(nonsense)
    with pytest.raises(ValueError, match="no key command"):
        KeyLink(theirs).receive()


def test_each_end_notices_that_the_other_is_gone() -> None:
    ours, theirs = messages()
    theirs.send({"last": "words"})
    theirs.close()
    assert ours.receive() == ({"last": "words"}, [])
    with pytest.raises(LinkClosed):
        ours.receive()
    with pytest.raises(LinkClosed):
        ours.send({})
    with pytest.raises(LinkClosed):
        ours.send({}, [0])


def test_unread_messages_do_not_hide_the_end() -> None:
    ours, theirs = messages()
    ours.send({"never": "read"})
    theirs.close()
    with pytest.raises(LinkClosed):
        ours.receive()


def test_a_key_link_notices_that_chapel_is_gone() -> None:
    chapel, bless = make_link()
    link = KeyLink(bless)
    assert link.fileno() == bless.fileno()
    chapel.close()
    with pytest.raises(LinkClosed):
        link.receive()
    with pytest.raises(LinkClosed):
        link.send(0, EraseKeys())


def test_boundaries_are_kept_by_the_kind_of_socket() -> None:
    ours, _ = make_link()
    assert ours.type == socket.SOCK_SEQPACKET


HOST = bytes((198, 51, 100, 1))
MASK = encode(InstallCathedralMask(bytes(32), bytes(16), (HOST, HOST)))


@pytest.mark.parametrize(
    "data",
    [
        MASK[:-1],
        MASK + b"x",
        MASK + HOST,
        MASK[:-4],
        MASK[:49] + bytes((1,)) + MASK[50:],
        MASK[:49] + bytes((65,)) + HOST * 65,
        MASK[:40],
        b"C",
    ],
)
def test_a_mask_for_cathedrals_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a key command"):
        decode(data)


def test_no_more_hosts_than_fit() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        encode(InstallCathedralMask(bytes(32), bytes(16), (HOST,) * 65))
