"""Devices and cathedrals in a hurry with each other: ``python -m tests.e2e.hurried -c FILE``.

What they do takes a minute or two, nearly all of it spent on waiting for a turn. Here turns come
about three times as fast, on both sides alike; nothing else differs from ``chancel run -c FILE``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final, NoReturn

TIMERS: Final = {
    "chancel.protocol.registration_pace": {
        "INFO_INTERVAL_S": 2.0,
        "INFO_SPACING_S": 1.1,
        "SETTLED_S": 5.4,
    },
    "chancel.protocol.registration_silence": {"SILENCE_S": 15.0, "_SIGN_S": 5.0},
    "chancel.protocol.switch": {"AMBRY_PATIENCE_S": 4.0},
    "chancel.protocol.cathedral.federation": {"FEDERATE_S": 1.0},
    "chancel.protocol.cathedral.infos": {"REMEMBER_S": 5.0},
    "chancel.protocol.cathedral.tunnels": {"SETTLE_S": 5.0},
    "chancel.protocol.cathedral.removal": {"EXPIRY_S": 20.0},
    "chancel.cathedrald.settings": {"LOOK_INTERVAL_S": 2.0},
    "chancel.daemon.liturgy_roll": {"SILENT_S": 20.0, "LOOK_S": 2.0},
}
"""In this order: some modules take a number from one above them."""


def hurry() -> None:
    """Set the timers, before anything else has taken a number."""
    for name, timers in TIMERS.items():
        module = importlib.import_module(name)
        for timer, seconds in timers.items():
            if seconds >= getattr(module, timer):
                raise ValueError(f"{name}.{timer} is no hurry")
            setattr(module, timer, seconds)


def main(arguments: list[str]) -> NoReturn:
    """Be the daemon in this interpreter, and end with its exit status."""
    option, file = arguments
    if option != "-c":
        raise ValueError("usage: hurried -c FILE")
    hurry()
    from chancel.cathedrald import config
    from chancel.daemon import places, program
    from chancel.daemon.job import Job

    path = Path(file)
    package = "chancel.cathedrald" if config.is_cathedral(path) else "chancel.daemon"
    sys.argv[1:] = [Job((path,), places.runtime_dir()).to_json()]
    program.main(importlib.import_module(f"{package}.__main__").carry)


if __name__ == "__main__":
    main(sys.argv[1:])
