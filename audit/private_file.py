"""Files that are their owner's alone, such as keys and tokens: read only as that, and seen to change."""

import os
import stat
from enum import Enum
from pathlib import Path
from typing import NamedTuple

__all__ = ["FileVersion", "NotPrivateError", "Trouble", "file_version", "read_private"]


class FileVersion(NamedTuple):
    """What changes when a file is written anew, or its mode or owner changes."""

    modified_ns: int
    changed_ns: int
    size: int
    inode: int
    device: int


class Trouble(Enum):
    """Why a file is not used."""

    NO_FILE = "no ordinary file"
    OWNER = "another user's"
    MODE = "others may read or write it"


class NotPrivateError(Exception):
    """The file is not this user's alone.

    Args:
        trouble: why.
        mode: its permission bits.
    """

    def __init__(self, trouble: Trouble, mode: int) -> None:
        super().__init__(trouble.value)
        self.trouble, self.mode = trouble, mode


def read_private(path: Path, *, bytes_max: int) -> tuple[bytes, FileVersion]:
    """Return what a file holds, up to one byte more than it may, and its version.

    Args:
        path: the file.
        bytes_max: how much it may hold.

    Raises:
        NotPrivateError: it is none, another user's, or open to others.
        OSError: it cannot be read.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise NotPrivateError(Trouble.NO_FILE, mode)
        if status.st_uid not in (os.geteuid(), 0):
            raise NotPrivateError(Trouble.OWNER, mode)
        if mode & 0o077:
            raise NotPrivateError(Trouble.MODE, mode)
        return file.read(bytes_max + 1), _version(status)


def file_version(path: Path) -> FileVersion | None:
    """Return a file's version; None where it cannot be looked at.

    Args:
        path: the file.
    """
    try:
        return _version(path.stat())
    except OSError:
        return None


def _version(status: os.stat_result) -> FileVersion:
    return FileVersion(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def _without_waiting(name: str, flags: int) -> int:
    """Open without waiting for a writer, should the name be that of a pipe."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)
