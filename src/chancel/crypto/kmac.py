"""KMAC256 of NIST SP 800-185 in its fixed-length form, by the system's OpenSSL or pycryptodome.

``cryptography`` has no KMAC. OpenSSL 3 has (``EVP_MAC``), several times faster than pycryptodome
and with short keys, so it is used through ``ctypes`` where the system has it; pycryptodome refuses
keys under 32 and outputs under 8 bytes. Libraries are tried by name: ``ctypes.util.find_library``
runs a compiler or ``ldconfig``, which many images don't have, to learn the same.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Final

from Crypto.Hash import KMAC256

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer

Kmac256 = Callable[[Buffer, Buffer, int, bytes], bytes]

_LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.so.4", "libcrypto.3.dylib")
_UNSIGNED_INTEGER: Final = 2
_OCTET_STRING: Final = 5


def kmac256(key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
    """Return ``size`` bytes of KMAC256 (not of KMACXOF256) under the customization ``custom``.

    Output of another size is unrelated output. Raises ``LocalProtocolError`` for sizes that the
    library at hand refuses.
    """
    return load()(key, data, size, custom)


@functools.cache
def load() -> Kmac256:
    """Return the fastest implementation here; looks for it once per process."""
    return openssl() or pycryptodome


def pycryptodome(key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
    """:func:`kmac256` by pycryptodome."""
    try:
        mac = KMAC256.new(key=bytes(key), data=bytes(data), mac_len=size, custom=custom)
    except ValueError as error:
        raise LocalProtocolError(f"{error}: install OpenSSL 3 (libcrypto.so.3) for that") from error
    return mac.digest()


@functools.cache
def openssl() -> Kmac256 | None:
    """:func:`kmac256` by the system's OpenSSL 3, or ``None`` where there is none."""
    for name in _LIBRARIES:
        try:
            return _OpenSslKmac256(ctypes.CDLL(name))
        except (OSError, AttributeError, _NotOffered):
            continue
    return None


class _NotOffered(Exception):  # noqa: N818 - not an error: the next library is tried
    """This OpenSSL is configured without KMAC."""


class _Param(ctypes.Structure):
    """``OSSL_PARAM`` of openssl/core.h."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


_Params = _Param * 3


class _OpenSslKmac256:
    """The fetched algorithm, kept for the life of the process, and one context per call."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size_t = ctypes.c_void_p, ctypes.c_size_t

        def function(name: str, result: type | None, *arguments: type) -> Callable[..., int]:
            found: Callable[..., int] = getattr(library, name)
            found.restype, found.argtypes = result, arguments  # type: ignore[attr-defined]
            return found

        fetch = function("EVP_MAC_fetch", pointer, pointer, ctypes.c_char_p, ctypes.c_char_p)
        self._new = function("EVP_MAC_CTX_new", pointer, pointer)
        self._free = function("EVP_MAC_CTX_free", None, pointer)
        self._init = function("EVP_MAC_init", ctypes.c_int, pointer, pointer, size_t, pointer)
        self._update = function("EVP_MAC_update", ctypes.c_int, pointer, pointer, size_t)
        self._final = function(
            "EVP_MAC_final", ctypes.c_int, pointer, pointer, ctypes.POINTER(size_t), size_t
        )
        self._algorithm = fetch(None, b"KMAC-256", None)
        if not self._algorithm:
            raise _NotOffered

    def __call__(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        output = ctypes.create_string_buffer(size)
        wanted = ctypes.c_size_t(size)
        written = ctypes.c_size_t()
        params = _Params(
            _Param(b"custom", _OCTET_STRING, _address(custom), len(custom)),
            _Param(b"size", _UNSIGNED_INTEGER, ctypes.addressof(wanted), ctypes.sizeof(wanted)),
        )
        context = self._new(self._algorithm)
        try:
            done = (
                context
                and self._init(context, _view(key), len(key), params)
                and self._update(context, _view(data), len(data))
                and self._final(context, output, ctypes.byref(written), size)
            )
        finally:
            self._free(context)
        if not done or written.value != size:
            raise LocalProtocolError(
                f"OpenSSL refused KMAC256 with a key of {len(key)} bytes and {size} bytes of output"
            )
        return output.raw


def _address(data: bytes) -> int | None:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value


def _view(data: Buffer) -> bytes | ctypes.Array[ctypes.c_char]:
    """Hand over a buffer without a copy where ctypes can; a copy of a secret can't be erased."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, memoryview) and (data.readonly or not data.c_contiguous):
        return bytes(data)
    return (ctypes.c_char * len(data)).from_buffer(data)
