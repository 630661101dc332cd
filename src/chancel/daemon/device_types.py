"""What every kind of network device gives."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """An open device. ``fd`` is non-blocking and belongs to whoever opened it.

    ``frame_header`` stands between the virtio header and the IP packet, both ways. ``vnet``: frames
    begin with a virtio header; ``tso`` and ``uso``: trains of TCP, or of UDP, may come and be
    written. They are all False when offloads are off.
    """

    fd: int
    name: str
    frame_header: bytes
    vnet: bool
    tso: bool
    uso: bool
