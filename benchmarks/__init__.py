"""The figures Chancel promises, measured: ``make bench``, or ``python -m benchmarks``.

A *section* is a module here with one function ``run() -> Iterator[Result]``; ``SECTIONS`` names
them in the order of the table. What a section can't measure on this machine (a peer that isn't
installed) it reports as left out, so a gap is never mistaken for a good figure. The rules of
measuring are in ``docs/decisions/008-benchmarks.md``.
"""

from __future__ import annotations

SECTIONS = {
    "ambry": "benchmarks.ambry",
    "cathedral": "benchmarks.cathedral",
    "exchange": "benchmarks.exchange",
    "help": "benchmarks.startup",
    "kyrka": "benchmarks.kyrka",
    "library": "benchmarks.library",
    "meeting": "benchmarks.meeting",
    "startup": "benchmarks.group",
    "tunnel": "benchmarks.tunnel",
}
"""Name on the command line → module."""
