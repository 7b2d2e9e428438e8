"""grpcio, both of its ways, against a real server that answers each status, and against none."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault, Refusal, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX
from tests.guards.classifiers.judging import NOW, judged
from tests.support.failure_tables import GRPC, Answered
from tests.support.misbehaving import (
    Answer,
    Exchange,
    MisbehavingServer,
    closed_port,
    reset_before_request,
    reset_within_request,
    silence,
)

PATIENCE_SECONDS: Final = 10.0
SHORT_SECONDS: Final = 0.3
NO_OPTIONS: Final[Mapping[str, int]] = MappingProxyType({})
LARGE_BYTES: Final = 5_000_000  # more than a client takes unless told

ways = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@dataclass(kw_only=True)
class Refunds:
    """A service whose one method answers with the status it is asked for; what it has carried out, it remembers."""

    metadata: tuple[tuple[str, str], ...] = ()
    asked: list[str] = field(default_factory=list)
    port: int = 0
    server: Any = None

    def refund(self, request: bytes, context: Any) -> bytes:
        """Do as the request says."""
        wanted = request.decode()
        self.asked.append(wanted)
        match wanted:
            case "large":
                return bytes(LARGE_BYTES)
            case "raise":
                raise ValueError("the service's own mistake")
            case "then stop":
                threading.Thread(target=self.server.stop, args=(0,)).start()
                context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            case _:
                context.set_trailing_metadata(self.metadata)
                context.abort(grpc.StatusCode[wanted], "no")
        raise AssertionError("abort raises")

    def start(self, **options: int) -> None:
        """Serve on a free port of loopback."""
        method = grpc.unary_unary_rpc_method_handler(self.refund)
        given_options = [(f"grpc.{name}", value) for name, value in options.items()]
        self.server = grpc.server(ThreadPoolExecutor(2), options=given_options)
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("billing.Refunds", {"Refund": method}),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()


@pytest.fixture
def refunds() -> Iterator[Refunds]:
    """The service, not started."""
    it = Refunds()
    yield it
    if it.server is not None:
        it.server.stop(0).wait()


def rpc_error(
    port: int,
    wanted: str,
    *,
    asynchronous: bool,
    seconds: float = PATIENCE_SECONDS,
    method: str = "Refund",
    config: dict[str, Any] | None = None,
    channel_options: Mapping[str, int] = NO_OPTIONS,
) -> Exception:
    """Return what a call raises."""
    target, path = f"127.0.0.1:{port}", f"/billing.Refunds/{method}"
    options: list[tuple[str, Any]] = [(f"grpc.{name}", value) for name, value in channel_options.items()]
    options += [("grpc.service_config", json.dumps(config))] if config else []

    def call() -> None:
        with grpc.insecure_channel(target, options=options) as channel:
            channel.unary_unary(path)(wanted.encode(), timeout=seconds)

    async def acall() -> None:
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            await channel.unary_unary(path)(wanted.encode(), timeout=seconds)

    with pytest.raises(grpc.RpcError) as raised:
        asyncio.run(acall()) if asynchronous else call()
    error: Exception = raised.value
    return error


@ways
@pytest.mark.parametrize(("code", "row"), [(code, row) for row in GRPC for code in row.codes])
def test_a_status_is_judged_by_what_it_means(code: str, row: Answered, refunds: Refunds, *, asynchronous: bool) -> None:
    """A status by which a service refuses is proof; one that a client also makes up is not."""
    refunds.start()
    error = rpc_error(refunds.port, code, asynchronous=asynchronous)
    found = judged(error, saw_something=refunds.asked == [code], was_answered=True)
    assert (found.verdict, found.fault) == (row.verdict, row.fault)
    assert found.sent is (Sent.MAYBE if row.verdict is Verdict.UNKNOWN else Sent.YES)


def test_the_table_has_every_status() -> None:
    """No status of gRPC's but OK is left out."""
    assert {code for row in GRPC for code in row.codes} == {one.name for one in grpc.StatusCode} - {"OK"}


@ways
def test_an_unknown_method_is_not_done(refunds: Refunds, *, asynchronous: bool) -> None:
    """A method that is not there has done nothing."""
    refunds.start()
    error = rpc_error(refunds.port, "OK", asynchronous=asynchronous, method="Nothing")
    assert judged(error, saw_something=False, was_answered=True).verdict is Verdict.NOT_DONE_PERMANENT
    assert refunds.asked == []


@ways
def test_an_error_in_the_service_is_unknown(refunds: Refunds, *, asynchronous: bool) -> None:
    """A handler that raised may have done its work before."""
    refunds.start()
    error = rpc_error(refunds.port, "raise", asynchronous=asynchronous)
    assert judged(error, saw_something=True, was_answered=True).verdict is Verdict.UNKNOWN


