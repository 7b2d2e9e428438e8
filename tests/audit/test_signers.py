"""The key that signs stands in a file that is its owner's alone."""

import os
from pathlib import Path

import pytest

from langgraph_control.audit.seals.signers import FileSigner, default_key_file
from langgraph_control.errors import SealRefused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the key goes: a folder that is not there yet."""
    return tmp_path / "config" / "seal.key"


def code_of(path: Path) -> str:
    """The code with which a file is refused."""
    with pytest.raises(SealRefused) as refused:
        FileSigner(path)
    return refused.value.code


def test_a_new_key_is_its_owners_alone(path: Path) -> None:
    """File and folder are made for this user alone, whatever the umask, and nothing else is left in the folder."""
    before = os.umask(0)
    try:
        made = FileSigner.create(path, name="tree")
    finally:
        os.umask(before)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]
    read = FileSigner(path)
    assert (read.name(), read.public_key(), read.sign(b"x")) == (made.name(), made.public_key(), made.sign(b"x"))


def test_a_key_is_never_written_over(path: Path) -> None:
    """Where there is a file, none is made, and the file stays as it is."""
    FileSigner.create(path, name="tree")
    was = path.read_bytes()
    with pytest.raises(SealRefused) as refused:
        FileSigner.create(path, name="tree")
    assert (refused.value.code, path.read_bytes(), list(path.parent.iterdir())) == ("key_exists", was, [path])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    """A file that the group or others may read or write is not signed with."""
    FileSigner.create(path, name="tree")
    path.chmod(mode)
    assert code_of(path) == "key_mode"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_somebody_else_is_refused(path: Path) -> None:
    """A file that belongs to another user is not signed with."""
    FileSigner.create(path, name="tree")
    os.chown(path, 65534, 65534)
    assert code_of(path) == "key_owner"


def test_files_that_are_no_key(path: Path) -> None:
    """Nothing, rubbish, half a key, a key under another name, a folder and a pipe: each is refused, none waited for."""
    assert code_of(path) == "key_missing"
    FileSigner.create(path, name="tree")
    text = path.read_text()
    for wrong in ("", "rubbish", text[:-20], text.replace("tree", "free"), "é" * 10, text.replace("PRIVATE+KEY+", "")):
        path.write_text(wrong)
        assert code_of(path) == "key_invalid"
    path.unlink()
    os.mkfifo(path, 0o600)
    assert code_of(path) == "key_invalid"
    path.unlink()
    path.mkdir()
    assert code_of(path) in {"key_invalid", "key_missing"}


def test_no_error_shows_the_key(path: Path) -> None:
    """What is said of a file that is refused holds nothing of what is in it."""
    FileSigner.create(path, name="tree")
    secret = path.read_text().rpartition("+")[2].strip()
    path.write_text(path.read_text().replace("tree", "free"))
    with pytest.raises(SealRefused) as refused:
        FileSigner(path)
    assert secret not in str(refused.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the key cannot be written, it says so."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SealRefused) as refused:
        FileSigner.create(tmp_path / "file" / "seal.key", name="tree")
    assert refused.value.code == "key_unwritable"


def test_a_changed_file_is_read_again(path: Path) -> None:
    """A running signer takes the key that stands in the file now, and refuses one that it would have refused first."""
    signer = FileSigner.create(path, name="tree")
    FileSigner.create(path.with_name("next"), name="tree/2")
    path.with_name("next").replace(path)
    assert signer.name() == "tree/2"
    assert signer.public_key() == FileSigner(path).public_key()
    path.chmod(0o644)
    with pytest.raises(SealRefused):
        signer.name()


def test_where_the_key_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable names it; else it is in the user's configuration."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_SEAL_KEY", str(tmp_path / "one"))
    assert default_key_file() == tmp_path / "one"
    monkeypatch.delenv("LANGGRAPH_CONTROL_SEAL_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key_file() == tmp_path / "langgraph-control" / "seal.key"
