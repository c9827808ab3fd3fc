"""Opening files of an untrusted folder: a pipe would be waited for, and a link to a device read, for ever.

Text may begin with a byte-order mark, as editors and PowerShell on Windows write it; the mark is no part of the text.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def open_regular(path: Path) -> BufferedReader:
    """The file at ``path``, opened for reading.

    Raises:
        OSError: it cannot be opened, or is a folder, pipe, socket or device.
    """
    # O_NONBLOCK: opening a pipe that nobody writes to would wait.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bounded(path: Path, most: int) -> bytes:
    """All bytes of the file at ``path``.

    Raises:
        OSError: as for :func:`open_regular`, or it is longer than ``most`` bytes.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size <= most:
            content = file.read(most + 1)  # it may have grown since, and files of /proc call themselves empty
            if len(content) <= most:
                return content
    raise OSError(errno.EFBIG, f"larger than {most} bytes, expected a small file", str(path))


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text in ``content``: in the encoding that its byte-order mark names, UTF-8 without one.

    Args:
        content: of a whole file.
        errors: as for :meth:`bytes.decode`.

    Raises:
        UnicodeDecodeError: it is no such text.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors)
