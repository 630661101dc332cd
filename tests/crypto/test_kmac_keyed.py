"""KMAC256 of many inputs under one key is KMAC256 of each."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto import kmac, kmac_keyed
from chancel.crypto.suite import KeyedKmac256
from chancel.crypto.system import SystemSuite
from chancel.errors import LocalProtocolError
from chancel.sim.suite import FastSuite

KEY = bytes(range(32))
LABEL = b"SANCTUM.SHROUD.KDF"


@given(
    st.binary(min_size=4, max_size=300),
    st.binary(max_size=40),
    st.integers(1, 5),
    st.integers(0, 200),
    st.integers(1, 1500),
)
def test_each_row_is_the_mac_of_its_input(
    key: bytes, custom: bytes, count: int, width: int, size: int
) -> None:
    found = kmac.openssl()
    if found is None:
        pytest.skip("no OpenSSL 3: apt-get install libssl3")
    keyed = kmac_keyed.keyed(key, custom)
    inputs = random.Random(width).randbytes(count * width)
    parts = [inputs[i * width : (i + 1) * width] for i in range(count)]
    expected = [found(key, part, size, custom) for part in parts]
    assert keyed.rows(inputs, count, size) == b"".join(expected)
    assert [keyed(part, size) for part in parts] == expected


@pytest.fixture(params=["system", "plain", "fast"])
def keyed(request: pytest.FixtureRequest) -> KeyedKmac256:
    if request.param == "plain":
        return kmac_keyed.Plain(kmac.pycryptodome, KEY, LABEL)
    suite = SystemSuite() if request.param == "system" else FastSuite(random.Random(1))
    return suite.keyed_kmac256(KEY, LABEL)


def test_of_any_buffer_and_in_any_order(keyed: KeyedKmac256) -> None:
    data = bytes(range(96))
    expected = keyed(data[:48], 70) + keyed(data[48:], 70)
    for form in (bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))):
        assert keyed.rows(form(data), 2, 70) == expected
    assert keyed(data[:48], 70) == expected[:70]


def test_the_key_is_taken_in_once() -> None:
    key = bytearray(KEY)
    keyed = kmac_keyed.keyed(key, LABEL)
    key[:] = bytes(32)
    assert keyed(b"data", 32) == kmac.kmac256(KEY, b"data", 32, LABEL)


def test_no_rows_are_nothing(keyed: KeyedKmac256) -> None:
    assert keyed.rows(b"", 0, 32) == b""


def test_what_openssl_refuses_says_so() -> None:
    with pytest.raises((LocalProtocolError, MemoryError, OverflowError)):
        kmac_keyed.keyed(KEY, LABEL)(b"", 1 << 62)


def test_contexts_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    keyed = kmac_keyed.keyed(KEY, LABEL)
    contexts = kmac_keyed._contexts()
    if contexts is None:
        pytest.skip("no OpenSSL 3: apt-get install libssl3")
    freed = []
    free = contexts.free

    def counted(context: int) -> None:
        freed.append(context)
        free(context)

    monkeypatch.setattr(contexts, "free", counted)
    del keyed
    assert len(set(freed)) == 2


def test_without_openssl_pycryptodome_steps_in(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = kmac_keyed.keyed(KEY, LABEL)(b"data", 48)
    caches = (kmac.openssl, kmac.load, kmac_keyed._contexts)
    monkeypatch.setattr(kmac, "LIBRARIES", ("libno-such-thing.so.0",))
    for cache in caches:
        cache.cache_clear()
    try:
        keyed = kmac_keyed.keyed(KEY, LABEL)
        assert isinstance(keyed, kmac_keyed.Plain)
        assert keyed(b"data", 48) == expected
    finally:
        for cache in caches:
            cache.cache_clear()
