"""botocore: what AWS error codes prove, and what its own tries and its reads hide."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Fault, Refusal, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind
from tests.guards.classifiers.judging import NOW, judged
from tests.support.failure_tables import AWS_CODES, Answered
from tests.support.http_clients import PATIENCE_SECONDS, dynamodb
from tests.support.misbehaving import Answer, MisbehavingServer, close_after_request, closed_port, status


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """One misbehaving server."""
    it = MisbehavingServer()
    yield it
    it.close()


def aws_error(code: str, http: int = 400, **headers: str) -> Answer:
    """Answer as DynamoDB's protocol does."""
    return status(http, json.dumps({"__type": f"com.amazonaws#{code}", "message": "no"}), **headers)


def client(url: str, *, tries: int = 1) -> Any:
    """Return a patient client."""
    return dynamodb(url, connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS, tries=tries)


def put(url: str, *, tries: int = 1) -> None:
    """Write an item."""
    client(url, tries=tries).put_item(TableName="refunds", Item={"order": {"S": "A-1"}})


def raised(call: Callable[[], object]) -> Exception:
    """Return what a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is the question
        call()
    return caught.value


@pytest.mark.parametrize(("code", "row"), [(code, row) for row in AWS_CODES for code in row.codes])
@pytest.mark.parametrize("http", [400, 503])
def test_an_error_code_is_judged_before_the_status(
    http: int, code: str, row: Answered, server: MisbehavingServer
) -> None:
    """Throttling is not done also as 503; what only its status refuses is unknown as 503."""
    found = judged(
        raised(lambda: put(server.answer(aws_error(code, http, Retry_After="7")))),
        saw_something=True,
        was_answered=True,
    )
    by_status = http == 503 and row.verdict is Verdict.NOT_DONE_PERMANENT
    assert found.verdict is (Verdict.UNKNOWN if by_status else row.verdict)
    assert by_status or found.fault is row.fault
    assert (found.sent, found.retry_after_seconds) == (Sent.YES, 7.0)


def test_a_refusal_after_tries_of_botocores_own_is_unknown(server: MisbehavingServer) -> None:
    """An item that the first, lost try has written makes the condition of the second fail."""
    server.answer(close_after_request, aws_error("ConditionalCheckFailedException"))
    found = judged(raised(lambda: put(server.url, tries=2)), saw_something=True, was_answered=False)
    assert (found.error, found.verdict) == ("ConditionalCheckFailedException", Verdict.UNKNOWN)


def test_a_promise_does_not_lift_the_doubt_about_earlier_tries(server: MisbehavingServer) -> None:
    """The contract speaks of one answer; what came before it stays unknown."""
    server.answer(close_after_request, aws_error("ConditionalCheckFailedException"))
    error = raised(lambda: put(server.url, tries=2))
    promise = Refusal(answer="ConditionalCheckFailedException", fault=Fault.PERMANENT)
    assert classify(error, kind=Kind.BLIND, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


def test_a_later_refusal_may_be_our_own_doing(server: MisbehavingServer) -> None:
    """On a second attempt a failed condition may be speaking of the first, so a verified effect is read back."""
    error = raised(lambda: put(server.answer(aws_error("ConditionalCheckFailedException"))))
    assert classify(error, kind=Kind.VERIFIED, now=NOW, attempt=2).verdict is Verdict.UNKNOWN
    assert classify(error, kind=Kind.BLIND, now=NOW, attempt=2).verdict is Verdict.NOT_DONE_PERMANENT


@pytest.mark.parametrize("answers", [True, False])
def test_a_read_beside_the_write_proves_nothing(*, answers: bool, server: MisbehavingServer) -> None:
    """An operation that only looks, refused or without a connection, says nothing of the write that came before it."""
    url = server.answer(aws_error("ResourceNotFoundException")) if answers else f"http://127.0.0.1:{closed_port()}"
    error = raised(lambda: client(url).get_item(TableName="refunds", Key={"order": {"S": "A-1"}}))
    assert judged(error, saw_something=answers, was_answered=answers).verdict is Verdict.UNKNOWN


def test_what_botocore_refuses_itself_was_never_sent(server: MisbehavingServer) -> None:
    """A request that does not fit the operation is refused before anything is sent."""
    error = raised(lambda: client(server.url).put_item(TableName="refunds"))
    found = judged(error, saw_something=bool(server.received), was_answered=False)
    assert (found.error, found.sent) == ("ParamValidationError", Sent.NO)
    assert found.verdict is Verdict.NOT_DONE_PERMANENT


def test_without_credentials_nothing_was_sent(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that cannot be signed is never sent."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    session = botocore.session.Session()
    unsigned = session.create_client("dynamodb", region_name="eu-central-1", endpoint_url=server.url)
    error = raised(lambda: unsigned.put_item(TableName="refunds", Item={"order": {"S": "A-1"}}))
    found = judged(error, saw_something=bool(server.received), was_answered=False)
    assert (found.error, found.sent) == ("NoCredentialsError", Sent.NO)
    assert found.verdict is Verdict.NOT_DONE_PERMANENT


def test_a_failure_holds_nothing_that_the_server_wrote(server: MisbehavingServer) -> None:
    """An error code is a text of the server's; only known ones reach the record."""
    found = judged(raised(lambda: put(server.answer(aws_error("IbanDE02")))), saw_something=True, was_answered=True)
    assert "DE02" not in found.reason
