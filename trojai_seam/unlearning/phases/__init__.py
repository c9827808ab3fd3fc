"""Kinds of phases, one module each: a settings type, a function, and ``KIND``, which joins them.

Planning imports the module of a kind for its settings. A kind that default presets of rounds are made of must not
import torch with it: its work stands in ``NAME_work.py`` beside ``NAME.py``, whose function imports it when it is
called. So it is with ``train``, ``self-label`` and ``soft-tokens``; all others are whole in one module.
"""
