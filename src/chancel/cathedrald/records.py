"""What the cathedral's process writes on its board: counters, and how many are registered."""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from chancel.daemon.records import Record


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralRecord(Record):
    """How many tunnels and liturgies are registered here (local) and elsewhere (federated).

    Of what is relayed: packets that came and that went, and bytes that went; those of traffic, and
    of key exchanges (``offers``). ``in_`` and ``out_``: datagrams of any kind, bytes, and the
    system calls that moved them. ``error`` is the ``errno`` of the last send that the machine
    refused, ``broken`` holds the :class:`Offload` that was given up.
    """

    FORMAT: ClassVar[struct.Struct] = struct.Struct("=IIIIQQQQQQQQQQQQII")

    tunnels_local: int = 0
    tunnels_federated: int = 0
    liturgies_local: int = 0
    liturgies_federated: int = 0
    traffic_in: int = 0
    traffic_out: int = 0
    traffic_octets: int = 0
    offers_in: int = 0
    offers_out: int = 0
    offers_octets: int = 0
    in_datagrams: int = 0
    in_octets: int = 0
    in_calls: int = 0
    out_datagrams: int = 0
    out_octets: int = 0
    out_calls: int = 0
    error: int = 0
    broken: int = 0
