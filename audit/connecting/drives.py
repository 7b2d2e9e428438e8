"""What one drive of a run is called inside this process.

A run may be driven here twice at once: by a worker that lost its lease while a model was thinking, and by whoever took
the run over. The fencing token tells the two apart, so whatever is kept for a drive is kept under run and token.
"""

import re
from typing import Final, TypeAlias
from uuid import UUID

__all__ = ["RUN_KEY", "DriveId", "drive_name", "drive_of"]

RUN_KEY: Final = "__control_run"
"""Where ``configurable`` names the drive. Names with this prefix stay out of checkpoint metadata."""

DriveId: TypeAlias = tuple[UUID, int]
"""A run and the fencing token it is driven with."""

_NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([0-9]{1,19})", re.ASCII)
_NOBODYS: Final[DriveId] = (UUID(int=0), 0)  # the ledger's first token is 1


def drive_name(drive: DriveId) -> str:
    """Return a drive's name, as ``configurable`` carries it: ``<run's id>/<token>``.

    Args:
        drive: the run and the token.
    """
    run_id, token = drive
    return f"{run_id}/{token}"


def drive_of(name: object) -> DriveId:
    """Return the drive behind a name; for anything that is no drive's name, one that nobody ever holds.

    Args:
        name: as found in a config, which anybody may have written.
    """
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    return _NOBODYS if found is None else (UUID(found[1]), int(found[2]))
