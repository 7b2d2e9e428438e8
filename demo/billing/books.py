"""The service's record in SQLite: orders, effects, answers under a key, and the log of all requests."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

_SCHEMA: Final = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


class Kind(StrEnum):
    """What the service can be asked to do."""

    REFUND = "refund"  # moves money; can be looked up
    EMAIL = "email"  # goes to the customer; cannot be looked up
    NOTE = "note"  # an entry in a feed; cannot be looked up


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the service was told about an order."""

    id: str
    customer: str
    cents: int
    currency: str
    status: str
    flagged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One change asked for, by one request."""

    request_id: int
    kind: Kind
    target: str
    text: str
    cents: int | None
    action_key: str | None
    idempotency_key: str | None
    visible_after_ms: int = 0

    def fingerprint(self) -> str:
        """Identify what is asked for, to tell a repeat from another request under the same key."""
        asked = json.dumps([self.kind, self.target, self.text, self.cents])
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status and a JSON body."""

    status: int
    body: Mapping[str, Any]


def decimal_string(cents: int) -> str:
    """Write an amount as people do."""
    return f"{cents // 100}.{cents % 100:02d}"


def problem(status: int, code: str, detail: str) -> Answer:
    """Answer that something was not done, and why."""
    return Answer(status=status, body={"error": code, "detail": detail})


class Books:
    """One SQLite file, one connection, one thread: the service is the only writer.

    Args:
        path: the database file; created if absent.

    Attributes:
        db: the connection; the judge reads on it.
    """

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        # WAL lets a judge read the file while the service runs; NORMAL survives the service's death, not the machine's.
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def receive(self, *, method: str, path: str, target: str | None, headers: Mapping[str, str]) -> int:
        """Log a request before anything is decided about it; return its id."""
        cursor = self.db.execute(
            "INSERT INTO request (at_ms, method, path, target, action_key, idempotency_key) VALUES (?, ?, ?, ?, ?, ?)",
            (_now_ms(), method, path, target, headers.get("x-action-key"), headers.get("idempotency-key")),
        )
        return int(cursor.lastrowid or 0)

    def end(self, request_id: int, *, status: int | None, fault: str | None) -> None:
        """Log how a request was treated: answered with a status, or dropped (None)."""
        self.db.execute(
            "UPDATE request SET ended = ?, status = ?, fault = ? WHERE id = ?",
            ("dropped" if status is None else "answered", status, fault, request_id),
        )

    def put_order(self, order: Order) -> None:
        """Create or replace an order; its version grows."""
        self.db.execute(
            "INSERT INTO customer_order VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET"
            " customer = excluded.customer, cents = excluded.cents, currency = excluded.currency,"
            " status = excluded.status, flagged = excluded.flagged, version = version + 1",
            (order.id, order.customer, order.cents, order.currency, order.status, order.flagged),
        )

    def order(self, order_id: str) -> Answer:
        """Return the order as reads show it now."""
        row = self.db.execute(
            "SELECT o.*, count(e.id) AS refunds, coalesce(sum(e.cents), 0) AS refunded FROM customer_order o"
            " LEFT JOIN effect e ON e.target = o.id AND e.kind = 'refund' AND e.visible_at_ms <= ?"
            " WHERE o.id = ? GROUP BY o.id",
            (_now_ms(), order_id),
        ).fetchone()
        if row is None:
            return problem(404, "no_such_order", "there is no order with this id")
        return Answer(
            status=200,
            body={
                "id": row["id"],
                "customer": row["customer"],
                "total": decimal_string(row["cents"]),
                "currency": row["currency"],
                "status": row["status"],
                "flagged": bool(row["flagged"]),
                "refunded": decimal_string(row["refunded"]),
                "version": row["version"] + row["refunds"],
            },
        )

    def refunds(self, *, order_id: str | None, action_key: str | None) -> Answer:
        """Return the refunds that reads show now."""
        rows = self.db.execute(
            "SELECT * FROM effect WHERE kind = 'refund' AND visible_at_ms <= ?"
            " AND (? IS NULL OR target = ?) AND (? IS NULL OR action_key = ?) ORDER BY id LIMIT 100",
            (_now_ms(), order_id, order_id, action_key, action_key),
        )
        return Answer(status=200, body={"refunds": [_effect_body(row) for row in rows]})

    def reserve(self, write: Write) -> Answer | None:
        """Take the idempotency key before the work begins; return an answer if the key is already taken."""
        with self._transaction():
            if (known := self._under_key(write)) is None and write.idempotency_key:
                self.db.execute(
                    "INSERT INTO idempotency (key, fingerprint) VALUES (?, ?)",
                    (write.idempotency_key, write.fingerprint()),
                )
        return known

    def carry_out(self, write: Write) -> Answer:
        """Do what is asked under a reserved key, effect and stored answer in one transaction."""
        with self._transaction():
            answer = self._refusal(write) or self._effect(write)
            if write.idempotency_key and answer.status < 300:  # noqa: PLR2004 - HTTP's own number
                self.db.execute(
                    "UPDATE idempotency SET status = ?, body = ? WHERE key = ?",
                    (answer.status, json.dumps(answer.body), write.idempotency_key),
                )
            elif write.idempotency_key:
                self.db.execute("DELETE FROM idempotency WHERE key = ?", (write.idempotency_key,))
        return answer

    def _under_key(self, write: Write) -> Answer | None:
        """Answer for a key that was used before (draft-ietf-httpapi-idempotency-key-header, section 2.7)."""
        row = self.db.execute("SELECT * FROM idempotency WHERE key = ?", (write.idempotency_key,)).fetchone()
        if row is None:
            return None
        if row["fingerprint"] != write.fingerprint():
            return problem(422, "key_reused", "this key was used for another request")
        if row["status"] is None:
            return problem(409, "key_in_use", "the first request under this key is still being worked on")
        return Answer(status=row["status"], body=json.loads(row["body"]))

    def _refusal(self, write: Write) -> Answer | None:
        """Apply the business rules, to all effects, shown or not."""
        if write.kind is not Kind.REFUND or write.cents is None:
            return None
        row = self.db.execute(
            "SELECT o.status, o.cents, (SELECT coalesce(sum(e.cents), 0) FROM effect e"
            " WHERE e.target = o.id AND e.kind = 'refund') AS refunded FROM customer_order o WHERE o.id = ?",
            (write.target,),
        ).fetchone()
        if row is None:
            return problem(404, "no_such_order", "there is no order with this id")
        if row["status"] == "locked":
            return problem(423, "order_locked", "the order is locked")
        if row["refunded"] + write.cents > row["cents"]:
            return problem(409, "exceeds_total", "more would be refunded than was paid")
        return None

    def _effect(self, write: Write) -> Answer:
        now = _now_ms()
        row = self.db.execute(
            "INSERT INTO effect (request_id, at_ms, visible_at_ms, kind, target, cents, text, action_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                write.request_id,
                now,
                now + write.visible_after_ms,
                write.kind,
                write.target,
                write.cents,
                write.text,
                write.action_key,
            ),
        ).fetchone()
        return Answer(status=201, body=_effect_body(row))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")


def _effect_body(row: sqlite3.Row) -> dict[str, Any]:
    """Show an effect as the service's clients see it."""
    body: dict[str, Any] = {
        "id": f"{row['kind']}-{row['id']}",
        "target": row["target"],
        "text": row["text"],
        "action_key": row["action_key"],
    }
    return body if row["cents"] is None else body | {"amount": decimal_string(row["cents"])}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
