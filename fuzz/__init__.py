"""Fuzzing: ``make fuzz``, or ``python -m fuzz``.

A *target* is a module of ``fuzz.targets``. The first sentence of its docstring is the invariant;
``check(data)`` raises whatever there is to raise when some bytes break it, and ``seeds()`` gives
inputs to begin with, made by our own encoders. A target gives the same verdict on the same bytes,
so that a finding can be reproduced.

Two *engines* look for such bytes: ``coverage`` (atheris, which knows what an input reached) where
that is installed, ``random`` (mutations of the corpus) everywhere else and in the test suite. The
*corpus* is one text file for each target, ``corpus/NAME.hex``, an input on each line.

What a person, a program and the network can throw at a whole running group is thrown by the
*campaign* (``make fuzz ARGS=campaign``).
"""
