"""Slack, Teams and some hundred others, through apprise (extra ``[apprise]``)."""

import logging
from dataclasses import dataclass, field

from langgraph_control.graphs.notices.sink import Told
from langgraph_control.guards.notices import Notice, NoticeEvent, as_subject, as_text

__all__ = ["Chat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A service that apprise knows. It has no ids: a notice that is sent twice is there twice.

    Args:
        name: what it is called.
        events: what it is told.
        attempts: how often one notice is tried.
        timeout_seconds: how long one try is expected to take; apprise has time-outs of its own for each request.
        url: apprise's; never shown, for it holds a secret.
    """

    name: str
    events: tuple[NoticeEvent, ...]
    attempts: int
    timeout_seconds: float
    url: str = field(repr=False)

    def send(self, notice: Notice) -> Told:
        """Send it as plain text.

        Args:
            notice: what is told.
        """
        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines may hold the service's answers
        service = apprise.Apprise()
        if not service.add(self.url):
            return Told(error="is no address that apprise knows")
        taken = service.notify(title=as_subject(notice), body=as_text(notice), body_format=apprise.NotifyFormat.TEXT)
        return Told() if taken else Told(error="was not taken")
