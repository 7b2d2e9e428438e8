"""What a notice says, and how it is signed."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from langgraph_control.guards.notices import Notice, NoticeEvent, as_json, as_subject, as_text, secret_bytes, signatures

NOTICE = Notice(
    id="msg_1",
    event=NoticeEvent.REQUESTED,
    outcome=None,
    at=datetime(2026, 11, 29, 10, 0, tzinfo=UTC),
    approval="apr_1",
    tool="refund",
    system="billing",
    target="order/A-1 see https://evil.example <!channel> [x](y)",
    asked_by="support-bot",
    on_behalf_of=None,
    expires_at=datetime(2026, 11, 29, 11, 0, tzinfo=UTC),
    link="https://control.acme.example/requests/apr_1",
)


def test_the_published_vector() -> None:
    """The signature is that of the Standard Webhooks reference: over id, timestamp and body."""
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert key is not None
    body = b'{"test": 2432232314}'
    signed = signatures([key], message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets() -> None:
    """While a secret is changed, what is sent has a signature of each."""
    signed = signatures([b"new" * 8, b"old" * 8], message_id="msg_1", timestamp=1, body=b"{}")
    assert len(signed.split(" ")) == 2
    assert signatures([b"old" * 8], message_id="msg_1", timestamp=1, body=b"{}") in signed.split(" ")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_YWJj", "whsec_%%%", base64.b64encode(b"k" * 32).decode()])
def test_what_is_no_secret(secret: str) -> None:
    """A secret without its prefix, too short, or not base64 is none."""
    assert secret_bytes(secret) is None


def test_names_from_records_make_no_link() -> None:
    """In mail and chat the only link is the console's: what a model or a record wrote is none, and calls nobody."""
    text = as_text(NOTICE)
    assert text.count("://") - text.count("(://)") == 1
    assert "evil.example" not in text
    assert not set("<>@[]") & set(text + as_subject(NOTICE))


def test_a_webhook_has_the_names_as_they_are() -> None:
    """A program is told the target unchanged, with the kind of event and its time."""
    assert b'"type":"approval.requested","timestamp":"2026-11-29T10:00:00+00:00"' in as_json(NOTICE)
    assert b"order/A-1 see https://evil.example" in as_json(NOTICE)


def test_a_checkpoint_is_told_to_the_letter() -> None:
    """In mail as in a webhook, the newest checkpoint stands as it was signed, so that it can be verified from there."""
    note = "control/4711\n3\nrraz/idLcKFPsGel5VeCZNsPqbUa9bpQHhWPMp4G53c=\n\n— control/4711 TReHhTZv+QerH=\n"
    told = replace(NOTICE, checkpoint=note)
    assert as_text(told) == f"{as_text(NOTICE)}\nThe record's newest checkpoint:\n\n{note}"
    assert orjson.loads(as_json(told))["data"]["checkpoint"] == note
