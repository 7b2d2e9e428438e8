"""How many pages the server looks at for a question, on the auditor's login: what a question costs on any machine."""

import psycopg

from tests.support.postgres import Database

__all__ = ["pages_read"]


def pages_read(database: Database, question: str) -> int:
    """Return how many pages a question looks at, once the server has tidied up as it does at times of its own."""
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("VACUUM (ANALYZE)")
    with psycopg.connect(database.auditor, autocommit=True) as auditor:
        auditor.execute(question.encode())  # the catalogue is known from here on
        row = auditor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question}".encode()).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
