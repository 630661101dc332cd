"""KMAC256: both libraries against NIST's samples and against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto import kmac
from chancel.crypto.kmac import Kmac256
from chancel.errors import LocalProtocolError

KEY = bytes(range(0x40, 0x60))
TAGGED = b"My Tagged Application"
SHORT = bytes(range(4))
LONG = bytes(range(200))

# NIST, "KMAC samples" to SP 800-185: samples 4, 5 and 6.
SAMPLES = [
    (
        SHORT,
        TAGGED,
        "20C570C31346F703C9AC36C61C03CB64C3970D0CFC787E9B79599D273A68D2F7"
        "F69D4CC3DE9D104A351689F27CF6F5951F0103F33F4F24871024D9C27773A8DD",
    ),
    (
        LONG,
        b"",
        "75358CF39E41494E949707927CEE0AF20A3FF553904C86B08F21CC414BCFD691"
        "589D27CF5E15369CBBFF8B9A4C2EB17800855D0235FF635DA82533EC6B759B69",
    ),
    (
        LONG,
        TAGGED,
        "B58618F71F92E1D56C1B8C55DDD7CD188B97B4CA4D99831EB2699A837DA2E4D9"
        "70FBACFDE50033AEA585F1A2708510C32D07880801BD182898FE476876FC8965",
    ),
]


def openssl() -> Kmac256:
    found = kmac.openssl()
    if found is None:
        pytest.skip("no OpenSSL 3: apt-get install libssl3")
    return found


@pytest.fixture(params=["openssl", "pycryptodome"])
def implementation(request: pytest.FixtureRequest) -> Kmac256:
    return openssl() if request.param == "openssl" else kmac.pycryptodome


@pytest.mark.parametrize(("data", "custom", "expected"), SAMPLES)
def test_nists_samples(implementation: Kmac256, data: bytes, custom: bytes, expected: str) -> None:
    assert implementation(KEY, data, 64, custom).hex().upper() == expected


@given(
    st.binary(min_size=32, max_size=200),
    st.binary(max_size=400),
    st.integers(8, 1500),
    st.binary(max_size=40),
)
def test_each_checks_the_other(key: bytes, data: bytes, size: int, custom: bytes) -> None:
    output = openssl()(key, data, size, custom)
    assert len(output) == size
    assert output == kmac.pycryptodome(key, data, size, custom)


@pytest.mark.parametrize("size", [1, 16, 32])
def test_the_size_is_an_input(size: int) -> None:
    assert openssl()(KEY, b"", size, b"") != openssl()(KEY, b"", size + 1, b"")[:size]


def test_any_buffer_will_do(implementation: Kmac256) -> None:
    expected = implementation(KEY, LONG, 32, TAGGED)
    for form in (bytearray, memoryview, lambda data: memoryview(bytearray(data))):
        assert implementation(form(KEY), form(LONG), 32, TAGGED) == expected
    every_other = memoryview(bytes(byte for key in KEY for byte in (key, 0)))[::2]
    assert implementation(every_other, LONG, 32, TAGGED) == expected


def test_a_refused_key_says_what_to_do(implementation: Kmac256) -> None:
    with pytest.raises(LocalProtocolError, match="OpenSSL"):
        implementation(b"abc", b"", 32, b"")


def test_a_short_key_needs_openssl() -> None:
    assert len(openssl()(bytes(16), b"", 16, b"SANCTUM.SHROUD.IDENTITY")) == 16
    with pytest.raises(LocalProtocolError, match=r"install OpenSSL 3"):
        kmac.pycryptodome(bytes(16), b"", 16, b"SANCTUM.SHROUD.IDENTITY")


def test_without_openssl_pycryptodome_steps_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmac, "LIBRARIES", ("libno-such-thing.so.0", "libc.so.6"))
    kmac.openssl.cache_clear()
    kmac.load.cache_clear()
    try:
        assert kmac.openssl() is None
        assert kmac.load() is kmac.pycryptodome
        assert kmac.kmac256(KEY, SHORT, 64, TAGGED).hex().upper() == SAMPLES[0][2]
    finally:
        kmac.openssl.cache_clear()
        kmac.load.cache_clear()
