"""Every error that direct mode can show: which exception, with which argument."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import libkyrka
from libkyrka import KYRKA
from tests.libkyrka.ends import SECRET, Clock, End, Ends, logged

CONFIGURATION: dict[str, Any] = {
    "send": print,
    "flock_src": 1 << 8,
    "flock_dst": 0,
    "identity": 1,
    "tunnel": 0x0102,
    "group": 0,
}


@pytest.fixture
def context() -> KYRKA:
    return libkyrka.alloc()


def refusal(call: Callable[..., object], *arguments: Any, **keywords: Any) -> object:
    """The only argument of the ``RuntimeError`` that the call raises."""
    with pytest.raises(RuntimeError) as caught:
        call(*arguments, **keywords)
    assert type(caught.value) is RuntimeError
    (argument,) = caught.value.args
    return argument


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("key_manage", (), 11),
        ("secret_load", (b"x",), 2),
        ("secret_load", (bytes(33),), 2),
        ("device_kek_load", (bytes(31),), 2),
        ("cathedral_secret_load", (b"",), 2),
        ("cathedral_cosk_load", (bytes(32),), 2),
        ("heaven_input", (b"a", 2), 8),
        ("heaven_input", (b"", 2), 2),
        ("heaven_input", (bytes(1500),), 8),
        ("heaven_input", (bytes(1501), 2), "heaven input too big"),
        ("purgatory_input", (b"", 2), 2),
        ("purgatory_input", (os.urandom(1500), 2), 9),
        ("purgatory_input", (bytes(1501), 2), "purgatory input too big"),
        ("purgatory_input", (b"KATEDRAL" + bytes(42),), 13),
        ("cathedral_notify", (), 12),
        ("cathedral_nat_detection", (), 12),
        ("cathedral_liturgy", (), 12),
        ("cathedral_liturgy", (bytes(255),), 12),
        ("cathedral_liturgy", (bytes(254),), 2),
        ("p2p_active", (2,), 2),
        ("mtu_size", (622,), 2),
        ("mtu_size", (1629,), 2),
        ("key_material_copy", (None,), 2),
        ("vicar_load", ("file", "x" * 256), 2),
        ("event_callback", (1, None), "object is a function"),
        ("heaven_callback", (None, None), "object is a function"),
        ("purgatory_callback", ("x", None), "object is a function"),
    ],
)
def test_codes(context: KYRKA, method: str, arguments: tuple[Any, ...], code: object) -> None:
    assert refusal(getattr(context, method), *arguments) == code
    if isinstance(code, int):
        assert context.last_error() == code


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("key_manage", (1,)),
        ("shroud_enable", (1,)),
        ("secret_load", ()),
        ("secret_load", ("str",)),
        ("secret_load", (None,)),
        ("secret_load_path", (b"path",)),
        ("secret_load_path", ()),
        ("heaven_input", ()),
        ("heaven_input", ("text", 2)),
        ("heaven_input", (b"a", "2")),
        ("heaven_input", (b"a", 2.0)),
        ("heaven_input", (b"a", 2, 3)),
        ("purgatory_input", (5, 2)),
        ("purgatory_input", (b"a", None)),
        ("event_callback", (print,)),
        ("heaven_callback", ()),
        ("purgatory_callback", (print, None, None)),
        ("p2p_active", ("yes",)),
        ("mtu_size", (1400.0,)),
        ("key_material_copy", (object(),)),
    ],
)
def test_arguments_of_the_wrong_kind(
    context: KYRKA, method: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(TypeError):
        getattr(context, method)(*arguments)


@pytest.mark.parametrize(
    ("method", "keyword"), [("heaven_input", "data"), ("secret_load", "secret")]
)
def test_arguments_have_no_names(context: KYRKA, method: str, keyword: str) -> None:
    with pytest.raises(TypeError):
        getattr(context, method)(**{keyword: bytes(32)})


def test_the_last_error_stays(context: KYRKA) -> None:
    refusal(context.key_manage)
    context.secret_load(SECRET)
    context.key_manage()
    assert context.last_error() == 11


class TestPaths:
    def test_the_first_bytes_are_used(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(SECRET + b"more")
        ends = Ends()
        assert ends.left.context.secret_load_path(str(path)) is True
        ends.up()

    def test_codes(self, context: KYRKA, tmp_path: Path) -> None:
        short, link, pipe = (tmp_path / name for name in ("short", "link", "pipe"))
        short.write_bytes(bytes(31))
        link.symlink_to(short)
        os.mkfifo(pipe)
        load = context.secret_load_path
        assert refusal(load, str(tmp_path / "missing")) == 1
        assert refusal(load, str(link)) == 1
        assert refusal(load, str(tmp_path)) == 5
        assert refusal(load, str(pipe)) == 5
        assert refusal(load, str(short)) == 6
        assert refusal(context.key_manage) == 11
        with pytest.raises(ValueError, match="null"):
            load("a\0b")

    def test_why_it_cant_be_opened_is_the_cause(self, context: KYRKA, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError) as caught:
            context.secret_load_path(str(tmp_path / "missing"))
        assert isinstance(caught.value.__cause__, FileNotFoundError)

    def test_a_short_file_is_logged(self, tmp_path: Path) -> None:
        end, path = End(Clock()), tmp_path / "short"
        path.write_bytes(b"")
        refusal(end.context.secret_load_path, str(path))
        assert end.told() == [logged(f"failed to read key '{path}'")]


class TestKeywords:
    """Those of ``cathedral_configure``."""

    def test_no_keywords(self, context: KYRKA) -> None:
        assert refusal(context.cathedral_configure) == "missing keywords"
        assert refusal(context.cathedral_configure, 1) == "missing keywords"

    @pytest.mark.parametrize("name", ["flock_src", "flock_dst", "identity", "tunnel", "group"])
    def test_integers(self, context: KYRKA, name: str) -> None:
        def configured(value: object) -> object:
            return refusal(context.cathedral_configure, **{**CONFIGURATION, name: value})

        without = {key: value for key, value in CONFIGURATION.items() if key != name}
        assert refusal(context.cathedral_configure, **without) == f"missing integer '{name}'"
        for value in (True, 1.0, "1", None):
            assert configured(value) == f"'{name}' not an integer"
        for number in (-1, 1 << 64):
            assert configured(number) == f"invalid integer '{name}'"

    @pytest.mark.parametrize(("name", "bits"), [("identity", 32), ("tunnel", 16), ("group", 16)])
    def test_ranges(self, context: KYRKA, name: str, bits: int) -> None:
        keywords = {**CONFIGURATION, name: 1 << bits}
        expected = f"integer 0x%lxout of range for uint{bits}"
        assert refusal(context.cathedral_configure, **keywords) == expected

    @pytest.mark.parametrize("name", ["flock_src", "tunnel", "identity"])
    def test_zeros(self, context: KYRKA, name: str) -> None:
        assert refusal(context.cathedral_configure, **{**CONFIGURATION, name: 0}) == 2
        assert context.last_error() == 2

    def test_order(self, context: KYRKA) -> None:
        keywords: dict[str, Any] = {"udata": None}
        for name in ("flock_src", "flock_dst", "identity", "tunnel", "group"):
            assert refusal(context.cathedral_configure, **keywords) == f"missing integer '{name}'"
            keywords[name] = 0
        assert refusal(context.cathedral_configure, **keywords) == "missing send keyword"
        keywords["send"] = 5
        assert refusal(context.cathedral_configure, **keywords) == "send argument not callable"
        keywords["send"] = print
        assert refusal(context.cathedral_configure, **keywords) == 2
