"""Chancel with a shorter life of keys: ``python -m tests.interop.rekeying run -c FILE``.

A key lives 3500 s, which no test waits for. Either side may ask for new keys at any time, so a
Chancel that asks every few seconds shows how the reference follows, with everything else as it is.
"""

from __future__ import annotations

import dataclasses

from chancel.protocol import profile

REKEY_AGE_S = 8.0


def main() -> None:
    """Change the profiles before anybody imports them by name."""
    hurried = [
        dataclasses.replace(each, rekey_age_s=REKEY_AGE_S)
        for each in (profile.CURRENT, profile.V0_9)
    ]
    profile.CURRENT, profile.V0_9 = hurried  # type: ignore[misc]
    from chancel.cli.main import main as chancel

    chancel()


if __name__ == "__main__":
    main()
