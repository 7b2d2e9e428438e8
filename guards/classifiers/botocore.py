"""botocore (and boto3 on top of it), which tries up to five times by itself unless told not to.

Where it did, what it raises speaks of the last try only: ``Config(retries={"total_max_attempts": 1})`` leaves trying
again to the gate.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from langgraph_control.guards.classifiers import urllib3
from langgraph_control.guards.classifiers.http_answers import answered, broke_off, pause_in, unsent
from langgraph_control.guards.classifiers.recognising import classes_of, passed
from langgraph_control.guards.failures import Evidence, Fault, Sent

PACKAGES: Final = frozenset({"botocore"})

_UNSENT: Final = frozenset({"EndpointConnectionError", "ConnectTimeoutError"})
_EXCHANGE: Final = frozenset({"HTTPClientError", "ConnectionError"})

# botocore.retries.standard, without those that speak of an earlier request which is still being worked on.
_THROTTLING: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
# Answers of the 4xx kind that refuse nothing: the request may have arrived, or an earlier one is under way.
_TELLS_NOTHING: Final = frozenset(
    {"PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"}
)
_READS: Final = ("BatchGet", "Describe", "Get", "Head", "List", "Lookup", "Query", "Scan", "Search", "Select")


def evidence(error: BaseException, now: datetime) -> Evidence | None:
    """Say what an exception of botocore tells; None for any other.

    Args:
        error: what was raised.
        now: the current time, with a zone.
    """
    names = classes_of(error, *PACKAGES)
    if not names:
        return None
    if "ClientError" in names:
        return _answered(error, now)
    if "ParamValidationError" in names or ("NoCredentialsError" in names and _tries(error) == 1):
        return Evidence(
            fault=Fault.PERMANENT, sent=Sent.NO, undone=True, reason="botocore refused it before anything was sent"
        )
    if _UNSENT.intersection(names) or ("SSLError" in names and urllib3.never_connected(_below(error))):
        return unsent(method=None, whole=_tries(error) == 1 and not _reads(_operation(error)))
    return broke_off(Fault.TRANSIENT if _EXCHANGE.intersection(names) else Fault.PERMANENT)


def _answered(error: Any, now: datetime) -> Evidence:
    about = error.response.get("ResponseMetadata", {})  # an event stream's error has none
    name = str(error.response.get("Error", {}).get("Code", ""))
    found = answered(
        about.get("HTTPStatusCode", 0),
        whole=about.get("RetryAttempts") == 0 and not _reads(error.operation_name),
        retry_after_seconds=pause_in(about.get("HTTPHeaders"), now),
    )
    found = replace(found, codes=(name, *found.codes))
    if name in _THROTTLING:
        return replace(found, fault=Fault.RATE_LIMITED, undone=found.whole, reason=f"{name}: refused for its rate")
    if name in _TELLS_NOTHING:
        return replace(found, fault=Fault.TRANSIENT, undone=False, reason=f"{name}: it may be under way")
    return found


def _below(error: BaseException) -> object:
    """What botocore got from urllib3: a bad certificate is found before anything is sent, other TLS errors later."""
    return getattr(error, "kwargs", {}).get("error")


def _reads(operation: object) -> bool:
    """Whether an operation's name says that it only looks: a lookup beside the write proves nothing about it."""
    return isinstance(operation, str) and operation.startswith(_READS)


def _tries(error: BaseException) -> int:
    """How often botocore sent this request; 0 if that cannot be seen."""
    counts = [calls.get("attempts") for calls in passed(error, "botocore.endpoint", "_send_request")]
    return sum(count for count in counts if isinstance(count, int))


def _operation(error: BaseException) -> object:
    names = [calls.get("operation_name") for calls in passed(error, "botocore.client", "_make_api_call")]
    return names[-1] if names else None
