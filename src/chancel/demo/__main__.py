"""``python -m chancel.demo``: the demonstration with its picture in ``out``."""

import sys
from pathlib import Path

from chancel.demo import run
from chancel.errors import ChancelError

try:
    run(Path("out"))
except ChancelError as error:
    print(f"chancel: {error}", file=sys.stderr)
    sys.exit(1)
