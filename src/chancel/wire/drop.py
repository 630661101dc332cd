"""The reasons for which a packet is dropped.

One enum for everything: the member is the counter's label, the trace's word and the test's
assertion. The order of members is the order of counters on the board (``chancel.daemon.board``), so
new members are appended within their group only together with a change of the board's layout.
"""

from __future__ import annotations

import enum


class Drop(enum.StrEnum):
    """Why a packet was dropped. Members are grouped by the place where it happens."""

    # A datagram from the network, before any key is involved (protocol section 2).
    TOO_SHORT = "too-short"
    TOO_LONG = "too-long"
    ZERO_SPI = "zero-spi"

    # A datagram that is masked, or should be (section 12.2).
    BAD_MASK = "bad-mask"
    NO_MASK = "no-mask"

    # A traffic packet (section 3.3).
    UNKNOWN_SPI = "unknown-spi"
    SEQUENCE_MISMATCH = "sequence-mismatch"
    FLOCK_MISMATCH = "flock-mismatch"
    DUPLICATE = "duplicate"
    TOO_OLD = "too-old"
    BAD_TAG = "bad-tag"
    RESERVED_NOT_ZERO = "reserved-not-zero"
    UNKNOWN_NEXT = "unknown-next"

    # A grace: a control message inside the tunnel (section 11).
    GRACE_TOO_SHORT = "grace-too-short"
    GRACE_UNKNOWN = "grace-unknown"
    GRACE_SIZE = "grace-size"

    # An offer: a key exchange packet (sections 4 and 7.3).
    OFFER_TOO_SHORT = "offer-too-short"
    OFFER_TOO_LONG = "offer-too-long"
    OFFER_BAD_TAG = "offer-bad-tag"
    OFFER_TIME = "offer-time"
    OFFER_TYPE = "offer-type"
    OFFER_OWN_ID = "offer-own-id"
    OFFER_ZERO_SPI = "offer-zero-spi"
    OFFER_STATE = "offer-state"
    OFFER_FRAGMENT_RANGE = "offer-fragment-range"
    OFFER_FRAGMENT_SEEN = "offer-fragment-seen"
    OFFER_ALREADY_DONE = "offer-already-done"
    OFFER_WRONG_SPI = "offer-wrong-spi"
    OFFER_UNEXPECTED = "offer-unexpected"
    OFFER_WEAK_KEY = "offer-weak-key"
    OFFER_LIMIT = "offer-limit"
    NO_SECRET = "no-secret"  # noqa: S105 - a reason, not a password

    # An offer to, from or between cathedrals, or the ambry in it (cathedral sections 1.7, 2.4 and
    # 8.5).
    OFFER_SIGNATURE = "offer-signature"
    OFFER_IDENTITY = "offer-identity"
    AMBRY_TUNNEL = "ambry-tunnel"
    AMBRY_BAD_TAG = "ambry-bad-tag"
    AMBRY_EXPIRED = "ambry-expired"

    # What comes from a cathedral, at its client (sections 2.4, 7.4 and 8.5).
    CATHEDRAL_SOURCE = "cathedral-source"
    AMBRY_UNWANTED = "ambry-unwanted"
    AMBRY_REPEATED = "ambry-repeated"
    REMEMBRANCE_UNWANTED = "remembrance-unwanted"
    LITURGY_GROUP = "liturgy-group"

    # At a cathedral (sections 4, 5 and 9.3).
    SHROUD_UNKNOWN = "shroud-unknown"
    FEDERATION_SOURCE = "federation-source"
    FLOCK_UNKNOWN = "flock-unknown"
    FLOCKS_APART = "flocks-apart"
    CLIENT_UNKNOWN = "client-unknown"
    DEVICE_NOT_ALLOWED = "device-not-allowed"
    TUNNEL_UNKNOWN = "tunnel-unknown"
    SPI_UNKNOWN = "spi-unknown"
    OFFER_REPLAYED = "offer-replayed"
    SOURCE_LIMIT = "source-limit"
    TABLE_LIMIT = "table-limit"
    BANDWIDTH = "bandwidth"

    # An authentic inner packet that the filter refuses (section 3.4), or one of no length that can
    # be (section 12.1).
    INNER_TOO_SHORT = "inner-too-short"
    INNER_VERSION = "inner-version"
    INNER_PROTOCOL = "inner-protocol"
    INNER_ADDRESS = "inner-address"
    INNER_ETHERTYPE = "inner-ethertype"
    TFC_LENGTH = "tfc-length"

    # On the way out.
    NO_KEY = "no-key"
    KEY_EXPIRED = "key-expired"
    NO_PEER = "no-peer"
    SEND_TOO_LARGE = "send-too-large"
    SEND_FAILED = "send-failed"
    DEVICE_READ_SHORT = "device-read-short"
    DEVICE_READ_LONG = "device-read-long"
    DEVICE_WRITE_FAILED = "device-write-failed"
