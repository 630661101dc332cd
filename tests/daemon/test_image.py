"""What is shared at the fork: the files' pages that nobody needs go, and everything still works."""

from __future__ import annotations

import subprocess
import sys

from chancel.daemon.image import unwritten

SMAPS = """\
1000-3000 r-xp 00000000 fe:00 7 /usr/lib/libpython3.so
Rss:                   8 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
VmFlags: rd ex mr mw me
3000-4000 r--p 00002000 fe:00 7 /usr/lib/libpython3.so
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 7 /usr/lib/libpython3.so
Anonymous:             0 kB
5000-6000 r--p 00000000 fe:00 8 /usr/share/locale with spaces/LC_CTYPE
Anonymous:             0 kB
6000-7000 r--s 00000000 00:01 9 /memfd:board-bless (deleted)
Anonymous:             0 kB
7000-8000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
8000-9000 r--p 00000000 00:00 0
Anonymous:             0 kB
9000-a000 r--p 00000000 fe:00 5 /usr/bin/python3.11
Anonymous:             0 kB
"""

PROGRAM = """
import gc
from pathlib import Path
import numpy as np
from chancel.crypto.system import SystemSuite
from chancel.daemon import image

def file_kb():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "RssFile" in line)

before = file_kb()
image.settle()
after = file_kb()
suite = SystemSuite()
sealed = suite.aead(bytes(32)).encrypt(bytes(12), b"text", b"")
assert suite.aead(bytes(32)).decrypt(bytes(12), sealed, b"") == b"text"
assert suite.kmac256(bytes(32), b"", 32, b"") and np.arange(9).sum() == 36
assert gc.get_freeze_count() > 10_000
print(before, after)
"""


def test_only_what_stands_in_a_library_is_let_go() -> None:
    assert list(unwritten(SMAPS)) == [(0x1000, 0x3000), (0x9000, 0xA000)]


def test_a_kernel_that_counts_no_pages_has_none() -> None:
    assert list(unwritten("")) == []


def test_pages_that_only_the_start_needed_go_and_the_libraries_work_on() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    before, after = map(int, run.stdout.split())
    assert after < before / 2


def test_a_command_line_loads_no_numpy_before_it_becomes_the_daemon() -> None:
    """It costs a fifth of the whole start, and the daemon loads it itself."""
    program = "import sys, chancel.cli.run_command; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert run.stdout.strip() == b"False"
