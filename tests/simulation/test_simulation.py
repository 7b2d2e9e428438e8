"""A short form of ``make simulate``: the real gate over the real SQL, with faults at every yield."""

import pytest

from tests.simulation.children import play_seeds
from tests.simulation.mutants import MUTANTS
from tests.simulation.runner import play

SEEDS = 150


def test_no_seed_violates_an_invariant(postgres_dsn: str, control_template: str) -> None:
    """No crash, stall, lost answer, zombie, forger or second worker makes an effect happen twice or unrecorded."""
    found = play(postgres_dsn, range(SEEDS))
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


def test_seeds_run_in_processes_of_their_own(postgres_dsn: str, control_template: str) -> None:
    """The command's way of playing, several processes with a database each, plays every seed it was given."""
    found = play_seeds(postgres_dsn, range(4), 2, lambda _: None)
    assert sum(one.played for one in found) == 4
