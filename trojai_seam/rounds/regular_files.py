"""Opening files of an untrusted folder: a pipe would be waited for, and a link to a device read, for ever."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


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
