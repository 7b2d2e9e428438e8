"""procrastinate's own tables, in a schema of their own beside the ledger: made once, upgraded with its releases.

They hold wake-ups and nothing else. Losing them loses no run: a worker's sweep finds what is due in the ledger.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from psycopg import sql

from langgraph_control.audit.postgres.admin_session import AdminConnection

__all__ = ["QUEUE_SCHEMA", "set_up_queue"]

QUEUE_SCHEMA: Final = "control_queue"


def set_up_queue(connection: AdminConnection) -> None:
    """Create or upgrade the queue's tables, owned by the owner; the agent login gets rows of its tenant.

    Args:
        connection: the owner's, holding the lock on migrations.
    """
    from procrastinate.schema import SchemaManager  # whoever only checks a schema does not load a queue

    with connection.transaction():
        connection.execute(
            "CREATE TABLE IF NOT EXISTS control_queue.applied (name text PRIMARY KEY)"  # what the tables are up to
        )
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(QUEUE_SCHEMA)))
        known = {row["name"] for row in connection.execute("SELECT name FROM applied")}
        released = _migrations(Path(SchemaManager.get_migrations_path()))
        if not known:
            connection.execute(SchemaManager.get_schema().encode())
        for name, text in released.items():
            if known and name not in known:
                connection.execute(text.encode())
        connection.cursor().executemany(
            "INSERT INTO applied (name) VALUES (%s) ON CONFLICT DO NOTHING", [(name,) for name in released]
        )
        connection.execute(
            files("langgraph_control.audit").joinpath("sql", "queue_rights.sql").read_text("utf-8").encode()
        )


def _migrations(folder: Path) -> Mapping[str, str]:
    """Return the steps between procrastinate's releases in their order; a new schema has taken all of them."""
    return {file.name: file.read_text("utf-8") for file in sorted(folder.glob("*.sql"))}
