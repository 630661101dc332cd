"""The reference's library through ``ctypes``, with the methods of our module.

``KYRKA`` names a clone of it in which ``make`` has been run; its archive is linked to something
that can be loaded, together with a clock that stands still until it is set.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKET = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)
_TOLD = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)

_CLOCK = """
#include <time.h>
struct timespec test_monotonic, test_wall;
int clock_gettime(clockid_t id, struct timespec *now)
{
    *now = id == CLOCK_REALTIME ? test_wall : test_monotonic;
    return 0;
}
"""


class _Packet(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_size_t),
        ("shroud", ctypes.c_uint32),
        ("data", ctypes.c_uint8 * 1628),
    )


class _Configuration(ctypes.Structure):
    _fields_ = (
        ("udata", ctypes.c_void_p),
        ("kek", ctypes.c_char_p),
        ("cosk", ctypes.c_char_p),
        ("secret", ctypes.c_char_p),
        ("flock_src", ctypes.c_uint64),
        ("flock_dst", ctypes.c_uint64),
        ("group", ctypes.c_uint16),
        ("tunnel", ctypes.c_uint16),
        ("identity", ctypes.c_uint32),
        ("hidden", ctypes.c_int),
        ("remembrance", ctypes.c_int),
        ("send", _PACKET),
    )


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_TYPE = ("type", ctypes.c_uint32)


class _Event(ctypes.Structure):
    _fields_ = (_TYPE,)


class _Keys(ctypes.Structure):
    _fields_ = (_TYPE, ("tx", ctypes.c_uint32), ("rx", ctypes.c_uint32))


class _Text(ctypes.Structure):
    _fields_ = (_TYPE, ("text", ctypes.c_char_p))


class _Peer(ctypes.Structure):
    _fields_ = (
        _TYPE,
        ("ip", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("flags", ctypes.c_uint32),
    )


class _Ambry(ctypes.Structure):
    _fields_ = (_TYPE, ("generation", ctypes.c_uint32))


class _Liturgy(ctypes.Structure):
    _fields_ = (_TYPE, ("peers", ctypes.c_uint8 * 255))


class _Remembrance(ctypes.Structure):
    _fields_ = (_TYPE, ("ips", ctypes.c_uint32 * 32), ("ports", ctypes.c_uint32 * 32))


def link(clone: Path, folder: Path) -> Path:
    """Make a loadable library of the archive. Needs a C compiler and libsodium."""
    library, clock = folder / "libkyrka-c.so", folder / "clock.c"
    clock.write_text(_CLOCK)
    archive = ["-Wl,--whole-archive", str(clone / "libkyrka.a"), "-Wl,--no-whole-archive"]
    command = ["cc", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", str(library), str(clock)]
    subprocess.run([*command, *archive, "-lsodium"], check=True, timeout=60)
    return library


class Library:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        for name in ("ctx_alloc", "packet_databuf", "packet_recvbuf", "packet_sendbuf"):
            getattr(self.c, f"kyrka_{name}").restype = ctypes.c_void_p
        self.c.kyrka_packet_data.restype = ctypes.c_void_p
        self.c.kyrka_last_error.restype = ctypes.c_uint32

    def set_clock(self, monotonic: float, wall: float) -> None:
        """What time it is to all of its contexts."""
        for name, now in (("test_monotonic", monotonic), ("test_wall", wall)):
            fraction, seconds = math.modf(now)
            clock = _Time.in_dll(self.c, name)
            clock.seconds, clock.nanoseconds = int(seconds), int(fraction * 1e9)

    def alloc(self) -> Context:
        """Make a context."""
        return Context(self)


class Context:
    """One context, until the process ends."""

    def __init__(self, library: Library) -> None:
        self._c = library.c
        self._on_event: Callable[..., object] = lambda *_: None
        self._on_heaven: Callable[..., object] = lambda *_: None
        self._on_purgatory: Callable[..., object] = lambda *_: None
        self._send: Callable[..., object] = lambda *_: None
        self._kept = (
            _TOLD(self._event),
            _PACKET(self._heaven),
            _PACKET(lambda packet, number, _: self._on_purgatory(self._sent(packet), number)),
            _PACKET(lambda packet, magic, _: self._send(self._sent(packet), magic)),
        )
        self._context = ctypes.c_void_p(self._c.kyrka_ctx_alloc(self._kept[0], None))
        self._do("heaven_ifc", self._kept[1], None)
        self._do("purgatory_ifc", self._kept[2], None)
        self._do("mtu_size", ctypes.c_uint16(1472))

    def event_callback(self, callback: Callable[..., object], udata: Any) -> None:
        self._on_event = lambda *arguments: callback(self, *arguments, udata)

    def heaven_callback(self, callback: Callable[..., object], udata: Any) -> None:
        self._on_heaven = lambda *arguments: callback(self, *arguments, udata)

    def purgatory_callback(self, callback: Callable[..., object], udata: Any) -> None:
        self._on_purgatory = lambda *arguments: callback(self, *arguments, udata)

    def secret_load(self, secret: bytes) -> bool:
        return self._load("secret_load", secret)

    def device_kek_load(self, key: bytes) -> bool:
        return self._load("device_kek_load", key)

    def cathedral_secret_load(self, secret: bytes) -> bool:
        return self._load("cathedral_secret_load", secret)

    def cathedral_cosk_load(self, key: bytes) -> bool:
        return self._load("cathedral_cosk_load", key)

    def shroud_enable(self) -> bool:
        return self._do("shroud_enable")

    def p2p_active(self, active: bool) -> bool:
        return self._do("p2p_active", ctypes.c_int(active))

    def key_manage(self) -> bool:
        return self._do("key_manage")

    def peer_timeout(self) -> bool:
        return self._do("peer_timeout")

    def heaven_input(self, data: bytes, destination: int = 2) -> bool:
        return self._input("heaven_input", "packet_databuf", data, destination)

    def purgatory_input(self, data: bytes, origin: int = 2) -> bool:
        return self._input("purgatory_input", "packet_recvbuf", data, origin)

    def cathedral_configure(self, **keywords: Any) -> None:
        send, udata = keywords.pop("send"), keywords.pop("udata", None)
        self._send = lambda data, magic: send(self, data, magic, udata)
        for path in ("kek", "cosk", "secret"):
            if path in keywords:
                keywords[path] = keywords[path].encode()
        configuration = _Configuration(send=self._kept[3], **keywords)
        self._do("cathedral_config", ctypes.byref(configuration))

    def cathedral_notify(self) -> bool:
        return self._do("cathedral_notify")

    def cathedral_nat_detection(self) -> bool:
        return self._do("cathedral_nat_detection")

    def cathedral_liturgy(self, peers: bytes | None = None) -> bool:
        return self._do("cathedral_liturgy", peers, ctypes.c_size_t(len(peers or b"")))

    def last_error(self) -> int:
        return int(self._c.kyrka_last_error(self._context))

    def _load(self, call: str, secret: bytes) -> bool:
        return self._do(call, secret, ctypes.c_size_t(len(secret)))

    def _input(self, call: str, place: str, data: bytes, selector: int) -> bool:
        packet, length = _Packet(), ctypes.c_size_t()
        where = self._c[f"kyrka_{place}"]
        where.restype = ctypes.c_void_p
        at = where(self._context, ctypes.byref(packet), ctypes.byref(length))
        ctypes.memmove(at, data, len(data))
        packet.length, packet.shroud = len(data), selector
        return self._do(call, ctypes.byref(packet))

    def _do(self, name: str, *arguments: Any) -> bool:
        if getattr(self._c, f"kyrka_{name}")(self._context, *arguments) != 0:
            raise RuntimeError(self.last_error())
        return True

    def _event(self, _: int, event: int, __: int) -> None:
        kind, read = _EVENTS[_Event.from_address(event).type]
        self._on_event(kind, read(event))

    def _heaven(self, packet: int, number: int, _: int) -> None:
        at = self._c.kyrka_packet_data(ctypes.c_void_p(packet))
        self._on_heaven(ctypes.string_at(at, _Packet.from_address(packet).length), number)

    def _sent(self, packet: int) -> bytes:
        length = ctypes.c_size_t()
        send = self._c.kyrka_packet_sendbuf
        at = send(self._context, ctypes.c_void_p(packet), ctypes.byref(length))
        return ctypes.string_at(at, length.value)


def _keys(event: int) -> dict[str, Any]:
    keys = _Keys.from_address(event)
    return {"tx": keys.tx, "rx": keys.rx}


def _text(name: str) -> Callable[[int], dict[str, Any]]:
    return lambda event: {name: _Text.from_address(event).text.decode()}


def _peer(event: int) -> dict[str, Any]:
    peer = _Peer.from_address(event)
    return {"ip": peer.ip, "port": peer.port, "flags": peer.flags}


def _remembrance(event: int) -> dict[str, Any]:
    told = _Remembrance.from_address(event)
    return {"ips": tuple(told.ips), "ports": tuple(told.ports)}


_EVENTS: dict[int, tuple[int | None, Callable[[int], dict[str, Any]]]] = {
    1: (1, _keys),
    2: (2, lambda _: {"reason": "keys erased"}),
    3: (3, _text("reason")),
    4: (4, _peer),
    5: (5, lambda event: {"ambry": _Ambry.from_address(event).generation}),
    6: (6, lambda event: {"peers": bytes(_Liturgy.from_address(event).peers)}),
    7: (7, _remembrance),
    8: (None, _text("logmsg")),
}
"""The number as our module has it, and how to read what comes with it."""
