"""Pins by name, and the webhook that is one: signed, never redirected, never inside."""

from dataclasses import replace
from pathlib import Path

import pytest

from langgraph_control.audit.seals.pins import FilePin, S3Pin
from langgraph_control.errors import PinFailed, SealRefused
from langgraph_control.graphs.notices.webhook import Webhook
from langgraph_control.graphs.pins import SECRET_VARIABLE, WebhookPin, pins_named
from tests.audit.test_checkpoints import GO_NOTE
from tests.support.receivers import KEY, SECRET, receiver


def hook(url: str) -> WebhookPin:
    """A pin at an address on this machine."""
    return WebhookPin(
        hook=Webhook(
            name="webhook 127.0.0.1",
            events=(),
            attempts=1,
            timeout_seconds=5,
            url=url,
            secrets=(KEY,),
            allow_private=True,
        )
    )


def test_a_webhook_is_told_by_a_signed_post() -> None:
    """It gets the whole note, signed; the same note again has the same id."""
    with receiver() as place:
        pin = hook(place.url)
        pin.pin(GO_NOTE)
        pin.pin(GO_NOTE)
    one, two = place.received
    assert (one.is_signed(), two.is_signed(), one.id) == (True, True, two.id)
    assert (one.data["type"], one.data["data"]) == ("checkpoint", {"checkpoint": GO_NOTE})


@pytest.mark.parametrize("status", [301, 308, 400, 500])
def test_a_webhook_that_does_not_say_yes(status: int) -> None:
    """Any other answer counts as not pinned, a redirect is not followed, and the address is not in the error."""
    with receiver() as place, receiver() as elsewhere:
        place.status, place.headers = status, {"location": elsewhere.url}
        with pytest.raises(PinFailed) as refused:
            hook(f"{place.url}?secret=not-told").pin(GO_NOTE)
    assert elsewhere.received == []
    assert "not-told" not in str(refused.value)


def test_a_webhook_inside_is_refused() -> None:
    """An address that leads inside is not connected to."""
    with receiver() as place:
        inside = hook(place.url)
        with pytest.raises(PinFailed, match="internal address"):
            replace(inside, hook=replace(inside.hook, allow_private=False)).pin(GO_NOTE)
    assert place.received == []


def test_pins_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file, a webhook and a bucket are named on the command line; secrets come from the environment."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    monkeypatch.chdir(tmp_path)
    file, relative, web, bucket = pins_named(
        ["file:/var/pins", "file:pins", "https://hooks.acme.example/pin?key=4711", "s3://acme/control/?days=30"]
    )
    assert (file, relative) == (FilePin(Path("/var/pins")), FilePin(tmp_path / "pins"))
    assert isinstance(web, WebhookPin)
    assert (web.hook.allow_private, web.hook.secrets, str(web)) == (False, (KEY,), "webhook hooks.acme.example")
    assert "4711" not in repr(web)
    assert bucket == S3Pin(bucket="acme", prefix="control/", days=30)
    assert str(bucket) == "s3://acme/control/"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "pins",
        "file:",
        "file://",
        "ftp://acme.example/",
        "https://",
        "https://user:secret@acme.example/",
        "https://[",
        "s3:///prefix",
        "s3://acme?days=0",
        "s3://acme?days=many",
        "s3://acme?mode=none",
        "s3://acme?lock=no",
    ],
)
def test_what_is_no_pin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused before anything is sealed."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with pytest.raises(SealRefused) as refused:
        pins_named([name])
    assert refused.value.code == "pin_invalid"


@pytest.mark.parametrize("secret", ["", "secret", "whsec_c2hvcnQ=", f"{SECRET} secret"])
def test_a_webhook_without_a_secret(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook is a pin only where what it is told can be signed."""
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    with pytest.raises(SealRefused) as refused:
        pins_named(["https://hooks.acme.example/"])
    assert refused.value.code == "pin_secret"
