"""People recognised by tokens in a file: the sign-in of a small team that runs no OpenID provider.

The file holds one JSON object a line: person, groups, the token's SHA-256, label, created and, maybe, expires.
Tokens are 256 random bits, so their plain hash gives nothing away; whoever may write the file decides who is who.
"""

import hashlib
import hmac
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.audit.private_file import FileVersion, NotPrivateError, Trouble, file_version, read_private
from langgraph_control.errors import SignInError

__all__ = ["TokenEntry", "TokenFile", "read_tokens", "token_hash"]

FILE_BYTES_MAX: Final = 1_048_576
TOKENS_MAX: Final = 1000
TOKEN_CHARS_MAX: Final = 256
"""Longer credentials are refused unread; a token of ours has 47 characters."""

logger = logging.getLogger(__name__)

# A name as the ledger takes one: no control or invisible character that would make two names look alike.
Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\s\p{C}](?:[^\p{C}]*[^\s\p{C}])?$")]
Group = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\s\p{C}]+$")]


def _no_groups_name(person: str) -> str:
    if person.startswith("group:"):
        raise ValueError("the policy's roles name groups so")
    return person


class TokenEntry(BaseModel):
    """One line of the file: a token, by its hash, and whose it is.

    Args:
        person: as the policy's roles name people.
        groups: the groups the person is in, as the policy names them after ``group:``.
        sha256: of the token, 64 hexadecimal digits.
        label: what the token is for, for people.
        created: when it was made.
        expires: from when on it is not accepted; None: it ends when its line goes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    person: Annotated[Name, AfterValidator(_no_groups_name)]
    groups: tuple[Group, ...] = ()
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    label: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\p{C}]*$")] = ""
    created: AwareDatetime
    expires: AwareDatetime | None = None


class TokenFile:
    """Recognises people by tokens that ``langgraph-control token add`` made. An :class:`Authenticator`.

    The file is read at once, and again whenever it was changed. A changed file that cannot be used never takes the
    place of a good one: a warning is logged, once for each change, and the people of before stay.

    Args:
        path: the file. It belongs to this process's user or to root, and nobody else may read or write it.

    Raises:
        SignInError: it is not there, others may read or write it, or it holds something else than tokens.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = Lock()
        self._tokens, version = _read(self._path)
        self._seen: FileVersion | None = version

    def authenticate(self, credential: str) -> Identity:
        """Return whose token it is.

        Args:
            credential: the token, as ``token add`` printed it.

        Raises:
            NotAuthenticated: ``token_oversized``, ``token_unknown`` or ``token_expired``.
        """
        if len(credential) > TOKEN_CHARS_MAX:
            raise NotAuthenticated(
                "The token is too long to be one of the file's.", todo="Sign in again.", code="token_oversized"
            )
        found = _find(self._current(), token_hash(credential))
        if found is None:
            raise NotAuthenticated(
                "The token is not in the file: it never was, or it was revoked.",
                todo="Ask whoever keeps the file for a new one: langgraph-control token add.",
                code="token_unknown",
            )
        if found.expires is not None and found.expires <= datetime.now(UTC):
            raise NotAuthenticated(
                "The token has expired.",
                todo="Ask whoever keeps the file for a new one: langgraph-control token add.",
                code="token_expired",
            )
        return Identity(
            person=found.person,
            issuer=f"file:{self._path.name}",
            subject=found.person,
            groups=found.groups,
            credential=found.sha256,
            expires_at=found.expires,
        )

    def _current(self) -> Sequence[TokenEntry]:
        with self._lock:
            version = file_version(self._path)
            if version != self._seen:
                self._seen = version
                try:
                    self._tokens, self._seen = _read(self._path)
                except SignInError as error:
                    logger.warning("The tokens of before stay in use. %s", error)
            return self._tokens


def read_tokens(path: Path | str) -> tuple[TokenEntry, ...]:
    """Return the tokens of a file, in its order.

    Args:
        path: the file.

    Raises:
        SignInError: as :class:`TokenFile` does.
    """
    return _read(Path(path))[0]


def token_hash(token: str) -> str:
    """Return by what a token is found: its SHA-256, as 64 hexadecimal digits.

    Args:
        token: any text.
    """
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _find(tokens: Sequence[TokenEntry], wanted: str) -> TokenEntry | None:
    """Look at every entry, always: how long it takes does not tell how much of a hash was right."""
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, wanted):
            found = token
    return found


def _read(path: Path) -> tuple[tuple[TokenEntry, ...], FileVersion]:
    try:
        text, version = read_private(path, bytes_max=FILE_BYTES_MAX)
    except NotPrivateError as error:
        raise _not_private(path, error) from None
    except OSError as error:
        raise SignInError(
            f"The file of tokens {path} cannot be read: {error.strerror or type(error).__name__}.",
            todo="Name the right file, or make it: langgraph-control token add PERSON --file FILE.",
            code="tokens_unreadable",
        ) from None
    if len(text) > FILE_BYTES_MAX:
        raise _wrong(path, f"it is larger than {FILE_BYTES_MAX} bytes")
    return _parsed(path, text), version


def _not_private(path: Path, error: NotPrivateError) -> SignInError:
    match error.trouble:
        case Trouble.NO_FILE:
            return _wrong(path, "it is no ordinary file")
        case Trouble.OWNER:
            return SignInError(
                f"The file of tokens {path} belongs to another user, who could let anybody in.",
                todo=f"Give it to the user that runs this process: chown USER {path}.",
                code="tokens_owner",
            )
        case Trouble.MODE:
            return SignInError(
                f"The file of tokens {path} may be read or written by others (mode {error.mode:04o}).",
                todo=f"Take it from them: chmod 600 {path}.",
                code="tokens_mode",
            )


def _parsed(path: Path, text: bytes) -> tuple[TokenEntry, ...]:
    tokens: dict[str, TokenEntry] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            token = TokenEntry.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise _wrong(
                path, f"line {number}, {key}: {first['msg']}" if key else f"line {number} is no JSON"
            ) from None
        if token.sha256 in tokens:
            raise _wrong(path, f"line {number}, sha256: an earlier line has the same token")
        tokens[token.sha256] = token
    if len(tokens) > TOKENS_MAX:
        raise _wrong(path, f"it holds more than {TOKENS_MAX} tokens; use an OpenID provider for so many")
    return tuple(tokens.values())


def _wrong(path: Path, what: str) -> SignInError:
    return SignInError(
        f"The file of tokens {path} cannot be used: {what}.",
        todo="Correct it, or make it anew: langgraph-control token add PERSON --file FILE.",
        code="tokens_invalid",
    )
