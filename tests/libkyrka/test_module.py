"""The module's shape: names, values, the object, and what its methods take."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import libkyrka
from chancel.errors import LocalProtocolError
from tests.libkyrka.ends import SECRET, Clock, End, Ends

REFERENCE_CONSTANTS = {
    "KYRKA_CATHEDRAL_MAGIC": int.from_bytes(b"KATEDRAL", "big"),
    "KYRKA_CATHEDRAL_NAT_MAGIC": int.from_bytes(b"CIBORIUM", "big"),
    "KYRKA_CATHEDRAL_LITURGY_MAGIC": int.from_bytes(b"\0LITURGY", "big"),
    "KYRKA_CATHEDRALS_MAX": 32,
    "KYRKA_PEERS_PER_FLOCK": 255,
    "KYRKA_PACKET_SHROUD_PEER": 2,
    "KYRKA_PACKET_SHROUD_CATHEDRAL": 1,
    "KYRKA_ERROR_NONE": 0,
    "KYRKA_ERROR_NO_KEK": 10,
    "KYRKA_ERROR_SYSTEM": 1,
    "KYRKA_ERROR_INTERNAL": 6,
    "KYRKA_ERROR_PARAMETER": 2,
    "KYRKA_ERROR_INTEGRITY": 7,
    "KYRKA_ERROR_NO_TX_KEY": 8,
    "KYRKA_ERROR_NO_RX_KEY": 9,
    "KYRKA_ERROR_NO_SECRET": 11,
    "KYRKA_ERROR_NO_CONFIG": 12,
    "KYRKA_ERROR_FILE_ERROR": 5,
    "KYRKA_ERROR_NO_CALLBACK": 4,
    "KYRKA_ERROR_PACKET_ERROR": 14,
    "KYRKA_ERROR_CATHEDRAL_CONFIG": 13,
    "KYRKA_EVENT_KEYS_INFO": 1,
    "KYRKA_EVENT_KEYS_ERASED": 2,
    "KYRKA_EVENT_EXCHANGE_INFO": 3,
    "KYRKA_EVENT_PEER_DISCOVERY": 4,
    "KYRKA_EVENT_AMBRY_RECEIVED": 5,
    "KYRKA_EVENT_LITURGY_RECEIVED": 6,
    "KYRKA_EVENT_REMEMBRANCE_RECEIVED": 7,
}
ADDED_CONSTANTS = {
    "KYRKA_ERROR_NO_CONTEXT": 3,
    "KYRKA_ERROR_NO_COSK": 15,
    "KYRKA_ERROR_TIMEOUT": 16,
    "KYRKA_ERROR_SHROUD_NO_KEYS": 17,
    "KYRKA_ERROR_MTU_SIZE": 18,
    "KYRKA_EVENT_LOGMSG": 8,
    "KYRKA_INFO_FLAG_SAME_EXTERNAL_IPV4": 2,
    "KYRKA_PACKET_DATA_LEN": 1500,
    "KYRKA_PACKET_MAX_LEN": 1628,
    "KYRKA_API_VERSION": 2,
}
REFERENCE_METHODS = {
    "key_manage",
    "p2p_active",
    "shroud_enable",
    "secret_load",
    "secret_load_path",
    "device_kek_load",
    "cathedral_secret_load",
    "cathedral_cosk_load",
    "heaven_input",
    "purgatory_input",
    "cathedral_notify",
    "cathedral_nat_detection",
    "cathedral_configure",
    "event_callback",
    "heaven_callback",
    "purgatory_callback",
}
ADDED_METHODS = {
    "cathedral_liturgy",
    "drops",
    "key_material_copy",
    "last_error",
    "mtu_size",
    "peer_timeout",
    "vicar_load",
}

WITHOUT_LINUX = """
import sys
for name in ("fcntl", "pyroute2", "pyseccomp", "resource", "termios", "asyncio"):
    sys.modules[name] = None
