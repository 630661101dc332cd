"""The reference's library through ``ctypes``, with the methods of our module.

``KYRKA`` names a clone of it in which ``make`` has been run; its archive is linked to something
that can be loaded.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SENT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)
_TOLD = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_LOGMSG, _EXCHANGE_INFO, _KEYS_ERASED, _KEYS_INFO = 8, 3, 2, 1


class _Packet(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_size_t),
        ("shroud", ctypes.c_uint32),
        ("data", ctypes.c_uint8 * 1628),
    )


class _Keys(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32), ("tx", ctypes.c_uint32), ("rx", ctypes.c_uint32))


class _Text(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32), ("text", ctypes.c_char_p))


def link(clone: Path, folder: Path) -> Path:
    """Make a loadable library of the archive. Needs a C compiler and libsodium."""
    library = folder / "libkyrka-c.so"
    archive = ["-Wl,--whole-archive", str(clone / "libkyrka.a"), "-Wl,--no-whole-archive"]
    command = ["cc", "-shared", "-o", str(library), *archive, "-lsodium"]
    subprocess.run(command, check=True, timeout=60)
    return library


class Library:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        for name in ("ctx_alloc", "packet_databuf", "packet_recvbuf", "packet_sendbuf"):
            getattr(self.c, f"kyrka_{name}").restype = ctypes.c_void_p
        self.c.kyrka_packet_data.restype = ctypes.c_void_p
        self.c.kyrka_last_error.restype = ctypes.c_uint32

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
        self._kept = (_TOLD(self._event), _SENT(self._heaven), _SENT(self._purgatory))
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
        return self._do("secret_load", secret, ctypes.c_size_t(len(secret)))

    def shroud_enable(self) -> bool:
        return self._do("shroud_enable")

    def key_manage(self) -> bool:
        return self._do("key_manage")

    def peer_timeout(self) -> bool:
        return self._do("peer_timeout")

    def heaven_input(self, data: bytes, destination: int = 2) -> bool:
        return self._input("heaven_input", "packet_databuf", data, destination)

    def purgatory_input(self, data: bytes, origin: int = 2) -> bool:
        return self._input("purgatory_input", "packet_recvbuf", data, origin)

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
            raise RuntimeError(self._c.kyrka_last_error(self._context))
        return True

    def _event(self, _: int, event: int, __: int) -> None:
        kind = _Keys.from_address(event).type
        if kind == _KEYS_INFO:
            keys = _Keys.from_address(event)
            self._on_event(kind, {"tx": keys.tx, "rx": keys.rx})
        elif kind == _EXCHANGE_INFO:
            self._on_event(kind, {"reason": _Text.from_address(event).text.decode()})
        elif kind == _LOGMSG:
            self._on_event(None, {"logmsg": _Text.from_address(event).text.decode()})
        elif kind == _KEYS_ERASED:
            self._on_event(kind, {"reason": "keys erased"})

    def _heaven(self, packet: int, number: int, _: int) -> None:
        at = self._c.kyrka_packet_data(ctypes.c_void_p(packet))
        self._on_heaven(ctypes.string_at(at, _Packet.from_address(packet).length), number)

    def _purgatory(self, packet: int, number: int, _: int) -> None:
        length = ctypes.c_size_t()
        send = self._c.kyrka_packet_sendbuf
        at = send(self._context, ctypes.c_void_p(packet), ctypes.byref(length))
        self._on_purgatory(ctypes.string_at(at, length.value), number)
