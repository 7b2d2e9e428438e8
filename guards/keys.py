"""Action key, args hash, digest, scope, twin: HMACs under one secret per tenant, each with a purpose of its own.

The tenant is in the secret. Every part is framed by its length, every purpose has its tag: no two different inputs, and
no two purposes, feed the HMAC the same bytes.
"""

import hmac
from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

import orjson

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.canonical import (
    Identified,
    identified,
    identified_bytes,
    identity_bytes,
    observed_identity_bytes,
)

__all__ = [
    "SECRET_BYTES_MIN",
    "action_key",
    "args_hash",
    "digest",
    "identifying_bytes",
    "question_id",
    "saga_id",
    "scope",
    "twin",
    "undo_key",
]

SECRET_BYTES_MIN: Final = 32  # as long as the HMAC's output: RFC 2104 section 3 discourages less

_ACTION_KEY: Final = b"langgraph-control/action-key/1"
_ARGS_HASH: Final = b"langgraph-control/args-hash/1"
_DIGEST: Final = b"langgraph-control/digest/1"
_SCOPE: Final = b"langgraph-control/scope/1"
_UNDO: Final = b"langgraph-control/undo/1"
_SAGA: Final = b"langgraph-control/saga/1"
_TWIN: Final = b"langgraph-control/twin/1"
_QUESTION: Final = b"langgraph-control/question/1"


def action_key(
    secret: bytes,
    *,
    intent: str,
    tool: str,
    identifying: Mapping[str, object],
    occurrence: int = 0,
    defaults: Mapping[str, object] | None = None,
) -> bytes:
    """Return the 32 bytes that name one intended effect.

    As in :func:`args_hash`, an argument equal to its declared default counts as not given: whether a model spells it
    out or leaves it out, and whatever the default is in the next release, it is the same action.

    Args:
        secret: the tenant's, at least 32 bytes.
        intent: the business request the change belongs to.
        tool: the tool's name.
        identifying: the arguments named by the contract's ``key=``. None counts as not given.
        occurrence: 0, or for a repeatable tool the number of equal calls before this one.
        defaults: the tool's declared defaults by parameter name.

    Raises:
        ArgumentError: an argument cannot be canonical, or the occurrence is negative; nothing was done.
    """
    if occurrence < 0:
        raise ArgumentError(
            f"Tool {tool}: the occurrence is negative.",
            todo="Count the equal calls before this one.",
            code="occurrence_negative",
        )
    named = identifying_bytes(identifying, tool=tool, defaults=defaults)
    parts = (identity_bytes(intent, at="intent"), identity_bytes(tool, at="tool"), named)
    return _hmac(secret, _ACTION_KEY, *parts, str(occurrence).encode())


def identifying_bytes(
    identifying: Mapping[str, object], *, tool: str, defaults: Mapping[str, object] | None = None
) -> bytes:
    """Return equal bytes for equal changes: what the identifying arguments say, without None and declared defaults.

    Args:
        identifying: the arguments named by the contract's ``key=``.
        tool: the tool's name, for the error.
        defaults: the tool's declared defaults by parameter name.

    Raises:
        ArgumentError: an argument cannot be canonical; nothing was done.
    """
    forms = identified(identifying, at=tool)
    given = {name: form for name, form in forms.items() if form is not None and not _at_default(name, form, defaults)}
    return identified_bytes(Identified(given), at=tool)


def undo_key(secret: bytes, *, undoes: bytes) -> bytes:
    """Return the 32 bytes that name the taking back of one action: whatever it takes to do that, it is one effect.

    Args:
        secret: the tenant's, at least 32 bytes.
        undoes: the key of the action, 32 bytes.
    """
    return _hmac(secret, _UNDO, undoes)


def saga_id(secret: bytes, *, intent: str, name: str, request: object) -> bytes:
    """Return the 32 bytes that name one saga: what was asked of it under one intent.

    Args:
        secret: the tenant's, at least 32 bytes.
        intent: the business request it belongs to.
        name: the saga's.
        request: what it was asked, in the plain form that ``normalise`` gives.

    Raises:
        ArgumentError: the request cannot be canonical; nothing was done.
    """
    asked = identity_bytes(request, at="request")
    return _hmac(secret, _SAGA, identity_bytes(intent, at="intent"), identity_bytes(name, at="saga"), asked)


