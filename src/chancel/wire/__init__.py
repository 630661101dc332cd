"""What the bytes on the wire are: layouts as typed values, with strict encoders and decoders.

A *datagram* (one UDP payload) is either **traffic** (``traffic``: a sealed inner packet, named by
its SPI) or an **offer** (``offer``: one encrypted fragment of a key exchange, named by its magic);
``datagram`` tells them apart. A traffic packet carries an inner packet or a **grace** (``grace``: a
control message inside the tunnel). A **flock** is a network id that both peers must agree on; an
**SPI** names the key a packet was sealed with. ``cathedral`` has the offers to, from and between
cathedrals (discovery and relay servers), and ``info``, ``peer_info``, ``liturgy``, ``remembrance``
and ``ambry_offer`` what they say. ``drop`` has every reason to refuse a packet and ``types`` the
numbers and byte strings that must not be confused.

Nothing here knows keys, time or state. Encoders take values that are right and raise
:class:`chancel.errors.LocalProtocolError` where a value doesn't fit its field; decoders take bytes
from strangers and raise :class:`chancel.errors.RemoteProtocolError` only.
"""
