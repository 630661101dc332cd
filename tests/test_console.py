"""The one line of an error: what is named in it, and that it is one."""

from __future__ import annotations

import errno
import os

import pytest

from chancel import console
from chancel.errors import ChancelError


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ChancelError("no luck"), "no luck"),
        (FileNotFoundError(errno.ENOENT, "gone", "a.conf"), "a.conf: gone"),
        (FileNotFoundError(errno.ENOENT, "gone", b"a\xff.conf"), "a\udcff.conf: gone"),
        (OSError(errno.EPERM, "setns: Operation not permitted"), "setns: Operation not permitted"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "File too large (see: ulimit -f)"),
        (OSError("libseccomp.so.2: file too short"), "libseccomp.so.2: file too short"),
    ],
)
def test_what_an_error_says(error: Exception, sentence: str) -> None:
    assert console.explain(error) == sentence


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain("name\nwith: no\n\n luck")
    assert capsys.readouterr().err == "chancel: name with: no luck\n"
