"""Who signs checkpoints: a key in a file that is its owner's alone, or whatever has these three methods.

A key file holds one line, ``PRIVATE+KEY+NAME+HASH+BASE64``, as tools for signed notes write it.
"""

import base64
import binascii
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from langgraph_control.audit.private_file import FileVersion, NotPrivateError, Trouble, file_version, read_private
from langgraph_control.errors import SealRefused

__all__ = ["ED25519", "KEY_VARIABLE", "FileSigner", "Signer", "default_key_file", "key_hash", "sync_folder"]

KEY_VARIABLE: Final = "LANGGRAPH_CONTROL_SEAL_KEY"

PREFIX: Final = "PRIVATE+KEY+"
ED25519: Final = b"\x01"
"""The algorithm's number in keys and their hashes."""

FILE_BYTES_MAX: Final = 4096


class Signer(Protocol):
    """Signs checkpoints with Ed25519, wherever the key is: in a file, a KMS, an HSM."""

    def name(self) -> str:
        """Return the key's name, as it is registered: ``langgraph-control keys list`` shows it."""
        ...

    def public_key(self) -> bytes:
        """Return the public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes.

        Args:
            message: what is signed, at most a few hundred bytes.
        """
        ...


class FileSigner:
    """A :class:`Signer` with a private key in a file. Asked for the name, it reads the file again if that was changed.

    Args:
        path: the file. It belongs to this process's user or to root, and nobody else may read or write it.

    Raises:
        SealRefused: it is not there, others may read or write it, or it holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name, self._key, self._version = _read(path)

    @classmethod
    def create(cls, path: Path, *, name: str) -> Self:
        """Make a new key and write it to a file that is not there yet, for this user alone.

        Args:
            path: the file; its folder is made where it is missing.
            name: the key's name.

        Raises:
            SealRefused: there is such a file, or it cannot be written.
        """
        key = Ed25519PrivateKey.generate()
        hashed = key_hash(name, key.public_key().public_bytes_raw()).hex()
        encoded = base64.b64encode(ED25519 + key.private_bytes_raw()).decode()
        draft = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{PREFIX}{name}+{hashed}+{encoded}\n")
                file.flush()
                os.fsync(file.fileno())
            _link(draft, path)
            sync_folder(path.parent)
        except OSError as error:
            raise SealRefused(
                f"The signing key {path} cannot be written: {error.strerror or type(error).__name__}.",
                todo="Name a file with --key in a folder that this user may write.",
                code="key_unwritable",
            ) from None
        finally:
            if draft is not None:
                with suppress(OSError):
                    Path(draft).unlink()
        return cls(path)

    def name(self) -> str:
        """Return the key's name.

        Raises:
            SealRefused: the file was changed and cannot be used as it is now.
        """
        if file_version(self._path) != self._version:
            self._name, self._key, self._version = _read(self._path)
        return self._name

    def public_key(self) -> bytes:
        """Return the public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes.

        Args:
            message: what is signed.
        """
        return self._key.sign(message)


def key_hash(name: str, public: bytes) -> bytes:
    """Return the four bytes by which signatures name their key.

    Args:
        name: the key's.
        public: of Ed25519, 32 bytes.
    """
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def default_key_file() -> Path:
    """Return where the key is looked for: ``LANGGRAPH_CONTROL_SEAL_KEY``, else in the user's configuration."""
    chosen = os.environ.get(KEY_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "langgraph-control" / "seal.key"


def sync_folder(folder: Path) -> None:
    """Have what was made or renamed in a folder survive a crash.

    Args:
        folder: the folder.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _link(draft: str, path: Path) -> None:
    """Give a file its name, unless there is one of that name: no key is ever written over."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise SealRefused(
            f"There is a file {path} already; a key is never written over.",
            todo="Use it, or name another file with --key.",
            code="key_exists",
        ) from None


def _read(path: Path) -> tuple[str, Ed25519PrivateKey, FileVersion]:
    try:
        text, version = read_private(path, bytes_max=FILE_BYTES_MAX)
    except NotPrivateError as error:
        raise _not_private(path, error) from None
    except OSError as error:
        raise SealRefused(
            f"The signing key {path} cannot be read: {error.strerror or type(error).__name__}.",
            todo="Name the right file with --key, or make a key: langgraph-control keys create.",
            code="key_missing",
        ) from None
    return *_parsed(path, text), version


def _not_private(path: Path, error: NotPrivateError) -> SealRefused:
    match error.trouble:
        case Trouble.NO_FILE:
            return _wrong(path)
        case Trouble.OWNER:
            return SealRefused(
                f"The signing key {path} belongs to another user, who could sign with it.",
                todo=f"Give it to the user that runs this process: chown USER {path}.",
                code="key_owner",
            )
        case Trouble.MODE:
            return SealRefused(
                f"The signing key {path} may be read or written by others (mode {error.mode:04o}).",
                todo=f"Take it from them: chmod 600 {path}; and if they may have read it, keys rotate.",
                code="key_mode",
            )


def _parsed(path: Path, text: bytes) -> tuple[str, Ed25519PrivateKey]:
    try:
        name, hashed, encoded = text.decode("ascii").strip().removeprefix(PREFIX).split("+", 2)
        secret = base64.b64decode(encoded, validate=True)
        key = Ed25519PrivateKey.from_private_bytes(secret[1:])
    except (ValueError, binascii.Error):
        raise _wrong(path) from None
    sound = text.startswith(PREFIX.encode()) and secret[:1] == ED25519
    if not sound or key_hash(name, key.public_key().public_bytes_raw()).hex() != hashed:
        raise _wrong(path)
    return name, key


def _wrong(path: Path) -> SealRefused:
    return SealRefused(
        f"The file {path} holds no signing key.",
        todo="Name the right file with --key, or bring it back from where it is kept.",
        code="key_invalid",
    )
