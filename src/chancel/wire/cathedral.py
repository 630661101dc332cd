"""Offers to, from and between cathedrals, which relay for devices and find their peers.

The layout is that of peers' offers (``offer``), with other magics, the client's cathedral identity
in the SPI's place, and as extra bytes a signature or noise. The bodies (cathedral section 1.6) are
in modules of their own; which of them may come depends on who sends to whom. After a body there may
be anything: some clients leave what was there before, and sign it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from chancel.wire import offer
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.info import AnswerBody, InfoBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.remembrance import RemembranceBody

CATHEDRAL: Final = dataclasses.replace(offer.CURRENT, magic=b"KATEDRAL")
"""From a client to its cathedral, and back."""

NAT: Final = dataclasses.replace(offer.CURRENT, magic=b"CIBORIUM")
"""From a client to its cathedral's second port, so that both compare what its NAT does."""

FEDERATION: Final = dataclasses.replace(offer.CURRENT, magic=b"CATACOMB")
"""From a cathedral to another."""

Request = InfoBody | LiturgyBody
"""What a client says."""

Answer = AmbryBody | AnswerBody | LiturgyBody | RemembranceBody
"""What a cathedral says to a client."""

Federated = Request | PeerInfoBody
"""What a cathedral says to another: a client's request, as it was signed, or its own knowledge."""

REQUESTS: Final[Mapping[int, type[Request]]] = {
    InfoBody.TYPE: InfoBody,
    LiturgyBody.TYPE: LiturgyBody,
}
ANSWERS: Final[Mapping[int, type[Answer]]] = {
    AmbryBody.TYPE: AmbryBody,
    AnswerBody.TYPE: AnswerBody,
    LiturgyBody.TYPE: LiturgyBody,
    RemembranceBody.TYPE: RemembranceBody,
}
FEDERATED: Final[Mapping[int, type[Federated]]] = {**REQUESTS, PeerInfoBody.TYPE: PeerInfoBody}
