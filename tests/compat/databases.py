"""Databases without a migration of ours: what is tested here is LangGraph alone."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo


@contextmanager
def empty_database(superuser_dsn: str) -> Iterator[str]:
    """Yield the DSN of a new, empty database and drop it afterwards, whoever is still connected."""
    name = f"compat_{secrets.token_hex(6)}"
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield make_conninfo(superuser_dsn, dbname=name)
    finally:
        with psycopg.connect(superuser_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
