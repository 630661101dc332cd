"""``vicar_load``: secrets out of a vicar file (kyrka section 7)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import libkyrka
from chancel.crypto import agelas
from libkyrka.material import Kind
from tests.libkyrka.test_refusals import refusal

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "vicar.json").read_text()
)
FILE: dict[str, Any] = VECTORS["vicar_files"][1]
needs_accelerator = pytest.mark.skipif(
    agelas.compiled() is None, reason="needs cargo: `make setup` builds chancel_accel"
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(tmp_path, FILE)


def written(folder: Path, file: dict[str, Any]) -> str:
    path = folder / "device.vicar"
    path.write_bytes(base64.b64decode(file["file_base64"]))
    return str(path)


@needs_accelerator
@pytest.mark.parametrize("file", VECTORS["vicar_files"], ids=lambda each: str(each["passphrase"]))
def test_a_file_is_loaded(tmp_path: Path, file: dict[str, Any]) -> None:
    context = libkyrka.alloc()
    result = file["library_result"]
    assert context.vicar_load(written(tmp_path, file), file["passphrase"]) == {
        name: int(result[name], 16) for name in ("identity", "flock_src", "tunnel")
    }
    for kind, name in (
        (Kind.CATHEDRAL, "cathedral_secret"),
        (Kind.DEVICE_KEK, "kek"),
        (Kind.COSK, "cosk"),
    ):
        with context._material.get(kind).reveal() as secret:
            assert bytes(secret).hex() == file["fields"][name]


@needs_accelerator
def test_a_wrong_passphrase_loads_nothing(path: str) -> None:
    context = libkyrka.alloc()
    assert refusal(context.vicar_load, path, "wrong") == 7
    assert Kind.COSK not in context._material


def test_files_that_are_none(path: str, tmp_path: Path) -> None:
    context = libkyrka.alloc()
    (tmp_path / "link").symlink_to(path)
    assert refusal(context.vicar_load, str(tmp_path / "none"), "") == 1
    assert refusal(context.vicar_load, str(tmp_path / "link"), "") == 1
    assert refusal(context.vicar_load, str(tmp_path), "") == 5
    for size in (215, 217):
        Path(path).write_bytes(bytes(size))
        assert refusal(context.vicar_load, path, "") == 5
