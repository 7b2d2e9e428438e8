"""The console's inbox with very many requests: what its pages take, whoever else was ever asked."""

import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import orjson
import psycopg
from psycopg.conninfo import make_conninfo

from bench.ground import Ground, Place
from bench.measuring import in_turn, p50_ms, ratios
from bench.table import AT_MOST, TIMES, Bar, Line
from langgraph_control.audit.people.token_edits import add_token
from langgraph_control.audit.people.token_file import TokenFile
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.console.address import Address
from langgraph_control.console.serving import Server
from langgraph_control.console.visiting import Console

__all__ = ["pages"]

SERVICE: Final = "bench_console"
PERSON: Final = "ana@acme.example"
OPEN: Final = 10_000
PAGE_MS_MAX: Final = 200

CARD: Final = orjson.dumps(
    {
        "what": {
            "tool": "pay",
            "impact": "money",
            "arguments": {"order_id": "o-4711", "amount": "500", "reason": "x" * 400},
        },
        "where": {"system": "billing", "target": "order/o-4711"},
        "why": {
            "intent": "bench",
            "reasons": ["rules[1] control.yaml:7 says approve by 1 of finance"],
            "model_says": {},
        },
        "who": {"actor": "bench", "on_behalf_of": None},
        "diff": {"refunded": ["0.00", "500"]},
    }
)
REQUIREMENT: Final = orjson.dumps(
    {
        "quorum": {"finance": 1},
        "not_by": ["requester"],
        "within_seconds": 86400,
        "execute_within_seconds": 3600,
        "on_expiry": "deny",
        "comment_required": False,
    }
).decode()

RUNS: Final = """
INSERT INTO control.run (run_id, tenant, trigger, intent, graph, thread_id, actor, started_at)
SELECT md5(%(kind)s || n)::uuid, 'default', %(kind)s || '/' || n, 'bench', 'bench', %(kind)s || '/' || n, 'bench', now()
FROM generate_series(1, %(count)s::integer) n
"""
REQUESTS: Final = """
INSERT INTO control.approval (
    approval_id, tenant, key, run_id, tool, scope, digest, requirement, card, state, requested_at, expires_at)
SELECT md5('asked' || %(kind)s || n)::uuid, 'default', sha256((%(kind)s || n)::bytea), md5(%(kind)s || n)::uuid, 'pay',
    sha256(('scope' || n)::bytea), sha256(('digest' || n)::bytea), %(requirement)s::jsonb, %(card)s, %(state)s,
    now() - interval '12 h' + n * interval '1 ms', now() + interval '12 h'
FROM generate_series(1, %(count)s::integer) n
"""
WAITING: Final = """
INSERT INTO control.open_approval (tenant, requested_at, approval_id)
SELECT tenant, requested_at, approval_id FROM control.approval WHERE state = 'open'
"""
VOTES: Final = """
INSERT INTO control.vote (approval_id, person, decision, login, groups, voted_at)
SELECT approval_id, 'bo@acme.example', 'approve', 'bench', '{}', now() FROM control.approval WHERE state = 'used'
"""


def pages(ground: Ground, *, closed: int, calls: int, repetitions: int) -> list[Line]:
    """Measure pages of an inbox with 10,000 open requests, beside few and beside many decided ones.

    Args:
        ground: the server.
        closed: how many are many.
        calls: timed in one repetition.
        repetitions: of everything.
    """
    few, many = ground.place("inbox_few"), ground.place("inbox_many")
    _fill(few, closed=100)
    _fill(many, closed=closed)
    with _served(few) as small, _served(many) as large:
        contestants: dict[str, Callable[[], float]] = {
            "few": lambda: p50_ms(_getting(small, "/"), calls=calls),
            "many": lambda: p50_ms(_getting(large, "/"), calls=calls),
            "every": lambda: p50_ms(_getting(large, "/?view=all"), calls=calls),
            "none": lambda: p50_ms(_getting(large, "/?tool=none"), calls=max(1, calls // 4)),
            "further": lambda: p50_ms(_getting(large, _further(large)), calls=calls),
            "decided": lambda: p50_ms(_getting(large, "/decided"), calls=calls),
        }
        for measure in contestants.values():
            measure()
        taken = in_turn(repetitions, **contestants)
    bar = Bar(AT_MOST, PAGE_MS_MAX)
    return [
        Line(f"inbox, {OPEN:,} open: first page", taken["many"], " ms", bar=bar),
        Line(
            f"the same, {closed:,} decided against 100",
            ratios(taken["many"], taken["few"]),
            TIMES,
            bar=Bar(AT_MOST, 1.2),
        ),
        Line("first page of all", taken["every"], " ms", bar=bar),
        Line("a further page", taken["further"], " ms", bar=bar),
        Line("a filter that nothing fits", taken["none"], " ms", bar=bar),
        Line("first page of the decided", taken["decided"], " ms", bar=bar),
    ]


def _fill(place: Place, *, closed: int) -> None:
    add_login(place.admin, SERVICE, role="approver", may_name_person=True, create=True)
    with psycopg.connect(place.admin, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for kind, state, count in (("waits", "open", OPEN), ("was", "used", closed)):
            values = {"kind": kind, "state": state, "count": count, "requirement": REQUIREMENT, "card": CARD}
            connection.execute(RUNS, values)
            connection.execute(REQUESTS, values)
        connection.execute(WAITING)
        connection.execute(VOTES)
        connection.execute("VACUUM ANALYZE")


@contextmanager
def _served(place: Place) -> Iterator[httpx.Client]:
    """Yield the client of somebody who is signed in to a console."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        file, port = Path(folder) / "tokens", taken.getsockname()[1]
        token, address = add_token(file, PERSON), Address.of(f"http://127.0.0.1:{port}")
        taken.close()
        console, ready = Console(make_conninfo(place.admin, user=SERVICE), TokenFile(file), address), threading.Event()
        server = Server(console, host="127.0.0.1", port=port, ready=ready.set)
        thread = threading.Thread(target=server.run)
        thread.start()
        ready.wait()
        try:
            with httpx.Client(base_url=address.url, headers={"origin": address.url}, timeout=60) as client:
                csrf = client.get("/sign-in").text.rpartition('name="csrf" value="')[2].partition('"')[0]
                client.post("/sign-in", data={"csrf": csrf, "token": token})
                yield client
        finally:
            server.should_exit = True
            thread.join()


def _getting(client: httpx.Client, path: str) -> Callable[[], None]:
    def get() -> None:
        answer = client.get(path)
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"{path}: {answer.status_code}")

    return get


def _further(client: httpx.Client) -> str:
    found = re.search(r'href="(/\?[^"]*after=[^"]+)"', client.get("/?view=all").text)
    if found is None:
        raise RuntimeError("the inbox has one page only")
    return found[1].replace("&amp;", "&")
