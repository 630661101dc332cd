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
from typing import Final, NamedTuple

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer

Kmac256 = Callable[[Buffer, Buffer, int, bytes], bytes]

MAX_FORMS: Final = 2048
"""Pairs of size and customization that are kept ready: the protocol has a dozen, and one for each
size that a masked datagram can have. Half a kilobyte each."""

LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.so.4", "libcrypto.3.dylib")
_NAME: Final = b"KMAC-256"
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
    return openssl() or _ready_pycryptodome()


def pycryptodome(key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
    """:func:`kmac256` by pycryptodome, which is loaded where it is used: it brings a C parser."""
    from Crypto.Hash import KMAC256

    try:
        mac = KMAC256.new(key=bytes(key), data=bytes(data), mac_len=size, custom=custom)
    except ValueError as error:
        raise LocalProtocolError(f"{error}: install OpenSSL 3 (libcrypto.so.3) for that") from error
    return mac.digest()


def _ready_pycryptodome() -> Kmac256:
    """With everything imported that it takes: a sandbox may follow."""
    pycryptodome(bytes(32), b"", 32, b"")
    return pycryptodome


@functools.cache
def openssl() -> Kmac256 | None:
    """:func:`kmac256` by the system's OpenSSL 3, or ``None`` where there is none."""
    for name in LIBRARIES:
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


class _Form(NamedTuple):
    """What all calls for one size and customization share; nothing in it is secret or changes."""

    parameters: ctypes.Array[_Param]
    kept: tuple[object, ...]
    """What the parameters point to."""


@functools.lru_cache(MAX_FORMS)
def _form(size: int, custom: bytes) -> _Form:
    wanted, label = ctypes.c_size_t(size), _label(custom)
    parameters = _Params(
        _Param(b"custom", _OCTET_STRING, ctypes.addressof(label), len(custom)),
        _Param(b"size", _UNSIGNED_INTEGER, ctypes.addressof(wanted), ctypes.sizeof(wanted)),
    )
    return _Form(parameters, (wanted, label))


@functools.cache
def _label(custom: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(custom, len(custom) + 1)


class _OpenSslKmac256:
    """One library call for each MAC, which makes a context, and zeroes and frees it, by itself.

    Several calls on a context of our own, even a duplicated one, were no faster; and a context that
    stays would keep the key. The fetched algorithm is held, so that each call finds it at once.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size_t, string = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
        fetch = library.EVP_MAC_fetch
        fetch.restype, fetch.argtypes = pointer, (pointer, string, string)
        self._algorithm = fetch(None, _NAME, None)
        if not self._algorithm:
            raise _NotOffered
        mac = library.EVP_Q_mac
        mac.restype = pointer
        mac.argtypes = (
            *(pointer, string, string, string, pointer),  # where and what to fetch; parameters
            *(pointer, size_t, pointer, size_t),  # key and data
            *(pointer, size_t, ctypes.POINTER(size_t)),  # output
        )
        self._mac = functools.partial(mac, None, _NAME, None, None)

    def __call__(self, key: Buffer, data: Buffer, size: int, custom: bytes) -> bytes:
        output = bytearray(size)  # an array of ctypes would be a new type for each size
        written = ctypes.c_size_t()
        done = self._mac(
            _form(size, custom).parameters,
            _view(key),
            len(key),
            _view(data),
            len(data),
            ctypes.byref(ctypes.c_char.from_buffer(output)) if size else None,
            size,
            ctypes.byref(written),
        )
        if not done or written.value != size:
            raise LocalProtocolError(
                f"OpenSSL refused KMAC256 with a key of {len(key)} bytes and {size} bytes of output"
            )
        return bytes(output)


def _view(data: Buffer) -> bytes | ctypes.Array[ctypes.c_char]:
    """Hand over a buffer without a copy where ctypes can; a copy of a secret can't be erased."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, memoryview) and (data.readonly or not data.c_contiguous):
        return bytes(data)
    return (ctypes.c_char * len(data)).from_buffer(data)