@ways
@pytest.mark.parametrize("limit", [{}, {"max_send_message_length": 1000}], ids=["the client's", "the server's"])
def test_an_answer_that_is_too_large_is_no_rate_limit(
    limit: dict[str, int], refunds: Refunds, *, asynchronous: bool
) -> None:
    """RESOURCE_EXHAUSTED for the size of the answer comes after the call was carried out; no promise changes that."""
    refunds.start(**limit)
    error = rpc_error(refunds.port, "large", asynchronous=asynchronous)
    found = judged(error, saw_something=refunds.asked == ["large"], was_answered=False)
    assert (found.verdict, found.fault) == (Verdict.UNKNOWN, Fault.PERMANENT)
    promise = Refusal(answer="RESOURCE_EXHAUSTED", fault=Fault.RATE_LIMITED)
    assert classify(error, kind=Kind.BLIND, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


def close_at_once(exchange: Exchange) -> None:
    """Take the greeting, then close."""
    exchange.read()
    exchange.close()


@ways
@pytest.mark.parametrize("answer", [reset_before_request, reset_within_request, close_at_once, silence])
def test_a_connection_that_breaks_is_unknown(answer: Answer, *, asynchronous: bool) -> None:
    """Whatever the client says of a connection that broke, it proves nothing."""
    server = MisbehavingServer()
    try:
        server.answer(answer)
        seconds = SHORT_SECONDS if answer is silence else PATIENCE_SECONDS
        error = rpc_error(server.port, "ABORTED", asynchronous=asynchronous, seconds=seconds)
    finally:
        server.close()
    found = judged(error, saw_something=bool(server.received), was_answered=False)
    assert (found.verdict, found.fault, found.sent) == (Verdict.UNKNOWN, Fault.TRANSIENT, Sent.MAYBE)


@ways
def test_a_refused_connection_is_unknown(*, asynchronous: bool) -> None:
    """UNAVAILABLE proves nothing even where it says "failed to connect": see the next test."""
    error = rpc_error(closed_port(), "ABORTED", asynchronous=asynchronous)
    assert judged(error, saw_something=False, was_answered=False).verdict is Verdict.UNKNOWN


RETRYING: Final = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.2s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


@ways
def test_a_channel_with_a_retry_policy_reports_only_its_last_try(refunds: Refunds, *, asynchronous: bool) -> None:
    """The first try reached the service, and the client says that it could not connect."""
    refunds.start()
    error: Any = rpc_error(refunds.port, "then stop", asynchronous=asynchronous, config=RETRYING)
    assert refunds.asked == ["then stop"]
    assert "failed to connect" in error.details()
    assert judged(error, saw_something=True, was_answered=False).verdict is Verdict.UNKNOWN


@ways
@pytest.mark.parametrize(("option", "tries"), [({}, 3), ({"enable_retries": 0}, 1)])
def test_a_retry_policy_can_be_switched_off(
    option: dict[str, int], tries: int, refunds: Refunds, *, asynchronous: bool
) -> None:
    """One option of the channel leaves trying again to the gate."""
    refunds.start()
    rpc_error(refunds.port, "UNAVAILABLE", asynchronous=asynchronous, config=RETRYING, channel_options=option)
    assert refunds.asked == ["UNAVAILABLE"] * tries


def paused(refunds: Refunds, *metadata: tuple[str, str], asynchronous: bool = False) -> Failure:
    """Classify a rate limit with this trailing metadata."""
    refunds.metadata = metadata
    refunds.start()
    error = rpc_error(refunds.port, "RESOURCE_EXHAUSTED", asynchronous=asynchronous)
    return judged(error, saw_something=True, was_answered=True)


@ways
@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("retry-after", "7", 7.0),
        ("retry-after", "Sun, 01 Mar 2026 12:01:00 GMT", 60.0),
        ("grpc-retry-pushback-ms", "1500", 1.5),
        ("grpc-retry-pushback-ms", "-1", None),
        ("grpc-retry-pushback-ms", "999999999", RETRY_AFTER_SECONDS_MAX),
        ("retry-after", "soon", None),
    ],
)
def test_a_pause_is_read_from_the_trailing_metadata(
    name: str, value: str, seconds: float | None, refunds: Refunds, *, asynchronous: bool
) -> None:
    """Both an HTTP-like header and gRPC's own are heard."""
    assert paused(refunds, (name, value), asynchronous=asynchronous).retry_after_seconds == seconds


@given(st.text() | st.integers().map(str))
def test_a_pushback_never_raises_and_stays_in_bounds(value: str) -> None:
    """Whatever a server writes, the pause is absent or between nothing and a day."""
    metadata = grpc.aio.Metadata(("grpc-retry-pushback-ms", value))
    error = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), metadata, details="no")
    seconds = classify(error, kind=Kind.BLIND, now=NOW).retry_after_seconds
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_SECONDS_MAX


def test_a_later_refusal_may_be_our_own_doing(refunds: Refunds) -> None:
    """ALREADY_EXISTS and ABORTED are 409 by another name, NOT_FOUND is 404: on a second attempt they may be ours."""
    refunds.start()
    exists, missing = (rpc_error(refunds.port, one, asynchronous=False) for one in ("ALREADY_EXISTS", "NOT_FOUND"))
    for kind, error, verdict in (
        (Kind.KEYED, exists, Verdict.UNKNOWN),
        (Kind.VERIFIED, exists, Verdict.UNKNOWN),
        (Kind.VERIFIED, missing, Verdict.UNKNOWN),
        (Kind.KEYED, missing, Verdict.NOT_DONE_PERMANENT),
        (Kind.BLIND, exists, Verdict.NOT_DONE_PERMANENT),
    ):
        assert classify(error, kind=kind, now=NOW, attempt=2).verdict is verdict


def test_a_contract_narrows_what_a_status_proves(refunds: Refunds) -> None:
    """A service that may have acted before it says ABORTED is taken at its contract's word."""
    refunds.start()
    error = rpc_error(refunds.port, "ABORTED", asynchronous=False)
    promise = Refusal(answer="ABORTED", fault=None)
    assert classify(error, kind=Kind.BLIND, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


def test_the_bare_root_of_rpc_errors_proves_nothing() -> None:
    """An RpcError that carries no status is unknown."""
    assert judged(grpc.RpcError(), saw_something=True, was_answered=False).fault is Fault.PERMANENT
