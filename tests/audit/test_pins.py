"""Pins keep every checkpoint they are given, take repeats, and say what they are not certain of."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from langgraph_control.audit.seals.checkpoints import SignedCheckpoint, sign
from langgraph_control.audit.seals.pins import FilePin, S3Pin, pinned_notes
from langgraph_control.errors import PinFailed
from tests.audit.test_checkpoints import GO, GO_NOTE, ORIGIN

BUCKET = "acme-checkpoints"


def note_of(size: int, root: bytes = bytes(32)) -> str:
    """A signed checkpoint."""
    return sign(replace(SignedCheckpoint.parse(GO_NOTE).checkpoint, size=size, root=root), [GO])


def test_a_file_keeps_them_all(tmp_path: Path) -> None:
    """Each checkpoint is appended once, however often it is given, and nothing is ever taken away."""
    pin = FilePin(tmp_path / "pins")
    for size in (1, 1, 2, 2, 3, 2):
        pin.pin(note_of(size))
    assert pinned_notes(pin.path.read_text()) == tuple(map(note_of, (1, 2, 3, 2)))
    assert pin.path.stat().st_mode & 0o007 == 0


def test_a_checkpoint_is_on_the_disk_before_it_counts_as_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pin is synced, also one that somebody else wrote, and then the folder, where the file's name stands."""
    synced: list[str] = []
    places: list[int] = []

    def syncing(handle: int) -> None:
        synced.append(pin.path.read_text())
        places.append(os.fstat(handle).st_ino)
        fsync(handle)

    pin, fsync = FilePin(tmp_path / "pins"), os.fsync
    monkeypatch.setattr(os, "fsync", syncing)
    for size in (1, 2, 2):
        pin.pin(note_of(size))
        assert pinned_notes(synced[-1])[-1] == note_of(size)
    assert places == [pin.path.stat().st_ino, tmp_path.stat().st_ino] * 3


def test_a_folder_that_may_not_be_listed_is_synced_with_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that may make files in a folder and not look into it has everything brought to the disk."""
    opened, synced = os.open, list[str]()

    def opening(path: Any, flags: int, *more: Any) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    FilePin(tmp_path / "pins").pin(note_of(1))
    assert synced == ["all"]


def test_a_torn_write_is_left_behind(tmp_path: Path) -> None:
    """After a write that stopped anywhere in the middle, the next checkpoint is whole, and so are those before."""
    pin = FilePin(tmp_path / "pins")
    pin.pin(note_of(1))
    whole = pin.path.read_bytes()
    second = f"{note_of(2)}\n".encode()
    for length in range(len(second)):
        pin.path.write_bytes(whole + second[:length])
        pin.pin(note_of(2))
        pin.pin(note_of(2))
        found = pinned_notes(pin.path.read_text(errors="replace"))
        assert (found[0], found[-1]) == (note_of(1), note_of(2))
        assert set(found) == {note_of(1), note_of(2)}


def test_many_at_once(tmp_path: Path) -> None:
    """Sealers that pin into one file at one moment do not cut into one another's lines."""
    pin = FilePin(tmp_path / "pins")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda size: FilePin(pin.path).pin(note_of(size)), range(1, 60)))
    assert set(pinned_notes(pin.path.read_text())) == set(map(note_of, range(1, 60)))


@pytest.mark.parametrize("place", ["/dev/full", "missing/pins"])
def test_a_file_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    """A full disk and a folder that is not there are named; the checkpoint counts as not pinned."""
    with pytest.raises(PinFailed, match="tried again"):
        FilePin(tmp_path / place).pin(GO_NOTE)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 in this process, with a bucket that locks objects."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        yield client


def test_s3_locks_each_checkpoint(s3: Any) -> None:
    """A checkpoint is one locked object under its tree's name and size; given again, it is left as it is."""
    pin = S3Pin(bucket=BUCKET, prefix="control/", days=30)
    for size in (1, 2, 2, 1):
        pin.pin(note_of(size))
    versions = s3.list_object_versions(Bucket=BUCKET)["Versions"]
    assert [version["Key"] for version in versions] == [f"control/{ORIGIN}/{size:020d}" for size in (1, 2)]
    kept = s3.get_object(Bucket=BUCKET, Key=versions[0]["Key"])
    assert kept["Body"].read().decode() == note_of(1)
    days = (kept["ObjectLockRetainUntilDate"] - datetime.now(UTC)).days
    assert (kept["ObjectLockMode"], days) == ("COMPLIANCE", 29)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=BUCKET, Key=versions[0]["Key"], VersionId=versions[0]["VersionId"])


def test_s3_says_that_there_are_two_histories(s3: Any) -> None:
    """Another tree under a size that is pinned is refused and named; what somebody puts over it hides nothing."""
    pin = S3Pin(bucket=BUCKET)
    pin.pin(note_of(5))
    with pytest.raises(PinFailed) as refused:
        pin.pin(note_of(5, b"\x01" * 32))
    assert refused.value.code == "pin_contradicts"
    s3.put_object(Bucket=BUCKET, Key=f"{ORIGIN}/{5:020d}", Body=note_of(5, b"\x01" * 32).encode())
    with pytest.raises(PinFailed):
        pin.pin(note_of(5, b"\x01" * 32))
    pin.pin(note_of(5))


def test_s3_that_cannot_be_reached(s3: Any) -> None:
    """A bucket that is not there fails with the service's code and nothing of what was sent."""
    with pytest.raises(PinFailed, match="NoSuchBucket") as refused:
        S3Pin(bucket="another", client=s3).pin(GO_NOTE)
    assert "TReHh" not in str(refused.value)
