"""Tools: programs that make or look at files, and talk to nobody.

They stand above the hosts, as applications do, and bring no floor of their own: layouts, keys and
secrets are those of ``wire``, ``crypto`` and ``vault``.
"""
