"""procrastinate's tables: made once, taken through its later steps, closed to everybody but agents."""

from pathlib import Path

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from langgraph_control.audit.postgres.migrate import migrate
from tests.support.postgres import Database

OURS = "(SELECT oid FROM pg_namespace WHERE nspname = 'control_queue')"


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the steps of a later release of procrastinate: the released ones, so far."""
    for step in Path(SchemaManager.get_migrations_path()).glob("*.sql"):
        (tmp_path / step.name).write_text(step.read_text())
    monkeypatch.setattr(SchemaManager, "get_migrations_path", staticmethod(lambda: str(tmp_path)))
    return tmp_path


def test_a_later_releases_step_is_taken_once(database: Database, steps: Path) -> None:
    """A step that a later release brings is taken by the next migration, and by no other after it."""
    migrate(database.admin)
    (steps / "99.00.00_01_pre_more.sql").write_text(
        "CREATE TABLE taken (at timestamptz DEFAULT now()); INSERT INTO taken DEFAULT VALUES;"
    )
    migrate(database.admin)
    migrate(database.admin)
    with psycopg.connect(database.admin) as connection:
        assert connection.execute("SELECT count(*) FROM control_queue.taken").fetchone() == (1,)
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'taken'").fetchone()
    assert owner == ("control_owner",)


def test_a_step_that_fails_leaves_the_queue_as_it_was(database: Database, steps: Path) -> None:
    """A step that cannot be taken is told, takes nothing along, and is tried again by the next migration."""
    step = steps / "99.00.00_01_pre_more.sql"
    step.write_text("CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(database.admin)
    step.write_text("CREATE TABLE whole ();")
    migrate(database.admin)
    with psycopg.connect(database.admin) as connection:
        made = connection.execute("SELECT to_regclass('control_queue.half'), to_regclass('control_queue.whole')")
        assert made.fetchone() == (None, "control_queue.whole")


def test_nobody_else_comes_near_it(database: Database) -> None:
    """Everybody's rights end before the schema: on its tables and on its functions."""
    with psycopg.connect(database.admin) as connection:
        open_to_all = connection.execute(
            f"SELECT relname FROM pg_class, aclexplode(relacl) a WHERE relnamespace = {OURS} AND a.grantee = 0"
            f" UNION SELECT proname FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a"
            f" WHERE pronamespace = {OURS} AND a.grantee = 0"
        ).fetchall()
    assert open_to_all == []
