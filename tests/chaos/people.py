"""The people: they vote on what is asked, and settle what no program can by what the systems of record show."""

import logging
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from uuid import UUID

import orjson
import psycopg

from langgraph_control import Approvals, ControlError
from langgraph_control.audit.asking.operator_requests import Resolution
from langgraph_control.audit.people.operators import Operators
from tests.chaos.plans import rejected, unanswered

PAUSE_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 1.0  # between two looks at what is stuck
QUIET_SECONDS: Final = 4.0
"""How long the service must have heard nothing of an action before its log counts: longer than any fault delays one."""

GIVEN_UP: Final = 0.1

_STUCK: Final = "SELECT run_id, key FROM control.action WHERE state = 'needs_human'"
_BOOKED: Final = "SELECT count(*) FROM chaos.booking WHERE action_key = %s"
_SENT: Final = "SELECT max(at_ms) FROM request WHERE action_key = ?"
_DONE: Final = "SELECT count(*) FROM effect WHERE action_key = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Where people look and on which logins they act.

    Args:
        approver: the approver login's DSN; its person has the role that owns what is stuck.
        admin: a login that sees the ledger and the booking table.
        billing_db: the service's file.
    """

    approver: str
    admin: str
    billing_db: Path


def vote(conductor: Connection, dsn: str) -> None:
    """Decide on every request as it comes, from a process and a login of its own, until told to stop.

    Args:
        conductor: anything received on it ends the voting.
        dsn: the approver login's.
    """
    _start()
    with Approvals(dsn) as approvals:
        while not conductor.poll(PAUSE_SECONDS):
            _decide(approvals)


def attend(conductor: Connection, office: Office) -> None:
    """Do what :func:`vote` does, and settle what is stuck.

    Args:
        conductor: anything received on it ends it.
        office: where, and as whom.
    """
    _start()
    looked = -LOOK_SECONDS
    with Approvals(office.approver) as approvals, Operators(office.approver) as operators:
        while not conductor.poll(PAUSE_SECONDS):
            _decide(approvals)
            if time.monotonic() - looked < LOOK_SECONDS:
                continue
            looked = time.monotonic()
            try:
                for run, key, verdict in _found_out(office):
                    operators.resolve(run, key, verdict, comment="Looked it up in the service's own log.")
            except (ControlError, psycopg.Error):
                continue  # the server is being restarted, or it was settled meanwhile: look again


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)


def _decide(approvals: Approvals) -> None:
    try:
        for request in approvals.inbox():
            target = orjson.loads(request.card)["what"]["arguments"]["target"]
            if not unanswered(target):
                decide = approvals.reject if rejected(target) else approvals.approve
                decide(request.approval_id)
    except ControlError:
        return  # the server is being restarted, or the request was replaced or expired meanwhile: look again


def _found_out(office: Office) -> Iterator[tuple[UUID, bytes, Resolution]]:
    """What is stuck, and what became of it: the truth, or, for some, that nobody will find out."""
    with (
        psycopg.connect(office.admin, autocommit=True) as ledger,
        closing(sqlite3.connect(f"file:{office.billing_db}?mode=ro", uri=True)) as service,
    ):
        for run, key in ledger.execute(_STUCK).fetchall():
            name = key.hex()
            (sent_ms,) = service.execute(_SENT, (name,)).fetchone()
            if sent_ms is not None and time.time() - sent_ms / 1000 < QUIET_SECONDS:
                continue
            (booked,) = ledger.execute(_BOOKED, (name,)).fetchone() or (0,)
            (done,) = service.execute(_DONE, (name,)).fetchone()
            if random.Random(name).random() < GIVEN_UP:
                yield run, key, Resolution.GIVE_UP
            else:
                yield run, key, Resolution.HAPPENED if done or booked else Resolution.DID_NOT
