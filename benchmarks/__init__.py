"""The figures Chancel promises, measured: ``make bench``, or ``python -m benchmarks``.

A *section* is a module here with one function ``run``, which yields results, and steps for who
watches; ``SECTIONS`` names them in the order of the run. Those in ``PACED`` take a ``Pace``. What a
section can't measure on this machine (a peer that isn't installed) it reports as left out, so a gap
is never mistaken for a good figure. The rules of measuring are in
``docs/decisions/008-benchmarks.md``.

Reading order: ``result``, ``vpns`` and ``wireguard`` (who takes part), ``ends`` (two hosts and a
tunnel), ``loads`` (the traffic), ``workloads`` (what is measured of it), ``carrying``, ``turns``,
``tunnel`` and ``targets``; then ``layout``, ``table`` and ``page`` (what people read), ``plot``,
``saved``. What a person wrote of the page is in ``page.md``, and why races aren't won in
``races.md``.
"""

from __future__ import annotations

SECTIONS = {
    "tunnel": "benchmarks.tunnel",
    "tunnels": "benchmarks.tunnels",
    "idle": "benchmarks.idle",
    "startup": "benchmarks.group",
    "relaying": "benchmarks.relaying",
    "cathedral": "benchmarks.cathedral",
    "meeting": "benchmarks.meeting",
    "liturgy": "benchmarks.liturgy",
    "exchange": "benchmarks.exchange",
    "library": "benchmarks.library",
    "kyrka": "benchmarks.kyrka",
    "ambry": "benchmarks.ambry",
    "help": "benchmarks.startup",
}
"""Name on the command line → module."""

PACED = {"tunnel", "tunnels", "relaying", "cathedral", "meeting"}