def args_hash(
    secret: bytes,
    *,
    arguments: Mapping[str, object],
    free_text: Collection[str] = (),
    defaults: Mapping[str, object] | None = None,
) -> bytes:
    """Return the 32 bytes that tell two different changes under one key apart.

    An argument equal to its declared default counts as not given: a release that adds a parameter with a default does
    not turn yesterday's calls into conflicts.

    Args:
        secret: the tenant's, at least 32 bytes.
        arguments: all arguments of the call.
        free_text: names of the arguments that a model words anew each time; left out.
        defaults: the tool's declared defaults by parameter name.

    Raises:
        ArgumentError: an argument cannot be canonical; nothing was done.
    """
    given = Identified(
        {
            name: form
            for name, form in identified(arguments).items()
            if name not in free_text and not _at_default(name, form, defaults)
        }
    )
    return _hmac(secret, _ARGS_HASH, identified_bytes(given))


def twin(secret: bytes, *, tool: str, args_hash: bytes) -> bytes:
    """Return the 32 bytes that equal actions of different requests share.

    Args:
        secret: the tenant's, at least 32 bytes.
        tool: the tool's name.
        args_hash: of the call's arguments.
    """
    return _hmac(secret, _TWIN, identity_bytes(tool, at="tool"), args_hash)


def question_id(secret: bytes, *, key: bytes, args_hash: bytes) -> UUID:
    """Return what names the question about one call: the same call, worded anew, has the same one.

    Args:
        secret: the tenant's, at least 32 bytes.
        key: the action key.
        args_hash: of the call's arguments.
    """
    return UUID(bytes=_hmac(secret, _QUESTION, key, args_hash)[:16])


def digest(
    secret: bytes, *, tool: str, contract_version: str, arguments: Mapping[str, object], before: object = None
) -> bytes:
    """Return the 32 bytes an approval binds to: what exactly would be done, to what.

    Args:
        secret: the tenant's, at least 32 bytes.
        tool: the tool's name.
        contract_version: the contract's ``version``.
        arguments: all arguments the tool would get, free text and defaults included.
        before: the watched fields of the record as read; ``ABSENT`` where there is none, None without a read hook.

    Raises:
        ArgumentError: an argument cannot be canonical; nothing was done.
    """
    return _hmac(secret, _DIGEST, *_change(tool, contract_version, arguments, before))


def scope(
    secret: bytes, *, tool: str, contract_version: str, arguments: Mapping[str, object], before: object = None
) -> bytes:
    """Return the digest's counterpart without free text: the same change in other words is the same request.

    Args:
        secret: the tenant's, at least 32 bytes.
        tool: the tool's name.
        contract_version: the contract's ``version``.
        arguments: the arguments the tool would get, free text left out.
        before: as for :func:`digest`.

    Raises:
        ArgumentError: an argument cannot be canonical; nothing was done.
    """
    return _hmac(secret, _SCOPE, *_change(tool, contract_version, arguments, before))


def _change(
    tool: str, contract_version: str, arguments: Mapping[str, object], before: object
) -> tuple[bytes, bytes, bytes, bytes]:
    return (
        identity_bytes(tool, at="tool"),
        identity_bytes(contract_version, at="version"),
        identified_bytes(identified(arguments)),
        observed_identity_bytes(before),
    )


def _at_default(name: str, form: object, defaults: Mapping[str, object] | None) -> bool:
    """Whether an argument, in the form of :func:`identified`, is as the tool declares it where it is not given."""
    return (
        defaults is not None
        and name in defaults
        and orjson.dumps(form, option=orjson.OPT_SORT_KEYS) == observed_identity_bytes(defaults[name])
    )


def _hmac(secret: bytes, purpose: bytes, *parts: bytes) -> bytes:
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"a tenant's secret has at least {SECRET_BYTES_MIN} bytes")
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (purpose, *parts))
    return hmac.digest(secret, framed, "sha256")
