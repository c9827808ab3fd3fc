"""Kinds of phases, one module each: a settings type, a function, and ``KIND``, which joins them."""
