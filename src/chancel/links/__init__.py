"""Everything that moves bytes.

A **link** moves messages to and from one peer, a **port** moves datagrams to and from many
addresses, a **listener** brings a link for each peer that calls (``interface``). Transports are
modules of their own; an address string names one (``addresses``). ``conformance`` checks whether a
link or port of anybody keeps the rules.
"""
