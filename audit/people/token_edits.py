"""Making and revoking tokens in a file of them: each change replaces the file whole, and two at once lose nothing."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from langgraph_control.audit.people.token_file import TokenEntry, read_tokens, token_hash
from langgraph_control.errors import SignInError
from langgraph_control.guards.spoken_texts import check_name

__all__ = ["ID_DIGITS", "add_token", "revoke_token"]

ID_DIGITS: Final = 12
"""So many of a hash's digits tell tokens apart for people."""

# Something that secret scanners and people recognise.
PREFIX: Final = "lgc_"
TOKEN_BYTES: Final = 32
_LOOK: Final = "Take the id from langgraph-control token list --file FILE."


def add_token(
    path: Path | str, person: str, *, groups: Sequence[str] = (), label: str = "", expires: datetime | None = None
) -> str:
    """Make a token for a person, and return it. Only its hash is kept: it cannot be shown a second time.

    Args:
        path: the file; made if it is missing, for this user alone.
        person: as the policy's roles name people.
        groups: the groups the person is in, as the policy names them after ``group:``.
        label: what the token is for, for people.
        expires: from when on it is not accepted, with a time zone; None: until it is revoked.

    Raises:
        ArgumentError: a name or the label is too long, or no text that a file can hold; no token was made.
        SignInError: a value cannot stand in the file, or the file cannot be used or written.
    """
    for at, name in (("person", person), *(("group", name) for name in groups), ("label", label)):
        check_name(name, at=at)
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    try:
        entry = TokenEntry(
            person=person,
            groups=tuple(sorted(set(groups))),
            sha256=token_hash(token),
            label=label,
            created=datetime.now(UTC).replace(microsecond=0),
            expires=expires,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        raise SignInError(
            f"No token can be made for that: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
            todo="Correct it; names have 1 to 256 visible characters.",
            code="token_value",
        ) from None
    if entry.expires is not None and entry.expires <= entry.created:
        raise SignInError("The token would have expired already.", todo="Give a moment to come.", code="token_value")
    with _alone(Path(path)) as file:
        _write(file, (*(read_tokens(file) if file.exists() else ()), entry))
    return token


def revoke_token(path: Path | str, name: str) -> TokenEntry:
    """Take a token out of the file, and return what it was. Who is signed in by it is refused from the next request on.

    Args:
        path: the file.
        name: the first digits of its hash, as ``token list`` shows them.

    Raises:
        SignInError: no token, or several, begin so; or the file cannot be used or written.
    """
    with _alone(Path(path)) as file:
        tokens = read_tokens(file)
        fitting = [token for token in tokens if name and token.sha256.startswith(name.lower())]
        if not fitting:
            raise SignInError("No token of the file has that id.", todo=_LOOK, code="token_not_found")
        if len(fitting) > 1:
            raise SignInError(f"{len(fitting)} tokens of the file begin so.", todo=_LOOK, code="token_ambiguous")
        _write(file, [token for token in tokens if token is not fitting[0]])
    return fitting[0]


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Hold the file's folder locked. Not the file, which each change replaces; and a link's target, not the link."""
    real = Path(os.path.realpath(path))
    try:
        folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield real
    finally:
        os.close(folder)


def _write(path: Path, tokens: Sequence[TokenEntry]) -> None:
    text = "".join(f"{token.model_dump_json(exclude_none=True)}\n" for token in tokens)
    made = None
    try:
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if path.exists() and os.geteuid() == 0:
                owner = path.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(made).replace(path)
        made = None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        if made is not None:
            with suppress(OSError):
                Path(made).unlink()


def _unwritable(path: Path, error: OSError) -> SignInError:
    return SignInError(
        f"The file of tokens {path} cannot be written: {error.strerror or type(error).__name__}.",
        todo="Name a file in a folder that this user may write.",
        code="tokens_unwritable",
    )
