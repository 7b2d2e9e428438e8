"""What real clients raise when a real server misbehaves, and what that proves.

The tests provoke each row, and docs/failures.md tells it.

Class names are without their modules. Where two are named, either may come, as the operating system's timing decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from langgraph_control.guards.failures import Fault, Sent, Verdict

HTTP_COLUMNS: Final = ("httpx", "requests", "urllib3", "aiohttp", "botocore")
"""Clients by the name of their package; httpx stands for httpx2, too, and for both of their ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A write over HTTP that never got its answer.

    Args:
        what: what happened, for people.
        sent: what the verdict says of the request.
        verdict: what the verdict says of the effect.
        raises: by client, the classes it may raise; () where it raises nothing.
        differs: by client, the verdict where it is another one.
    """

    what: str
    sent: Sent
    verdict: Verdict
    raises: Mapping[str, tuple[str, ...]]
    differs: Mapping[str, Verdict] = field(default_factory=dict)


def _raises(httpx: str, requests: str, urllib3: str, aiohttp: str, botocore: str) -> dict[str, tuple[str, ...]]:
    return dict(
        zip(HTTP_COLUMNS, (tuple(one.split()) for one in (httpx, requests, urllib3, aiohttp, botocore)), strict=True)
    )


NOT_SENT: Final = (
    Broken(
        what="connection refused",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        raises=_raises(
            "ConnectError", "ConnectionError", "MaxRetryError", "ClientConnectorError", "EndpointConnectionError"
        ),
    ),
    Broken(
        what="the host's name does not resolve",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        raises=_raises(
            "ConnectError", "ConnectionError", "MaxRetryError", "ClientConnectorDNSError", "EndpointConnectionError"
        ),
    ),
    Broken(
        what="no connection in time",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        raises=_raises(
            "ConnectTimeout", "ConnectTimeout", "MaxRetryError", "ConnectionTimeoutError", "ConnectTimeoutError"
        ),
    ),
    Broken(
        what="a certificate nobody trusts",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        raises=_raises("ConnectError", "SSLError", "MaxRetryError", "ClientConnectorCertificateError", "SSLError"),
    ),
    Broken(
        what="the TLS greeting is answered in clear text",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        raises=_raises("ConnectError", "SSLError", "MaxRetryError", "ClientConnectorSSLError", "SSLError"),
        differs=dict.fromkeys(("requests", "urllib3", "botocore"), Verdict.UNKNOWN),
    ),
)

LOST: Final = (
    Broken(
        what="reset before the request was read",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises(
            "ReadError RemoteProtocolError WriteError",
            "ConnectionError",
            "ProtocolError",
            "ClientOSError",
            "ConnectionClosedError",
        ),
    ),
    Broken(
        what="reset within the request",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises(
            "ReadError RemoteProtocolError WriteError",
            "ConnectionError",
            "ProtocolError",
            "ClientOSError",
            "ConnectionClosedError",
        ),
    ),
    Broken(
        what="reset after the request was read",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises("ReadError", "ConnectionError", "ProtocolError", "ClientOSError", "ConnectionClosedError"),
    ),
    Broken(
        what="closed without an answer",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises(
            "RemoteProtocolError",
            "ConnectionError",
            "ProtocolError",
            "ServerDisconnectedError",
            "ConnectionClosedError",
        ),
    ),
    Broken(
        what="closed within the answer",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises("RemoteProtocolError", "ChunkedEncodingError", "ProtocolError", "ClientPayloadError", ""),
    ),
    Broken(
        what="an answer that is no HTTP",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises(
            "RemoteProtocolError", "ConnectionError", "ProtocolError", "ClientResponseError", "ConnectionClosedError"
        ),
    ),
    Broken(
        what="no answer in time",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        raises=_raises("ReadTimeout", "ReadTimeout", "ReadTimeoutError", "SocketTimeoutError", "ReadTimeoutError"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer by which a server, or something before it, said no.

    Args:
        codes: the statuses, or names, that are judged alike.
        verdict: what the verdict says of a write's effect.
        fault: what another try would meet.
        why: for people.
    """

    codes: tuple[int, ...] | tuple[str, ...]
    verdict: Verdict
    fault: Fault
    why: str


