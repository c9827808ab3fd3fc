"""Which names a model file may mention. Nothing is imported either way, but who names ``os.system`` is no model."""

from __future__ import annotations

import re
import sys
from typing import Final

_DOTTED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_LONGEST: Final = 256

#: Top-level modules of Python 2 and of other Python 3 releases than the running one.
_OTHER_STDLIB: Final = frozenset(
    {
        "__builtin__", "BaseHTTPServer", "CGIHTTPServer", "ConfigParser", "Cookie", "Queue", "SimpleHTTPServer",
        "SocketServer", "StringIO", "Tkinter", "UserDict", "UserList", "UserString", "_winreg", "asynchat",
        "asyncore", "cPickle", "cStringIO", "cgi", "cgitb", "commands", "compiler", "copy_reg", "crypt",
        "distutils", "dl", "dummy_thread", "dummy_threading", "exceptions", "future_builtins", "httplib", "ihooks",
        "imp", "imputil", "lib2to3", "mailcap", "msilib", "msvcrt", "nis", "nntplib", "nt", "ntpath", "os2",
        "pipes", "popen2", "posix", "posixfile", "posixpath", "pty", "riscos", "rexec", "smtpd", "spwd",
        "telnetlib", "thread", "urllib2", "urlparse", "uu", "whichdb", "winreg", "xdrlib", "xmlrpclib",
    }
)  # fmt: skip
_STDLIB: Final = frozenset(sys.stdlib_module_names) | _OTHER_STDLIB

_BUILTIN_TYPES: Final = (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
    "slice", "str", "tuple",
)  # fmt: skip

#: The only standard-library names that a file may mention, each because real model files contain it.
ALLOWED_STDLIB: Final = frozenset(
    {
        *(f"builtins.{name}" for name in _BUILTIN_TYPES),
        "builtins.getattr",  # torch.tanh is pickled as getattr(torch._C._VariableFunctions, "tanh")
        "_codecs.encode",  # bytes in protocol 2
        "copyreg._reconstructor",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "collections.deque",
        "functools.partial",  # timm keeps its norm_layer this way
        "contextlib.nullcontext",  # a network of torch.compile carries one
        # plain data that checkpoints carry beside the weights
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        "decimal.Decimal",
        "fractions.Fraction",
        "types.SimpleNamespace",
        "uuid.UUID",
        # checkpoints made by training scripts carry their options
        "argparse.Namespace",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.WindowsPath",
        "pathlib.PureWindowsPath",
    }
)

_RENAMED: Final = {"__builtin__": "builtins", "copy_reg": "copyreg", "pathlib._local": "pathlib"}


def canonical(module: str, name: str) -> str:
    """``"module.name"`` with modules that Python renamed over the years under their present name."""
    if module == "__builtin__" and name in ("unicode", "xrange"):
        name = {"unicode": "str", "xrange": "range"}[name]
    return f"{_RENAMED.get(module, module)}.{name}"


def objection(module: str, name: str) -> str | None:
    """Why a file may not mention ``name`` of ``module``; ``None`` if it may. Linear in the (bounded) length."""
    if len(module) + len(name) > _LONGEST or not (_DOTTED.fullmatch(module) and _DOTTED.fullmatch(name)):
        return "a name that is not an importable Python name"
    parts = name.split(".")
    # A dotted name walks attributes: torch / os.system would reach os through a module that imported it.
    if (module.split(".")[0] in _STDLIB or any(part in _STDLIB for part in parts[:-1])) and (
        canonical(module, name) not in ALLOWED_STDLIB
    ):
        return f"names {module}.{name} of Python's standard library, which has no place in a model"
    # One leading pair of underscores is only private: NumPy's random generators are pickled as __generator_ctor.
    if any(part.startswith("__") and part.endswith("__") for part in parts):
        return f"names {module}.{name}, a Python internal"
    return None


def is_stdlib(path: str) -> bool:
    """Whether a global path such as ``collections.OrderedDict`` belongs to Python itself."""
    return path.split(".")[0] in _STDLIB
