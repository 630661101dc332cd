"""A configuration file is taken or refused by one ConfigError: one line, short and printable.

Whatever bytes a person's file, or a descriptor handed over a control socket, may hold.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chancel.daemon import config
from chancel.errors import ConfigError

_MOST_CHARS = 600
_MOST_PATH_CHARS = 6 * 4096
"""A path is repeated whole, and each byte of it that is no text takes six characters."""

_FOLDER = tempfile.TemporaryDirectory(prefix="chancel-fuzz-")
_SECRET = Path(_FOLDER.name) / "key"
_SECRET.touch(mode=0o600)
_SECRET.write_bytes(bytes(range(32)))

_PLACE = b"@SECRET@"
"""Stands for the path of a good secret, so that inputs don't name this machine's folders."""


def check(data: bytes) -> None:
    text = data.replace(_PLACE, os.fsencode(_SECRET)).decode(errors="surrogateescape")
    try:
        parsed = config.parse(text, "fuzz.conf")
        config.check_group([parsed])
    except ConfigError as error:
        said = str(error)
        assert said.startswith("fuzz.conf")
        assert "(expected" in said
        about_path = error.directive in {"secret", "encapsulation"}
        assert len(said) <= _MOST_CHARS + _MOST_PATH_CHARS * about_path
        assert said.isprintable(), said
        return
    assert parsed.instance
    assert parsed.mtu > 0


def seeds() -> Iterator[bytes]:
    for name, file in _FILES.items():
        head = f"instance {name}\nsecret ".encode() + _PLACE
        yield head + b"\n" + file.encode()
    yield b"peer\xff 1.2.3.4:5\n"
    yield b"instance a\nsecret /\xed\xa0\x80/\x1b[31m\n"


_FILES = {
    "plain": "tunnel 10.77.0.1/30 auto\npeer 192.0.2.1:2333\nlocal 0.0.0.0:2333\nmode tunnel\n",
    "routed": "tunnel 10.77.0.1/30 1400\nroute 10.88.0.0/24\naccept 10.9.0.0/16\nrun bless as u\n",
    "masked": "tunnel 10.77.0.1/30 1373\nshroud yes\ntfc on\npeer auto\nspi 0x1234\n",
    "tap": "tap yes\nbridge br0\ntunnel 0.0.0.0/0 1400\ncathedral_flock deadbeef\n",
    "pilgrim": "mode pilgrim\ntunnel 10.77.0.1/30 1400\npeer 192.0.2.1:2333\n",
    "shrine": "mode shrine\ntunnel 10.77.0.1/30 1400\nlocal 192.0.2.1:2333\n",
    "six": "tunnel 10.77.0.1/30 1400\ntunnel6 fd00::1/64\nroute fd01::/64\npeer [fd02::1]:2333\n",
    "legacy": "profile 0.9\nencapsulation /nowhere\ntunnel 10.77.0.1/30 1400\npidfile /run/x.pid\n",
    "control": "tunnel 10.77.0.1/30 1400\ncontrol /run/c root\ndescr x\noffload off\n",
}
