"""Mail over SMTP: encrypted unless told otherwise, plain text, nothing in it that decides."""

import contextlib
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum

from langgraph_control.audit.deadline import Deadline, what_failed
from langgraph_control.graphs.notices.sink import Told
from langgraph_control.guards.notices import Notice, NoticeEvent, as_subject, as_text

__all__ = ["Mail", "Security"]


class Security(StrEnum):
    """How the way to the mail server is protected."""

    STARTTLS = "starttls"  # encrypted after the first words; a server that cannot is not used
    TLS = "tls"  # encrypted from the beginning
    NONE = "none"  # for a relay on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail server, and who is written to.

    Args:
        name: what it is called.
        events: what is told.
        attempts: how often one notice is tried.
        timeout_seconds: how long one try may take.
        host: the server's name.
        port: its port.
        security: how the way there is protected.
        sender: the address of the sender.
        to: the addresses that are written to.
        username: for a server that asks; None: none.
        password: likewise.
        tls: whom to trust; by default what the system trusts.
    """

    name: str
    events: tuple[NoticeEvent, ...]
    attempts: int
    timeout_seconds: float
    host: str
    port: int
    security: Security
    sender: str
    to: tuple[str, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    def send(self, notice: Notice) -> Told:
        """Hand one mail to the server for everybody. It is sent where the server has taken it for anybody.

        Args:
            notice: what is told.
        """
        server = (
            smtplib.SMTP_SSL(timeout=self.timeout_seconds, context=self.tls or ssl.create_default_context())
            if self.security is Security.TLS
            else smtplib.SMTP(timeout=self.timeout_seconds)
        )
        server._host = self.host  # type: ignore[attr-defined]  # noqa: SLF001 - the name that is verified; only a connecting constructor sets it
        with Deadline(self.timeout_seconds, lambda: server.sock) as deadline:
            try:
                self._hand_over(server, self.message(notice))
            except smtplib.SMTPResponseException as error:
                return Told(error=f"answered {error.smtp_code}")
            except smtplib.SMTPRecipientsRefused:
                return Told(error="takes mail for none of the recipients")
            except smtplib.SMTPNotSupportedError:
                return Told(error=f"does not offer what was asked for ({self.security}, or a login)")
            except ssl.SSLError as error:
                return Told(error=f"cannot be trusted ({error.reason or type(error).__name__})")
            except (OSError, smtplib.SMTPException, ValueError, AttributeError) as error:
                # The last two: a connection that the deadline closed in the middle of something.
                return Told(error=what_failed(error, deadline, self.timeout_seconds))
            finally:
                server.close()
        return Told()

    def _hand_over(self, server: smtplib.SMTP, message: EmailMessage) -> None:
        server.connect(self.host, self.port)
        if self.security is Security.STARTTLS:
            server.starttls(context=self.tls or ssl.create_default_context())
        if self.username is not None:
            server.login(self.username, self.password or "")
        server.send_message(message, from_addr=self.sender, to_addrs=list(self.to))
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.quit()  # it has the mail; how it says goodbye changes nothing

    def message(self, notice: Notice) -> EmailMessage:
        """Return the mail. Its id is the notice's, so that a mail sent twice is one for programs that look.

        Args:
            notice: what is told.
        """
        mail = EmailMessage()
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.to)
        mail["Subject"] = as_subject(notice)
        mail["Date"] = format_datetime(notice.at)
        mail["Message-ID"] = f"<{notice.id}@{self.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(as_text(notice))
        return mail
