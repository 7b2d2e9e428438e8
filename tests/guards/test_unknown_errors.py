"""Exceptions of types nobody knows, and of known types with contents nobody expects."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.classification import classify, is_judged_already
from langgraph_control.guards.failures import Fault, Refusal, Verdict
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OUTSIDE = [Kind.KEYED, Kind.VERIFIED, Kind.BLIND]

# Names that mean something where they come from.
TEMPTING = st.sampled_from(
    [
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "HTTPStatusError",
        "HTTPError",
        "NewConnectionError",
        "MaxRetryError",
        "ClientResponseError",
        "ClientConnectorError",
        "ClientError",
        "EndpointConnectionError",
        "ParamValidationError",
        "RpcError",
        "UniqueViolation",
        "McpError",
        "ConnectionRefusedError",
        "gaierror",
    ]
)
KNOWN = {
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "requests",
    "urllib3",
    "aiohttp",
    "botocore",
    "grpc",
    "psycopg",
    "psycopg_pool",
    "mcp",
    "builtins",
    "socket",
}


def is_unknown(module: str) -> bool:
    """Whether a module is of no package that is recognised."""
    return module.partition(".")[0] not in KNOWN


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
STRANGERS = st.sampled_from(
    ["acme", "httpxx", "my.httpx", "requests_toolbelt", "urllib3_future", "aiohttp_retry", "botocore_stubs", "grpcio"]
) | NAMES.filter(is_unknown)
ANYTHING: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(object())
HEADERS: st.SearchStrategy[Any] = st.dictionaries(st.sampled_from(["retry-after", "x"]), ANYTHING)


def looks_like(name: str, module: str, base: type[Exception], **contents: Any) -> Exception:
    """Return an exception of a new class, with contents of every client's kind."""
    error: Exception = type(name, (base,), {"__module__": module})()
    for attribute, value in contents.items():
        setattr(error, attribute, value)
    return error


def contents(answer: Any, headers: Any) -> dict[str, Any]:
    """Return what clients attach to their exceptions, all at once."""
    request = SimpleNamespace(method="POST")
    response = SimpleNamespace(
        status_code=answer, headers=headers, history=(), _request=request, request=request, raw=None
    )
    return {
        "response": response,
        "request": request,
        "_request": request,
        "request_info": request,
        "status": answer,
        "headers": headers,
        "history": (),
        "reason": answer,
        "kwargs": {"error": answer},
        "operation_name": answer,
        "sqlstate": answer,
        "diag": SimpleNamespace(severity_nonlocalized="ERROR"),
        "error": SimpleNamespace(code=answer),
        "code": lambda: SimpleNamespace(name=answer),
        "details": lambda: answer,
        "trailing_metadata": lambda: headers,
    }


@given(
    name=TEMPTING | NAMES,
    module=STRANGERS,
    base=st.sampled_from([Exception, RuntimeError, ValueError, OSError, KeyError]),
    answer=st.sampled_from([401, 409, 429, "ABORTED", "23505", -32602]) | ANYTHING,
    headers=HEADERS,
    attempt=st.integers(1, 3),
    kind=st.sampled_from(OUTSIDE),
)
def test_a_type_nobody_knows_is_never_called_undone(
    *, name: str, module: str, base: type[Exception], answer: Any, headers: Any, attempt: int, kind: Kind
) -> None:
    """Neither a name nor contents that look like a known client's make a proof of what is none."""
    error = looks_like(name, module, base, **contents(answer, headers))
    assert classify(error, kind=kind, now=NOW, attempt=attempt).verdict is Verdict.UNKNOWN


@given(
    name=TEMPTING | NAMES,
    module=st.sampled_from(sorted(KNOWN - {"builtins", "socket"})),
    answer=ANYTHING,
    headers=HEADERS | ANYTHING,
    kind=st.sampled_from([*Kind, None]),
    args=st.lists(ANYTHING, max_size=2),
)
def test_no_contents_of_a_known_type_break_the_judgement(
    *, name: str, module: str, answer: Any, headers: Any, kind: Kind | None, args: list[Any]
) -> None:
    """Whatever a client's exception holds, there is a verdict, and a pause from nothing to a day."""
    error = looks_like(name, module, Exception, args=tuple(args), **contents(answer, headers))
    found = classify(error, kind=kind, now=NOW)
    assert found.retry_after_seconds is None or 0 <= found.retry_after_seconds <= RETRY_AFTER_SECONDS_MAX
    assert found.verdict in Verdict


def test_an_exception_whose_attributes_raise_proves_nothing() -> None:
    """The judge does not fail over somebody else's property."""

    class HTTPStatusError(Exception):
        """As an SDK may write it."""

        __module__ = "httpx"

        @property
        def response(self) -> object:
            """Fail."""
            raise RuntimeError

    assert classify(HTTPStatusError(), kind=Kind.BLIND, now=NOW).verdict is Verdict.UNKNOWN


class OutOfStockError(Exception):
    """A tool's own word for "not done"."""


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_contract_may_speak_of_the_tools_own_exceptions(kind: Kind) -> None:
    """A class named by the contract, or one derived from it, is what the contract says."""

    class NoneLeftError(OutOfStockError):
        """More of it."""

    promise = Refusal(answer=OutOfStockError, fault=Fault.PERMANENT)
    for error in (OutOfStockError(), NoneLeftError()):
        found = classify(error, kind=kind, now=NOW, refusals=(promise,))
        assert found.verdict is Verdict.NOT_DONE_PERMANENT
    assert classify(ValueError(), kind=kind, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


def test_a_later_refusal_of_the_tools_own_may_be_our_own_doing() -> None:
    """On a second attempt "refunded already" may be speaking of the first; "not now" is not."""
    for fault, verdict in (
        (Fault.PERMANENT, Verdict.UNKNOWN),
        (Fault.TRANSIENT, Verdict.NOT_DONE_TRANSIENT),
        (Fault.RATE_LIMITED, Verdict.NOT_DONE_RATE_LIMITED),
    ):
        promise = Refusal(answer=OutOfStockError, fault=fault)
        found = classify(OutOfStockError(), kind=Kind.VERIFIED, now=NOW, attempt=2, refusals=(promise,))
        assert found.verdict is verdict


def test_a_contract_does_not_speak_of_groups() -> None:
    """A group does not tell what became of the tasks beside it, whatever its members are."""
    promise = Refusal(answer=OutOfStockError, fault=Fault.PERMANENT)
    group = ExceptionGroup("", [OutOfStockError()])
    assert classify(group, kind=Kind.BLIND, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("lost", [looks_like("ReadTimeout", "httpx", Exception), TimeoutError(), BrokenPipeError()])
def test_a_promise_is_kept_from_what_was_lost_before(lost: Exception) -> None:
    """A tool's own "not done", raised over a lost answer, does not take the loss back."""
    error = OutOfStockError()
    error.__context__ = lost
    promise = Refusal(answer=OutOfStockError, fault=Fault.PERMANENT)
    assert classify(error, kind=Kind.BLIND, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("cls", "judged"),
    [
        (OutOfStockError, False),
        (ValueError, False),
        (TimeoutError, True),
        (ConnectionRefusedError, True),
        (type(looks_like("BillingSlow", "acme", type(looks_like("ReadTimeout", "httpx", Exception)))), True),
    ],
)
def test_what_comes_from_a_client_or_the_system_is_judged_already(cls: type[Exception], *, judged: bool) -> None:
    """Only exceptions of a tool's own are a contract's to speak of."""
    assert is_judged_already(cls) is judged
