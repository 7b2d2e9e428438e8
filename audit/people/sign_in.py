"""How people sign in, as one small file says it: the same for the commands, the console and services of one's own."""

import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from langgraph_control.audit.people.identity import Authenticator
from langgraph_control.audit.people.oidc import ALGORITHMS, OpenIDConnect
from langgraph_control.audit.people.token_file import TokenFile
from langgraph_control.errors import SignInError
from langgraph_control.guards.policy_text import Document, key_of, read_document

__all__ = ["authenticator_from"]

FILE_BYTES_MAX: Final = 65_536

Text = Annotated[str, StringConstraints(min_length=1)]


class _Provider(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    issuer: Text
    audience: Text
    person_claim: Text = "email"
    groups_claim: Text = "groups"
    algorithms: list[Text] = list(ALGORITHMS)
    leeway_seconds: int | Decimal = 30
    jwks_url: Text | None = None
    acr_values: list[Text] = []


class _Way(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    tokens: Text | None = None
    oidc: _Provider | None = None


def authenticator_from(path: Path | str) -> Authenticator:
    """Return the authenticator that a file describes.

    The file is YAML with exactly one of two keys: ``tokens``, the path of a file of tokens, from this file's folder; or
    ``oidc``, with ``issuer``, ``audience`` and whatever else :class:`OpenIDConnect` takes.

    Args:
        path: the file. Nobody but its owner, this process's user or root, may write it.

    Raises:
        SignInError: the file, or what it names, cannot be used; the text names file, line and key.
    """
    file = Path(path)
    document = read_document(_text(file))
    if document.problems:
        first = document.problems[0]
        raise _wrong(file, first.line, first.key, first.what)
    try:
        way = _Way.model_validate(document.tree)
    except ValidationError as error:
        first_error = error.errors(include_input=False, include_context=False, include_url=False)[0]
        raise _wrong_at(file, document, first_error["loc"], first_error["msg"]) from None
    if way.tokens is not None and way.oidc is None:
        return TokenFile(file.parent / way.tokens)
    if way.oidc is not None and way.tokens is None:
        return _provider(file, document, way.oidc)
    raise _wrong(file, 1, "", "write exactly one of the keys tokens and oidc")


def _provider(file: Path, document: Document, given: _Provider) -> OpenIDConnect:
    try:
        return OpenIDConnect(**{**given.model_dump(), "leeway_seconds": float(given.leeway_seconds)})
    except SignInError as error:
        if error.code != "oidc_value":
            raise
        key, _, what = error.what.partition(": ")
        raise _wrong_at(file, document, ("oidc", key), f"{what} {error.todo}") from None


def _text(path: Path) -> str:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(status.st_mode) & 0o022:
                raise SignInError(
                    f"The file {path}, which says who vouches for people, can be written by others.",
                    todo=f"Give it to the user that runs this, and take it from others: chmod go-w {path}.",
                    code="auth_file_mode",
                )
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SignInError(
            f"The file {path}, which says how people sign in, cannot be read: "
            f"{error.strerror or type(error).__name__}.",
            todo="Name the right one: --auth FILE, or LANGGRAPH_CONTROL_AUTH.",
            code="auth_file_unreadable",
        ) from None
    if len(text) > FILE_BYTES_MAX:
        raise _wrong(path, 1, "", f"the file has more than {FILE_BYTES_MAX} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _wrong(path, 1, "", "the file is not UTF-8") from None


def _without_waiting(name: str, flags: int) -> int:
    """Open without waiting for a writer, should the name be that of a pipe."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _wrong_at(file: Path, document: Document, where: tuple[Any, ...], what: str) -> SignInError:
    return _wrong(file, document.line_of(where), key_of(where), what)


def _wrong(file: Path, line: int, key: str, what: str) -> SignInError:
    place = f"{file}:{line}" + (f": {key}" if key else "")
    return SignInError(
        f"How people sign in cannot be read. {place}: {what}.".replace("..", "."),
        todo="Correct it; docs/identity.md has the keys.",
        code="auth_file_invalid",
    )
