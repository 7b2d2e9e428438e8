"""The file that says who is told of requests: strict YAML, no secrets in it, each mistake named by its key."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from langgraph_control.errors import NotifyRefused
from langgraph_control.graphs.notices.chat import Chat
from langgraph_control.graphs.notices.mail import Mail, Security
from langgraph_control.graphs.notices.sink import Sink
from langgraph_control.graphs.notices.webhook import PORTS, Webhook
from langgraph_control.guards.notices import NoticeEvent, secret_bytes
from langgraph_control.guards.policy_reading import Reading
from langgraph_control.guards.policy_text import Path as KeyPath
from langgraph_control.guards.policy_text import read_document
from langgraph_control.guards.policy_words import Duration, Rate, RoleName, Shape, Whole, one_or_more

__all__ = ["NotifySettings", "read_settings"]

SINKS_MAX: Final = 50  # each has a thread of its own
KINDS: Final = ("webhook", "smtp", "apprise")
SMTP_PORTS: Final = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """Who is told, and how.

    Args:
        console: the console's address, for links; None for none.
        remind_at: the share of the time after which people are reminded.
        sinks: the places.
    """

    console: str | None
    remind_at: float
    sinks: tuple[Sink, ...]


def _secret(value: str) -> str:
    if not value.startswith("env:") or not value.removeprefix("env:"):
        raise PydanticCustomError("notify_secret", "write env: and the name of a variable; secrets do not stand here")
    return value.removeprefix("env:")


def _address(value: str) -> str:
    try:
        found = Address(addr_spec=value)
    except Exception:  # noqa: BLE001 - the parser raises more kinds than it documents
        found = Address()
    if not (found.username and found.domain) or not value.isprintable():
        raise PydanticCustomError("notify_value", "write one mail address, like control@acme.example")
    return value


def _web(value: str) -> str:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if (
        not fits
        or "@" in parts.netloc
        or parts.fragment
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise PydanticCustomError("notify_value", "write an address like https://hooks.acme.example/control")
    return value


Secret = Annotated[str, AfterValidator(_secret)]
Secrets = Annotated[list[Secret], BeforeValidator(one_or_more), Field(min_length=1, max_length=2)]
MailAddress = Annotated[str, AfterValidator(_address)]
MailAddresses = Annotated[list[MailAddress], BeforeValidator(one_or_more), Field(min_length=1, max_length=50)]
WebAddress = Annotated[str, AfterValidator(_web)]
Events = Annotated[list[NoticeEvent], BeforeValidator(one_or_more), Field(min_length=1)]


class _FileShape(Shape):
    version: Literal[1]
    console: WebAddress | None = None
    remind_at: Rate = 0.5
    sinks: dict[RoleName, Any] = Field(min_length=1, max_length=SINKS_MAX)


class _SinkShape(Shape):
    events: Events = Field(default_factory=lambda: list(NoticeEvent))
    attempts: Whole = 12
    timeout: Duration = 10


class _WebhookShape(_SinkShape):
    webhook: str
    secrets: Secrets
    allow_private: bool = False


class _SmtpShape(_SinkShape):
    smtp: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9.:-]+$")]
    port: Annotated[int, Field(ge=1, le=65535, strict=True)] | None = None
    security: Security = Security.STARTTLS
    sender: Annotated[MailAddress, Field(alias="from")]
    to: MailAddresses
    username: str | None = None
    password: Secret | None = None


class _AppriseShape(_SinkShape):
    apprise: Secret


def read_settings(file: Path, *, environment: Mapping[str, str] = os.environ) -> NotifySettings:
    """Return what a file says about who is told of requests.

    Args:
        file: the file.
        environment: where its secrets are.

    Raises:
        NotifyRefused: it cannot be used; the text names file, line and key.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotifyRefused(
            f"{file} cannot be read ({type(error).__name__}).",
            todo="Name a file with --notify or LANGGRAPH_CONTROL_NOTIFY, as docs/notifications.md describes.",
            code="notify_file",
        ) from None
    document = read_document(text)
    reading = Reading(document=document, source=file.name, problems=list(document.problems))
    shape = None if reading.problems else reading.shape(_FileShape, document.tree, ())
    sinks: list[Sink] = []
    if shape is not None:
        if shape.remind_at == 1:
            reading.problem(("remind_at",), "notify_value", "write a share above 0 and below 1, like 0.5")
        read = _Read(reading=reading, environment=environment)
        sinks = [sink for name, part in shape.sinks.items() if (sink := read.sink(name, part)) is not None]
    if shape is None or reading.problems:
        raise _refused(reading, file)
    console = None if shape.console is None else shape.console
    return NotifySettings(console=console, remind_at=float(shape.remind_at), sinks=tuple(sinks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One file's sinks."""

    reading: Reading
    environment: Mapping[str, str]

    def sink(self, name: str, part: Any) -> Sink | None:
        """Read one of them; None where it is wrong, which is noted."""
        path: KeyPath = ("sinks", name)
        kinds = [kind for kind in KINDS if isinstance(part, dict) and kind in part]
        if len(kinds) != 1:
            self.reading.problem(path, "notify_value", f"write one of: {', '.join(KINDS)}")
            return None
        reads: Mapping[str, Callable[[str, Any, KeyPath], Sink | None]] = {
            "webhook": self._webhook,
            "smtp": self._smtp,
            "apprise": self._apprise,
        }
        return reads[kinds[0]](name, part, path)

    def _webhook(self, name: str, part: Any, path: KeyPath) -> Sink | None:
        shape = self.reading.shape(_WebhookShape, part, path)
        if shape is None:
            return None
        url = shape.webhook
        if url.startswith("env:"):
            url = self._secret(url.removeprefix("env:"), (*path, "webhook"))
        try:
            _web(url)
        except PydanticCustomError as error:
            self.reading.problem((*path, "webhook"), "notify_value", error.message())
        if urlsplit(url).scheme == "http" and not shape.allow_private:
            self.reading.problem((*path, "webhook"), "notify_value", "write https; http is for allow_private: true")
        secrets = [secret_bytes(self._secret(one, (*path, "secrets"))) for one in shape.secrets]
        if None in secrets:
            self.reading.problem(
                (*path, "secrets"), "notify_secret", "the variable needs whsec_ and the base64 of 24 to 64 bytes"
            )
        return Webhook(
            name=name,
            events=tuple(shape.events),
            attempts=shape.attempts,
            timeout_seconds=shape.timeout,
            url=url,
            secrets=tuple(filter(None, secrets)),
            allow_private=shape.allow_private,
        )

    def _smtp(self, name: str, part: Any, path: KeyPath) -> Sink | None:
        shape = self.reading.shape(_SmtpShape, part, path)
        if shape is None:
            return None
        if shape.username is not None and shape.security is Security.NONE:
            self.reading.problem((*path, "username"), "notify_value", "a login needs security: starttls or tls")
        if (shape.username is None) is not (shape.password is None):
            self.reading.problem(path, "notify_missing_key", "username and password go together")
        return Mail(
            name=name,
            events=tuple(shape.events),
            attempts=shape.attempts,
            timeout_seconds=shape.timeout,
            host=shape.smtp,
            port=shape.port or SMTP_PORTS[shape.security],
            security=shape.security,
            sender=shape.sender,
            to=tuple(shape.to),
            username=shape.username,
            password=None if shape.password is None else self._secret(shape.password, (*path, "password")),
        )

    def _apprise(self, name: str, part: Any, path: KeyPath) -> Sink | None:
        shape = self.reading.shape(_AppriseShape, part, path)
        if shape is None:
            return None
        if find_spec("apprise") is None:
            what = "apprise is not installed: pip install 'langgraph-control[apprise]'"
            self.reading.problem((*path, "apprise"), "notify_not_installed", what)
        return Chat(
            name=name,
            events=tuple(shape.events),
            attempts=shape.attempts,
            timeout_seconds=shape.timeout,
            url=self._secret(shape.apprise, (*path, "apprise")),
        )

    def _secret(self, variable: str, path: KeyPath) -> str:
        value = self.environment.get(variable, "")
        if not value:
            self.reading.problem(path, "notify_secret", f"the variable {variable} is not set")
        return value


def _refused(reading: Reading, file: Path) -> NotifyRefused:
    problems = sorted(reading.problems, key=lambda problem: problem.line)
    # What is refused in every file of ours has the codes of the policy's reader.
    codes = [problem.code.replace("policy_", "notify_") for problem in problems]
    lines = [
        f"{file.name}:{problem.line} {problem.key or '(file)'}: {problem.what} [{code}]"
        for problem, code in zip(problems, codes, strict=True)
    ]
    return NotifyRefused(
        "\n".join(lines) + "\n", safe="Nobody was told anything.", todo="Correct the file.", code=codes[0]
    )
