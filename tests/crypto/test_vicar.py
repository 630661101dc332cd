"""Vicar files and Agelas against the reference's (vectors ``vicar``)."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.crypto import agelas, vicar
from chancel.crypto.agelas import Agelas, permuted
from chancel.crypto.vicar import FILE_BYTES, Vicar, seal, unseal
from chancel.errors import LocalProtocolError, VaultError
from chancel.wire.types import Address

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors/vicar.json").read_text()
)
FILES: list[dict[str, Any]] = VECTORS["vicar_files"]
needs_accelerator = pytest.mark.skipif(
    agelas.compiled() is None, reason="needs cargo: `make setup` builds chancel_accel"
)


@pytest.fixture(params=["python", "compiled"])
def turns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way of turning the stream."""
    if request.param == "python":
        monkeypatch.setattr(agelas, "compiled", lambda: None)
    elif agelas.compiled() is None:
        pytest.skip("needs cargo: `make setup` builds chancel_accel where it is found")
    return str(request.param)


def sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_permutation_is_that_of_sha3() -> None:
    block = bytearray(200)
    block[0], block[135] = 0x06, 0x80
    assert permuted(block)[:32] == hashlib.sha3_256(b"").digest()


@pytest.mark.parametrize("known", VECTORS["agelas"], ids=lambda each: str(len(each["plaintext"])))
def test_known_answers(known: dict[str, str], turns: str) -> None:
    for decrypt in (False, True):
        stream = Agelas(bytes.fromhex(known["key"]))
        if known["aad"]:
            stream.bind(bytes.fromhex(known["aad"]))
        texts = [bytearray.fromhex(known[name]) for name in ("plaintext", "ciphertext")]
        before, after = reversed(texts) if decrypt else texts
        (stream.decrypt if decrypt else stream.encrypt)(before)
        assert before == after
        assert stream.verify(bytes.fromhex(known["tag"]))


@given(st.lists(st.integers(0, 300), max_size=5))
def test_pieces_are_crypted_as_the_whole(sizes: list[int]) -> None:
    whole, pieces = Agelas(bytes(64)), Agelas(bytes(64))
    text = bytearray(sum(sizes))
    whole.encrypt(text)
    parts = [bytearray(size) for size in sizes]
    for part in parts:
        pieces.encrypt(part)
    assert b"".join(parts) == text
    assert pieces.tag() == whole.tag()


@needs_accelerator
@given(st.binary(max_size=700), st.booleans())
def test_the_compiled_turns_are_pythons(data: bytes, decrypt: bool) -> None:
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            stream, text = Agelas(bytes(range(64))), bytearray(data)
            (stream.decrypt if decrypt else stream.encrypt)(text)
            found.append((text, stream.tag()))
            patch.setattr(agelas, "compiled", lambda: None)
    assert found[0] == found[1]


@pytest.mark.parametrize("file", FILES, ids=lambda each: str(each["passphrase"]))
def test_the_walk_begins_as_the_references(
    file: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = file["kdf_intermediates"]
    expanded: list[bytes] = []
    shake_256 = hashlib.shake_256

    def listening(data: bytes) -> object:
        expanded.append(data)
        return shake_256(data)

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "shake_256", listening)
        memory, _, pattern = vicar.begin(file["passphrase"].encode(), bytes.fromhex(file["salt"]))
    _words, *halves = expanded
    seed = b"".join(halves)
    assert sha256(seed) == known["seed512_sha256"]
    assert seed[:32].hex() == known["seed512_first32"]
    assert pattern[:8] == known["access_pattern_first8"]
    assert pattern[-1] == known["access_pattern_last"]
    assert sha256(memory) == known["mem_after_shake_sha256"]


@needs_accelerator
def test_the_walk_goes_on_as_the_references() -> None:
    known = FILES[0]["kdf_intermediates"]
    words, salt = FILES[0]["passphrase"].encode(), bytes.fromhex(FILES[0]["salt"])
    memory, stream, pattern = vicar.begin(words, salt)
    stream.encrypt(memory)
    assert sha256(memory) == known["mem_after_first_encrypt_sha256"]
    for number, step in enumerate(pattern):
        vicar.walk(memory, stream, number, step)
        if number == 0:
            assert sha256(memory) == known["mem_after_iteration_0_sha256"]
    assert sha256(memory) == known["mem_final_sha256"]


@needs_accelerator
@pytest.mark.parametrize("file", FILES, ids=lambda each: str(each["passphrase"]))
def test_the_references_files_open_and_come_out_the_same(
    file: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    keys: list[str] = []
    derive = vicar.derive

    def listening(*arguments: Any) -> bytes:
        key = derive(*arguments)
        keys.append(key.hex())
        return key

    monkeypatch.setattr(vicar, "derive", listening)
    data, words = base64.b64decode(file["file_base64"]), file["passphrase"].encode()
    content = unseal(data, words, told.append)
    assert content is not None
    assert content.encode().hex() == file["plaintext"]
    assert f"{content.flock:016x}" == file["fields"]["flock"]
    assert seal(content, words, bytes.fromhex(file["salt"])) == data
    assert keys == [file["kdf_intermediates"]["okm"]] * 2
    assert told == sorted(told)
    assert told[-1] == vicar.ROUNDS


@needs_accelerator
def test_a_wrong_passphrase_opens_nothing() -> None:
    wrong = VECTORS["wrong_passphrase"]
    data = base64.b64decode(FILES[wrong["file"]]["file_base64"])
    assert unseal(data, wrong["passphrase"].encode()) is None


def test_without_the_accelerator_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vicar, "compiled", lambda: None)
    with pytest.raises(VaultError, match="half an hour"):
        unseal(bytes(FILE_BYTES), b"words")


@pytest.mark.parametrize(
    "change",
    [
        {"identity": 1 << 32},
        {"flock": -1},
        {"tunnel": 1 << 16},
        {"cathedral": Address("::1", 1)},
        {"cathedral": Address("192.0.2.1", 1 << 16)},
        {"kek": bytes(31)},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    content = Vicar(1, 2, 3, Address("192.0.2.1", 1), bytes(32), bytes(64), bytes(32))
    assert Vicar.decode(content.encode()) == content
    with pytest.raises(LocalProtocolError):
        dataclasses.replace(content, **change).encode()


def test_a_long_passphrase_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="255"):
        vicar.begin(bytes(256), bytes(32))
