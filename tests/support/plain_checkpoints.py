"""LangGraph's checkpoints hold plain values: of a type of ours a later LangGraph would refuse to read them back."""

import psycopg

from langgraph_control.audit.postgres.migrate import CHECKPOINT_SCHEMA
from tests.support.postgres import Database

__all__ = ["own_types_in_checkpoints"]

MODULE = b"langgraph_control."


def own_types_in_checkpoints(database: Database) -> list[str]:
    """Return the channels in which a value of a type of ours was kept.

    Args:
        database: the ledger, with the checkpointer's tables beside it.
    """
    with psycopg.connect(database.admin) as admin:
        if admin.execute("SELECT to_regclass(%s)", (f"{CHECKPOINT_SCHEMA}.checkpoint_writes",)).fetchone() == (None,):
            return []  # a test that took everything away
        admin.execute("SELECT set_config('search_path', %s, false)", (CHECKPOINT_SCHEMA,))
        found = admin.execute(
            "SELECT DISTINCT channel FROM (SELECT channel, blob FROM checkpoint_writes"
            " UNION ALL SELECT channel, blob FROM checkpoint_blobs) kept WHERE position(%s IN blob) > 0",
            (MODULE,),
        )
        return sorted(str(channel) for (channel,) in found)
