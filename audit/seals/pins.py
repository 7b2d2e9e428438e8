"""Where checkpoints are kept outside the database, so that who can rewrite the database cannot rewrite them.

A pin is given the newest checkpoint again whenever it is not certain that it has it, so each takes repeats.
"""

import fcntl
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from langgraph_control.audit.seals.checkpoints import NotACheckpointError, SignedCheckpoint
from langgraph_control.errors import PinFailed, SealRefused

__all__ = ["FilePin", "Pin", "S3Pin", "pinned_notes"]

TAIL_BYTES: Final = 65_536
NOTE_BYTES_MAX: Final = 16_384


class Pin(Protocol):
    """A place outside the database that keeps checkpoints. Its ``str`` is shown to people and holds no secret."""

    def pin(self, note: str) -> None:
        """Keep a checkpoint, for good. The same one again changes nothing.

        Args:
            note: a signed note.

        Raises:
            PinFailed: it is not certain that it is kept; it is given again later.
        """
        ...


@dataclass(frozen=True, slots=True)
class FilePin:
    """A file that is only ever appended to. It protects as far as whoever rewrites the database cannot write it.

    Notes stand one after another with an empty line between.

    Args:
        path: the file; made where it is missing, readable by its owner's group.
    """

    path: Path

    def __str__(self) -> str:
        """Return the pin's name."""
        return f"file:{self.path}"

    def pin(self, note: str) -> None:
        """Append a note and have it on disk before returning. One that stands last already is not appended again.

        Args:
            note: a signed note.

        Raises:
            PinFailed: it cannot be written.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                self._append(handle, f"{note}\n".encode())
            finally:
                os.close(handle)
            self._keep_name()
        except OSError as error:
            raise PinFailed(
                f"The checkpoint could not be appended to {self.path}: {error.strerror or type(error).__name__}.",
                todo="Make room for it or correct its rights; it is tried again.",
            ) from None

    def _append(self, handle: int, entry: bytes) -> None:
        size = os.fstat(handle).st_size
        tail = os.pread(handle, TAIL_BYTES, max(0, size - TAIL_BYTES))
        if tail.endswith(entry) and (len(tail) == len(entry) or tail[: -len(entry)].endswith(b"\n\n")):
            os.fsync(handle)  # whoever wrote it may not have come to that
            return
        if tail and not tail.endswith(b"\n\n"):  # a write that the disk had no room for to the end
            entry = b"\n\n" + entry
        written = os.write(handle, entry)
        if written != len(entry):
            raise OSError(0, "the disk took only a part of it")
        os.fsync(handle)

    def _keep_name(self) -> None:
        """Have the file's name on disk, too: it stands in the folder, and a file that was just made is lost without."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # a folder whose names this login may not list
            os.sync()
            return
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def pinned_notes(text: str) -> tuple[str, ...]:
    """Return the notes of a file that a :class:`FilePin` wrote, in order; torn ones are left out.

    Args:
        text: the file's content.
    """
    found = re.findall(r"^\S+\n[0-9]+\n\S+\n\n(?:— [^\n]+\n)+", text, re.MULTILINE)
    return tuple(note for note in found if _parses(note))


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Pin:
    """Objects in a bucket with object lock, one a checkpoint, which stay while they are locked (extra ``[s3]``).

    Args:
        bucket: its name; it has versioning and object lock.
        prefix: what objects' names begin with.
        days: how long each is locked.
        mode: ``COMPLIANCE``: not even the account's root can unlock it; ``GOVERNANCE``: whoever has that right can.
        client: a boto3 client; None: one with the environment's credentials.
    """

    bucket: str
    prefix: str = ""
    days: int = 3650
    mode: str = "COMPLIANCE"
    client: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        """Return the pin's name."""
        return f"s3://{self.bucket}/{self.prefix}"

    def pin(self, note: str) -> None:
        """Put a note under its tree's name and size, locked; one that is there already stays as it is.

        Args:
            note: a signed note.

        Raises:
            PinFailed: it could not be put, or another one is there under its name.
            SealRefused: boto3 is not installed.
        """
        client, what = self._client(), SignedCheckpoint.parse(note).checkpoint
        key = f"{self.prefix}{what.origin}/{what.size:020d}"
        errors = _boto_errors()
        try:
            there = self._there(client, key, errors)
            if there is None:
                client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=note.encode(),
                    ContentType="text/plain; charset=utf-8",
                    ChecksumAlgorithm="SHA256",
                    ObjectLockMode=self.mode,
                    ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=self.days),
                )
                return
        except errors as error:
            raise PinFailed(
                f"The checkpoint could not be put into {self}: {_code(error)}.",
                todo="Correct bucket, credentials or network; it is tried again.",
            ) from None
        if not _parses(there) or SignedCheckpoint.parse(there).checkpoint != what:
            raise PinFailed(
                f"Another checkpoint of that size is in {self}: the tree has two histories.",
                todo="Keep both, and find out with langgraph-control audit verify which of them the entries bear out.",
                code="pin_contradicts",
            )

    def _there(self, client: Any, key: str, errors: tuple[type[Exception], ...]) -> str | None:
        """Return the oldest version of an object: one that somebody put over it later says nothing."""
        try:
            pages = client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=key)
            own = [one for page in pages for one in page.get("Versions", []) if one["Key"] == key]
            if not own:
                return None
            answer = client.get_object(Bucket=self.bucket, Key=key, VersionId=own[-1]["VersionId"])  # newest first
            return str(answer["Body"].read(NOTE_BYTES_MAX).decode(errors="replace"))
        except errors as error:
            if _code(error) in {"NoSuchKey", "404"}:
                return None
            raise

    def _client(self) -> Any:
        if self.client is not None:
            return self.client
        try:
            import boto3
        except ImportError:
            raise SealRefused(
                "boto3 is not installed, which pins in S3 need.",
                todo="pip install 'langgraph-control[s3]', or leave out the pin.",
                code="s3_not_installed",
            ) from None
        return boto3.client("s3")


def _parses(note: str) -> bool:
    try:
        SignedCheckpoint.parse(note)
    except NotACheckpointError:
        return False
    return True


def _boto_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError)


def _code(error: Exception) -> str:
    """Return an error's short name: its text may quote what was sent."""
    response = getattr(error, "response", None)
    found = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(found or type(error).__name__)
