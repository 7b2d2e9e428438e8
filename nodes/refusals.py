"""What a contract says of its provider's answers: by which nothing was done, and by which that is not certain."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from langgraph_control.errors import ContractError
from langgraph_control.guards.classification import is_judged_already
from langgraph_control.guards.classifiers.grpc import MADE_BY_CLIENTS
from langgraph_control.guards.failures import Code, Fault, Refusal

__all__ = ["Meaning", "refusals_of"]

Meaning: TypeAlias = Literal["transient", "rate_limited", "permanent", "unknown"]
"""Nothing was done, and another try would meet this; or ``"unknown"``: something may have been done."""

_WORDS: Final[Mapping[str, Fault | None]] = MappingProxyType(
    {**{fault.value: fault for fault in Fault}, "unknown": None}
)
_FAILURES: Final = range(300, 600)  # HTTP statuses that a client may raise
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_STATUS_AS_TEXT: Final = re.compile(r"[0-9]{3}")
_TODO: Final = (
    'For example refusals={503: "transient", 409: "unknown", "ABORTED": "transient", OutOfStock: "permanent"}.'
)


def refusals_of(given: Mapping[Any, Any] | None) -> tuple[Refusal, ...]:
    """Return what a contract says of answers, checked.

    Args:
        given: by answer or exception class, a :data:`Meaning`; None: nothing.

    Raises:
        ContractError: code ``contract_refusals``: it is no mapping, an answer or a word is not known, or nobody can
            promise what it says.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise _wrong("refusals must be a mapping from answers to what they mean.")
    return tuple(Refusal(answer=_answer(one, word), fault=_meaning(one, word)) for one, word in given.items())


def _answer(answer: object, word: object) -> Code | type[Exception]:
    if isinstance(answer, type):
        return _exception(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and (answer in _FAILURES or answer < 0):
        return answer
    if isinstance(answer, str) and _STATUS_AS_TEXT.fullmatch(answer):
        raise _wrong(f"refusals names a status as text: {answer}.", todo=f"Write {answer} without quotes.")
    if isinstance(answer, str) and _NAME.fullmatch(answer):
        if answer in MADE_BY_CLIENTS and word != "unknown":
            raise _wrong(
                f"refusals promises something about {answer}, which gRPC also reports when a connection breaks.",
                todo=f"Leave {answer} out; if the effect can be read back, give find= or read= and expect=.",
            )
        return answer
    raise _wrong(
        "refusals names what is neither an HTTP status from 300 to 599, a negative JSON-RPC code, an answer's name, "
        "nor an exception class."
    )


def _exception(cls: type) -> type[Exception]:
    if not issubclass(cls, Exception) or cls is Exception:
        raise _wrong(
            f"refusals names the class {cls.__name__}, which is no exception that a tool raises for one reason.",
            todo="Name exception classes of the tool's own.",
        )
    if is_judged_already(cls):
        raise _wrong(
            f"refusals names {cls.__name__}: what a client or the system raises is judged by what it carries.",
            todo="Name the statuses by which the provider refuses instead.",
        )
    return cls


def _meaning(answer: object, word: object) -> Fault | None:
    if not isinstance(word, str) or word not in _WORDS:
        named = answer.__name__ if isinstance(answer, type) else answer
        raise _wrong(f"refusals does not say what {named} means.", todo=f"Write one of {', '.join(_WORDS)}.")
    return _WORDS[word]


def _wrong(what: str, *, todo: str = _TODO) -> ContractError:
    return ContractError(what, todo=todo, code="contract_refusals")