import os, select
for module, names in ((os, ("register_at_fork", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "eventfd",
                            "memfd_create", "fork")), (select, ("epoll", "poll"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import libkyrka
context = libkyrka.alloc()
context.secret_load_path(sys.argv[1])
sent = []
context.purgatory_callback(lambda context, data, number, udata: sent.append(data), None)
context.key_manage()
context.key_manage()
assert len(sent) == 4
"""


def test_constants() -> None:
    names = [name for name in libkyrka.__all__ if name.startswith("KYRKA_")]
    constants = {name: getattr(libkyrka, name) for name in names}
    assert constants == REFERENCE_CONSTANTS | ADDED_CONSTANTS


def test_methods() -> None:
    public = {name for name in dir(libkyrka.alloc()) if not name.startswith("_")}
    assert public - {"check_process", "is_here"} == REFERENCE_METHODS | ADDED_METHODS


def test_the_version_is_a_text() -> None:
    assert libkyrka.version() == "chancel-0.1.0 (api:2)"


def test_the_object_is_made_by_alloc_alone() -> None:
    context = libkyrka.alloc()
    assert type(context).__name__ == "KYRKA"
    with pytest.raises(TypeError, match=r"^cannot create 'KYRKA' instances$"):
        type(context)()
    with pytest.raises(TypeError):
        libkyrka.alloc(1)  # type: ignore[call-arg]


def test_the_object_can_be_looked_at_first() -> None:
    assert hasattr(libkyrka.alloc(), "key_manage")
    assert repr(libkyrka.alloc()) == "<KYRKA tx=00000000 rx=00000000>"


@pytest.mark.parametrize(
    ("method", "arguments", "result"),
    [
        ("shroud_enable", (), True),
        ("secret_load", (bytes(32),), True),
        ("device_kek_load", (bytearray(32),), True),
        ("cathedral_secret_load", (memoryview(bytes(32)),), True),
        ("cathedral_cosk_load", (bytes(64),), True),
        ("p2p_active", (0,), True),
        ("p2p_active", (1,), True),
        ("p2p_active", (False,), True),
        ("p2p_active", (True,), True),
        ("mtu_size", (623,), True),
        ("mtu_size", (1628,), True),
        ("peer_timeout", (), True),
        ("event_callback", (print, None), None),
        ("heaven_callback", (print, None), None),
        ("purgatory_callback", (print, None), None),
        ("purgatory_input", (b"a", 2), True),
        ("purgatory_input", (b"a",), True),
        ("last_error", (), 0),
        ("drops", (), {}),
    ],
)
def test_results(method: str, arguments: tuple[Any, ...], result: object) -> None:
    assert getattr(libkyrka.alloc(), method)(*arguments) is result or result == {}


@pytest.mark.parametrize("method", ["event_callback", "heaven_callback", "purgatory_callback"])
def test_a_callback_may_be_replaced(method: str) -> None:
    context = libkyrka.alloc()
    for callback in (print, len):
        getattr(context, method)(callback, None)


def test_without_callbacks_nothing_is_called() -> None:
    context = libkyrka.alloc()
    context.secret_load(SECRET)
    for _ in range(2):
        assert context.key_manage() is True


def test_any_bytes_like_data_is_taken() -> None:
    ends = Ends().up()
    for data in (b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("I")):
        ends.left.context.heaven_input(data)
    for datagram, kind in zip(
        ends.left.drain(), (bytes, bytearray, memoryview, bytes), strict=True
    ):
        ends.right.context.purgatory_input(kind(datagram))
    assert ends.right.heard == [(b"abcd", number) for number in (2, 3, 4, 5)]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_context_is_never_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(LocalProtocolError, match="never copied"):
        duplicate(libkyrka.alloc())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_sends_nothing() -> None:
    """And the one it came from goes on."""
    ends = Ends().up()
    datagram = _sealed(ends.right)
    child = os.fork()
    if child == 0:
        os._exit(_count_refusals(ends.left, datagram))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    ends.talk()
    assert [len(end.heard) for end in ends.both] == [1, 1]


def _sealed(end: End) -> bytes:
    end.context.heaven_input(b"x")
    return end.drain()[0]


def _count_refusals(end: End, datagram: bytes) -> int:
    refused = 0
    context = end.context
    context.mtu_size(1400)
    calls: list[Callable[[], object]] = [
        lambda: context.heaven_input(b"x"),
        context.key_manage,
        lambda: context.purgatory_input(datagram),
    ]
    for call in calls:
        try:
            call()
        except LocalProtocolError:
            refused += not end.sent and not end.heard
    return refused


def test_no_linux_is_needed(tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    program = [sys.executable, "-c", WITHOUT_LINUX, str(secret)]
    subprocess.run(program, check=True, timeout=60)


def test_a_context_goes_with_its_last_reference() -> None:
    """And its secrets with it: no cycle keeps them until a collection."""
    ends = Ends().up()
    context, material = (
        weakref.ref(ends.left.context),
        weakref.ref(ends.left.context._material),
    )
    gc.disable()
    try:
        ends.left.context.event_callback(print, None)
        ends.left.context.heaven_callback(print, None)
        ends.left.context.purgatory_callback(print, None)
        del ends
        assert (context(), material()) == (None, None)
    finally:
        gc.enable()


def test_no_secret_in_what_can_be_printed() -> None:
    end = End(Clock())
    text = repr(end.context) + repr(end.context._material.__dict__) + repr(end.context._keys)
    assert SECRET.hex() not in text
    assert repr(SECRET) not in text
