"""Secrets in memory: masked, erased, never shown or copied."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable

import pytest

from chancel.errors import LocalProtocolError
from chancel.vault.secret import Secret, wipe

BYTES = bytes(range(32))


def buffers(secret: Secret) -> tuple[bytearray, bytearray]:
    return secret._masked, secret._pad


def test_revealed_only_within_the_block() -> None:
    secret = Secret(BYTES)
    with secret.reveal() as view:
        assert bytes(view) == BYTES
    assert bytes(view) == bytes(32)
    with secret.reveal() as view:
        assert bytes(view) == BYTES


def test_wiped_when_the_block_fails() -> None:
    revealing = Secret(BYTES).reveal()
    view = revealing.__enter__()
    assert not revealing.__exit__(KeyError, KeyError("within"), None)
    assert bytes(view) == bytes(32)


def test_at_rest_neither_buffer_is_the_secret() -> None:
    for buffer in buffers(Secret(BYTES)):
        assert BYTES[:8] not in buffer


def test_the_mask_is_new_each_time() -> None:
    assert buffers(Secret(BYTES)) != buffers(Secret(BYTES))


def test_erase_overwrites_and_refuses_use() -> None:
    secret = Secret(BYTES)
    kept = buffers(secret)
    secret.erase()
    secret.erase()
    assert not any(map(any, kept))
    assert repr(secret) == "<Secret erased>"
    with pytest.raises(LocalProtocolError, match="load it again"), secret.reveal():
        pass


def test_dropping_the_last_reference_erases_without_the_collector() -> None:
    secret = Secret(BYTES)
    kept = buffers(secret)
    gc.disable()
    try:
        del secret
        assert not any(map(any, kept))
    finally:
        gc.enable()


def test_never_printed() -> None:
    secret = Secret(b"swordfish")
    assert repr(secret) == str(secret) == f"{secret}" == "<Secret 9 bytes>"


@pytest.mark.parametrize("attempt", [copy.copy, copy.deepcopy, pickle.dumps])
def test_never_copied(attempt: Callable[[Secret], object]) -> None:
    with pytest.raises(LocalProtocolError, match="never copied"):
        attempt(Secret(BYTES))


def test_compared_by_content_on_request_only() -> None:
    secret = Secret(BYTES)
    assert secret.equals(Secret(bytearray(BYTES)))
    assert not secret.equals(Secret(BYTES[::-1]))
    assert not secret.equals(Secret(BYTES[:-1]))
    assert secret != Secret(BYTES)


def test_a_secret_is_true_and_has_a_length() -> None:
    assert Secret(b"")
    assert len(Secret(BYTES)) == 32


def test_wipe_works_in_place() -> None:
    buffer = bytearray(BYTES)
    wipe(memoryview(buffer)[:16])
    assert buffer == bytes(16) + BYTES[16:]
