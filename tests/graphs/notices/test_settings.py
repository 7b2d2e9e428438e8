"""The file that says who is told: each mistake is named by its key, and no secret stands in it."""

from pathlib import Path

import pytest

from langgraph_control.errors import NotifyRefused
from langgraph_control.graphs.notices import settings as reading
from langgraph_control.graphs.notices.chat import Chat
from langgraph_control.graphs.notices.mail import Mail, Security
from langgraph_control.graphs.notices.settings import NotifySettings, read_settings
from langgraph_control.graphs.notices.webhook import Webhook
from langgraph_control.guards.notices import NoticeEvent
from tests.support.receivers import KEY, SECRET

WHOLE = """\
version: 1
console: https://control.acme.example
remind_at: 0.75
sinks:
  ops:
    webhook: https://hooks.acme.example/control
    secrets: [env:NEW, env:OLD]
    events: [requested, decided]
    timeout: 5s
    attempts: 20
  mail:
    smtp: smtp.acme.example
    from: control@acme.example
    to: [ana@acme.example, bo@acme.example]
    username: control
    password: env:PASSWORD
  slack:
    apprise: env:SLACK
"""
ENVIRONMENT = {"NEW": SECRET, "OLD": SECRET, "PASSWORD": "pw", "SLACK": "slack://a/b/c"}


def read(tmp_path: Path, text: str) -> NotifySettings:
    """Read a file."""
    (tmp_path / "notify.yaml").write_text(text)
    return read_settings(tmp_path / "notify.yaml", environment=ENVIRONMENT)


def test_a_whole_file(tmp_path: Path) -> None:
    """All three kinds of places, with what is left out as the page says; secrets come from the environment."""
    found = read(tmp_path, WHOLE)
    assert (found.console, found.remind_at) == ("https://control.acme.example", 0.75)
    ops, mail, slack = found.sinks
    assert isinstance(ops, Webhook)
    assert (ops.secrets, ops.timeout_seconds, ops.attempts) == ((KEY, KEY), 5, 20)
    assert ops.events == (NoticeEvent.REQUESTED, NoticeEvent.DECIDED)
    assert isinstance(mail, Mail)
    assert (mail.security, mail.port, mail.password, mail.events) == (Security.STARTTLS, 587, "pw", tuple(NoticeEvent))
    assert isinstance(slack, Chat)
    assert slack.url == "slack://a/b/c"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither secret nor password nor an address with a token in it is in what a debugger prints."""
    shown = repr(read(tmp_path, WHOLE))
    assert not any(secret in shown for secret in ("slack://", "'pw'", "secret of", "hooks.acme"))


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("version: 1", "version: 2", "notify.yaml:1 version: "),
        ("remind_at: 0.75", "remind_at: 1", "notify.yaml:3 remind_at: write a share above 0 and below 1"),
        ("console: https:", "console: javascript:", "console: write an address like"),
        ("https://hooks.acme.example", "ftp://hooks.acme.example", "sinks.ops.webhook: write an address like"),
        ("https://hooks.acme.example", "http://hooks.acme.example", "sinks.ops.webhook: write https"),
        ("https://hooks.acme.example", "https://u:p@hooks.acme.example", "sinks.ops.webhook: write an address like"),
        ("env:OLD", SECRET, "sinks.ops.secrets[1]: write env: and the name of a variable"),
        ("env:OLD", "env:PASSWORD", "sinks.ops.secrets: the variable needs whsec_"),
        ("env:OLD", "env:NOWHERE", "sinks.ops.secrets: the variable NOWHERE is not set"),
        ("[requested, decided]", "[asked]", "sinks.ops.events[0]: "),
        ("timeout: 5s", "timeout: 5", "sinks.ops.timeout: write a time like"),
        ("attempts: 20", "attempts: 0", "sinks.ops.attempts: write a whole number"),
        ("attempts: 20", "retries: 20", "sinks.ops.retries: there is no such key"),
        ("from: control@", "from: control.", "sinks.mail.from: write one mail address"),
        ("bo@acme.example", '"bo@acme.example\\r\\nBcc: eve@evil.example"', "sinks.mail.to[1]: write one mail address"),
        ("username: control", "security: none", "sinks.mail: username and password go together"),
        ("username: control", "security: none\n    username: control", "sinks.mail.username: a login needs"),
        ("apprise: env:SLACK", "apprise: slack://a/b/c", "sinks.slack.apprise: write env:"),
        ("apprise: env:SLACK", "pager: env:SLACK", "sinks.slack: write one of: webhook, smtp, apprise"),
        ("  slack:", "  ops:", "notify.yaml:17 "),
    ],
)
def test_mistakes(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    """Each mistake is named by file, line and key, and says what to write; nothing of such a file is used."""
    with pytest.raises(NotifyRefused) as refused:
        read(tmp_path, WHOLE.replace(was, becomes))
    assert said in str(refused.value)
    assert refused.value.code.startswith("notify_")
    assert SECRET not in str(refused.value)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is named, and so is one that is no text."""
    with pytest.raises(NotifyRefused, match="notify_file"):
        read_settings(tmp_path / "nowhere.yaml")
    (tmp_path / "notify.yaml").write_bytes(b"\xff")
    with pytest.raises(NotifyRefused, match="notify_file"):
        read_settings(tmp_path / "notify.yaml")


def test_without_apprise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its library is not installed, the key that needs it says what to install."""
    monkeypatch.setattr(reading, "find_spec", lambda _: None)
    with pytest.raises(NotifyRefused, match=r"sinks\.slack\.apprise: apprise is not installed: pip install"):
        read(tmp_path, WHOLE)
