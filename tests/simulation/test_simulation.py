"""A short form of ``make simulate``: the real gate over the real SQL, with faults at every yield."""

import importlib.util
import os
from pathlib import Path

import psycopg
import pytest

from tests.simulation.children import play_seeds
from tests.simulation.mutants import MUTANTS
from tests.simulation.runner import play, rebuild_runs
from tests.support.postgres import Database

SEEDS = 150
REBUILT_RUNS = int(os.environ.get("CONTROL_REBUILT_RUNS", "60"))


def test_no_seed_violates_an_invariant(postgres_dsn: str, control_template: str) -> None:
    """No crash, stall, lost answer, zombie, forger or second worker makes an effect happen twice or unrecorded."""
    found = play(postgres_dsn, range(SEEDS))
    assert found.violation == "", f"seed {found.seed}"


def test_a_run_is_rebuilt_from_the_trail_alone(postgres_dsn: str, control_template: str) -> None:
    """Each run as its entries tell it is the run as the simulator saw it; each entry is as its events' schemas say."""
    found = rebuild_runs(postgres_dsn, REBUILT_RUNS)
    assert found.violation == "", f"seed {found.seed}"


QUICKLY_KILLED = (
    "repeat a blind effect whose answer was lost",
    "need no grant",
    "chain nothing to what came before",
    "begin an attempt without an entry",
)


@pytest.mark.parametrize("name", QUICKLY_KILLED)
def test_the_simulation_finds_a_deliberate_mistake(postgres_dsn: str, control_template: str, name: str) -> None:
    """A mistake in the SQL turns the simulation red: its invariants can fail."""
    mutant = next(one for one in MUTANTS if one.name == name)
    assert not mutant.python, "a change of source needs an interpreter of its own"
    assert play(postgres_dsn, range(SEEDS), mutant=mutant).violation != ""


def test_every_deliberate_mistake_can_be_made(database: Database) -> None:
    """Each text that a mutant replaces stands where it looks for it: code that moved takes no proof away unnoticed."""
    for mutant in MUTANTS:
        for module, changes in mutant.python.items():
            spec = importlib.util.find_spec(module)
            assert spec is not None
            assert spec.origin is not None
            source = Path(spec.origin).read_text("utf-8")
            assert [old for old, _ in changes if old not in source] == [], mutant.name
    with psycopg.connect(database.admin) as admin:
        for mutant in MUTANTS:
            for function, changes in mutant.sql.items():
                row = admin.execute("SELECT pg_get_functiondef(%s::regproc)", (f"control.{function}",)).fetchone()
                assert row is not None
                assert [old for old, _ in changes if old not in row[0]] == [], mutant.name


def test_seeds_run_in_processes_of_their_own(postgres_dsn: str, control_template: str) -> None:
    """The command's way of playing, several processes with a database each, plays every seed it was given."""
    found = play_seeds(postgres_dsn, range(4), 2, lambda _: None)
    assert sum(one.played for one in found) == 4
