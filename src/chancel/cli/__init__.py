"""The command line: one program, ``chancel``, a thin layer over the floors below.

``main`` has the table of commands and turns errors into one line and an exit status; each command
has a module of its own, imported when it runs and not before.
"""
