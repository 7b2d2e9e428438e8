"""``notify``: tells people outside of requests, until it is told to stop; and what could not be told."""

import signal
import threading
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from langgraph_control.audit.asking.notices import NoticeSinks, RetryNotices, SinkRow
from langgraph_control.audit.connecting.store import Store
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_json
from langgraph_control.cli.worker import log_lines
from langgraph_control.errors import NotifyRefused

__all__ = ["NOTIFY_VARIABLE", "NotifyFile", "notify"]

NOTIFY_VARIABLE = "LANGGRAPH_CONTROL_NOTIFY"

NotifyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--notify", envvar=NOTIFY_VARIABLE, help="The file that says who is told.", show_default=False),
]


def notify(
    *,
    notify: NotifyFile = None,
    once: Annotated[bool, typer.Option("--once", help="Tell what is due now, and end.")] = False,
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Have what was given up tried again.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far each place is behind.")] = False,
    sink: Annotated[str | None, typer.Option(help="With --retry-dead: of one place.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: JSON.")] = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Tell people outside that there is something to decide: by webhook, mail or chat.

    On an approver's login, best one that is nobody's; or on the agent's. Any number may run, each notice is sent by one
    of them. The logins of each role serve places of their own: run either this or `worker --notify`, not both.
    """
    with database("approver", dsn=dsn, local=local) as place:
        store = Store(place.dsn, application_name="langgraph-control notify")
        try:
            if status:
                _print_status(store.call(NoticeSinks()), as_json=as_json)
            elif retry_dead:
                print(f"{store.call(RetryNotices(sink=sink))} notices will be tried again.")
            else:
                _tell(store, notify, once=once)
        finally:
            store.close()


def _tell(store: Store, file: Path | None, *, once: bool) -> None:
    from langgraph_control.graphs.notices.notifier import Notifier
    from langgraph_control.graphs.notices.settings import read_settings

    if file is None:
        raise NotifyRefused(
            "No file says who is told of requests.",
            safe="Nobody was told anything.",
            todo=f"Name it with --notify or {NOTIFY_VARIABLE}.",
            code="notify_file",
        )
    settings = read_settings(file)
    log_lines()
    notifier = Notifier(store, settings.sinks, console=settings.console, remind_at=settings.remind_at)
    if once:
        print(f"{notifier.once()} notices were sent.")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with notifier:
        stop.wait()


def _print_status(rows: tuple[SinkRow, ...], *, as_json: bool) -> None:
    if as_json:
        print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
        return
    out = console()
    if not rows:
        indented(out, "No place was ever told anything by this login's role.", by=0)
    for row in rows:
        heading(out, row.sink, style="red" if row.dead else "")
        facts = [("waiting", str(row.waiting)), ("given up", str(row.dead) if row.dead else None)]
        pairs(out, [*facts, ("oldest", moment(row.oldest)), ("error", row.error), ("served", moment(row.seen_at))])
