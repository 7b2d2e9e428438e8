"""A file that is there as a whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from langgraph_control.errors import ControlError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, readable by its owner alone, that gets its name once it is written to the end.

    Args:
        path: its name; nothing is ever written over.

    Raises:
        ControlError: there is a file of that name (``bundle_exists``), or it cannot be written
            (``bundle_unwritable``).
    """
    if path.exists():
        raise _exists(path)
    draft = None
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise ControlError(
            f"{path} cannot be written: {error.strerror or type(error).__name__}.",
            safe="There is no half of it.",
            todo="Name another file with --out, or make room.",
            code="bundle_unwritable",
        ) from None
    finally:
        if draft is not None:
            with suppress(OSError):
                Path(draft).unlink()


def _exists(path: Path) -> ControlError:
    return ControlError(
        f"There is a file {path} already; evidence is not written over.",
        todo="Name another file with --out.",
        code="bundle_exists",
    )