STATUSES: Final = (
    Answered(
        codes=(400, 401, 402, 403, 404, 405, 406, 407),
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
        why="refused",
    ),
    Answered(
        codes=(408,),
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
        why="a request that took too long may have arrived whole",
    ),
    Answered(
        codes=(409, 410, 411, 412, 413, 414, 415, 416, 417, 422, 423, 424, 426, 428, 431, 451),
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
        why="refused",
    ),
    Answered(
        codes=(425,), verdict=Verdict.NOT_DONE_TRANSIENT, fault=Fault.TRANSIENT, why="not processed, to be sent again"
    ),
    Answered(codes=(429,), verdict=Verdict.NOT_DONE_RATE_LIMITED, fault=Fault.RATE_LIMITED, why="refused for its rate"),
    Answered(
        codes=(500, 502, 503, 504, 599),
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
        why="the server may have acted before it failed; a gateway does not know what the server did",
    ),
    Answered(
        codes=(501, 505),
        verdict=Verdict.UNKNOWN,
        fault=Fault.PERMANENT,
        why="likewise, and another try meets the same",
    ),
)

AWS_CODES: Final = (
    Answered(
        codes=("ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "SlowDown"),
        verdict=Verdict.NOT_DONE_RATE_LIMITED,
        fault=Fault.RATE_LIMITED,
        why="throttled, whatever the status",
    ),
    Answered(
        codes=("ConditionalCheckFailedException", "ValidationException", "AccessDeniedException"),
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
        why="refused, by its status",
    ),
    Answered(
        codes=("TransactionInProgressException", "RequestTimeout"),
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
        why="an earlier request, or this one, may be under way",
    ),
)

GRPC: Final = (
    Answered(
        codes=(
            "INVALID_ARGUMENT",
            "FAILED_PRECONDITION",
            "OUT_OF_RANGE",
            "UNAUTHENTICATED",
            "PERMISSION_DENIED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "UNIMPLEMENTED",
        ),
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
        why="refused",
    ),
    Answered(
        codes=("ABORTED",), verdict=Verdict.NOT_DONE_TRANSIENT, fault=Fault.TRANSIENT, why="a conflict, rolled back"
    ),
    Answered(
        codes=("RESOURCE_EXHAUSTED",),
        verdict=Verdict.NOT_DONE_RATE_LIMITED,
        fault=Fault.RATE_LIMITED,
        why="refused for its rate; unless the text says that a message was too large: that may be the answer",
    ),
    Answered(
        codes=("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL"),
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
        why="the client gives these itself when a connection breaks or is refused, and reports only its last try",
    ),
    Answered(codes=("DATA_LOSS",), verdict=Verdict.UNKNOWN, fault=Fault.PERMANENT, why="the server failed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something else that can go wrong with a write.

    Args:
        what: what happened, for people.
        raised: the class.
        sent: what the verdict says of the request.
        verdict: what the verdict says of the effect.
        fault: what another try would meet.
    """

    what: str
    raised: str
    sent: Sent
    verdict: Verdict
    fault: Fault


SQL: Final = (
    Happened(
        what="connection refused",
        raised="OperationalError",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="no connection in time",
        raised="ConnectionTimeout",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="no connection left in the pool",
        raised="PoolTimeout",
        sent=Sent.NO,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="the backend is terminated within the statement",
        raised="AdminShutdown",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="the connection is cut within the statement",
        raised="OperationalError",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="serialization failure (40001)",
        raised="SerializationFailure",
        sent=Sent.YES,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="deadlock (40P01)",
        raised="DeadlockDetected",
        sent=Sent.YES,
        verdict=Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="unique violation (23505)",
        raised="UniqueViolation",
        sent=Sent.YES,
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
    ),
    Happened(
        what="check violation (23514)",
        raised="CheckViolation",
        sent=Sent.YES,
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
    ),
    Happened(
        what="a read-only server or transaction (25006)",
        raised="ReadOnlySqlTransaction",
        sent=Sent.YES,
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
    ),
    Happened(
        what="statement timeout (57014)",
        raised="QueryCanceled",
        sent=Sent.YES,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="no such table (42P01)",
        raised="UndefinedTable",
        sent=Sent.YES,
        verdict=Verdict.UNKNOWN,
        fault=Fault.PERMANENT,
    ),
)

MCP: Final = (
    Happened(
        what="invalid params (-32602), unknown method (-32601)",
        raised="McpError",
        sent=Sent.YES,
        verdict=Verdict.NOT_DONE_PERMANENT,
        fault=Fault.PERMANENT,
    ),
    Happened(
        what="internal error (-32603)",
        raised="McpError",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="no answer in time",
        raised="McpError",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="the server dies within the call",
        raised="McpError",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="the tool's result is an error (`isError`), by langchain-mcp-adapters",
        raised="_MCPToolExecutionError",
        sent=Sent.YES,
        verdict=Verdict.UNKNOWN,
        fault=Fault.PERMANENT,
    ),
    Happened(
        what="the server refuses the connection, by langchain-mcp-adapters",
        raised="ExceptionGroup",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.TRANSIENT,
    ),
    Happened(
        what="a LangChain tool raises `ToolException`",
        raised="ToolException",
        sent=Sent.MAYBE,
        verdict=Verdict.UNKNOWN,
        fault=Fault.PERMANENT,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAgain:
    """A client that repeats by itself, or follows a redirect, and then raises what the last try met.

    Args:
        client: which one.
        what: what happened, for people.
        verdict: what the verdict says of the effect.
    """

    client: str
    what: str
    verdict: Verdict


SENT_AGAIN: Final = (
    SentAgain(client="requests", what="refused; no retries, as it comes", verdict=Verdict.NOT_DONE_TRANSIENT),
    SentAgain(client="requests", what="refused at each of 3 retries of an adapter", verdict=Verdict.NOT_DONE_TRANSIENT),
    SentAgain(client="requests", what="PUT lost, then refused at an adapter's retry", verdict=Verdict.UNKNOWN),
    SentAgain(client="requests", what="PUT answered 503, then 409 at an adapter's retry", verdict=Verdict.UNKNOWN),
    SentAgain(client="urllib3", what="POST refused at each of its 3 retries", verdict=Verdict.NOT_DONE_TRANSIENT),
    SentAgain(client="urllib3", what="PUT refused, with `retries=False`", verdict=Verdict.NOT_DONE_TRANSIENT),
    SentAgain(client="urllib3", what="PUT lost, then refused at its retry", verdict=Verdict.UNKNOWN),
    SentAgain(client="aiohttp", what="PUT refused", verdict=Verdict.NOT_DONE_TRANSIENT),
    SentAgain(client="aiohttp", what="PUT lost, then refused at its second try", verdict=Verdict.UNKNOWN),
    SentAgain(client="aiohttp", what="DELETE answered 404", verdict=Verdict.NOT_DONE_PERMANENT),
    SentAgain(client="aiohttp", what="DELETE lost, then answered 404 at its second try", verdict=Verdict.UNKNOWN),
    SentAgain(client="aiohttp", what="POST answered 409, with a middleware", verdict=Verdict.UNKNOWN),
    SentAgain(client="botocore", what="refused at each of 2 tries", verdict=Verdict.UNKNOWN),
    SentAgain(client="botocore", what="lost, then refused at its second try", verdict=Verdict.UNKNOWN),
    SentAgain(client="botocore", what="answered 500, then a refusal at its second try", verdict=Verdict.UNKNOWN),
    *(
        SentAgain(client=client, what=f"redirected by {status} to where nobody answers", verdict=Verdict.UNKNOWN)
        for client in ("httpx", "httpx async", "requests", "urllib3", "aiohttp")
        for status in (303, 307)
    ),
    *(
        SentAgain(client=client, what="redirected by 303 to what is not there (404)", verdict=Verdict.UNKNOWN)
        for client in ("httpx", "httpx async", "requests", "aiohttp")
    ),
)
