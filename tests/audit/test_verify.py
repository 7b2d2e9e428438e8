"""What a verification finds, each tampering done in SQL by the one who could: a superuser."""

from uuid import UUID, uuid4

import pytest
from psycopg import errors

from langgraph_control.audit.asking.requests import Chains
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.trail.verify import Broken, Verification, verify_all, verify_run, verify_tenant
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, tamper


@pytest.fixture
def run_id(database: Database) -> UUID:
    """A finished run of nine entries."""
    with TrailWriter(database) as trail:
        trail.publish()
        return trail.refund().run_id


OWN = "(SELECT run_id FROM control.run_state WHERE state = 'chain' AND tenant = 'default')"


def verified(database: Database, run_id: UUID) -> Verification:
    """Verify on the auditor's login."""
    with LedgerConnection(database.auditor) as auditor:
        found = verify_run(auditor, run_id)
    assert found is not None
    return found


def test_an_untouched_chain_is_whole(database: Database, run_id: UUID) -> None:
    """A chain as the ledger wrote it verifies, and the number of its entries is said."""
    assert verified(database, run_id) == Verification(entries=9, erased=0, broken=None)


@pytest.mark.parametrize(
    ("statement", "entry", "said"),
    [
        pytest.param("UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 3", 3, "hash", id="body"),
        pytest.param(
            "UPDATE control.entry SET facts = replace(facts, 'granted', 'refused') WHERE run_id = %s AND seq = 5",
            5,
            "hash",
            id="facts",
        ),
        pytest.param("DELETE FROM control.entry WHERE run_id = %s AND seq = 4", 4, "missing", id="middle deleted"),
        pytest.param("DELETE FROM control.entry WHERE run_id = %s AND seq = 1", 1, "missing", id="first deleted"),
        pytest.param("DELETE FROM control.entry WHERE run_id = %s AND seq > 6", 7, "missing", id="tail cut"),
        pytest.param("DELETE FROM control.entry WHERE run_id = %s", 1, "missing", id="all deleted"),
        pytest.param(
            "UPDATE control.entry SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE run_id = %s AND seq IN (2, 3);"
            "UPDATE control.entry SET seq = -seq WHERE seq < 0",
            2,
            "hash",
            id="two swapped",
        ),
        pytest.param(
            "UPDATE control.entry SET at = at + interval '1 us' WHERE run_id = %s AND seq = 2", 2, "time", id="time"
        ),
        pytest.param(
            "UPDATE control.entry SET payload = '{}' WHERE run_id = %s AND seq = 3", 3, "payload", id="payload"
        ),
        pytest.param(
            "UPDATE control.entry SET salt = uuid_send(gen_random_uuid()) WHERE run_id = %s AND seq = 3",
            3,
            "payload",
            id="salt",
        ),
        pytest.param(
            "UPDATE control.entry SET payload = '{}', salt = uuid_send(gen_random_uuid())"
            " WHERE run_id = %s AND seq = 5",
            5,
            "added later",
            id="payload added",
        ),
        pytest.param(
            "UPDATE control.entry SET commitment = '\\x00' WHERE run_id = %s AND seq = 3", 3, "hash", id="commitment"
        ),
        pytest.param("UPDATE control.entry SET hash = '\\x00' WHERE run_id = %s AND seq = 8", 8, "hash", id="hash"),
        pytest.param(
            "UPDATE control.entry SET tenant = 'other' WHERE run_id = %s AND seq = 2", 2, "missing", id="tenant"
        ),
        pytest.param("UPDATE control.run_state SET head = '\\x00' WHERE run_id = %s", None, "head", id="head"),
        pytest.param("UPDATE control.run_state SET seq = 10 WHERE run_id = %s", 10, "missing", id="count raised"),
        pytest.param("UPDATE control.run_state SET seq = 7 WHERE run_id = %s", 8, "past the end", id="count lowered"),
        pytest.param("DELETE FROM control.run WHERE run_id = %s", None, "own row is missing", id="run deleted"),
    ],
)
def test_tampering_is_found(database: Database, run_id: UUID, statement: str, entry: int | None, said: str) -> None:
    """Each change to a recorded chain is found and the first broken entry named."""
    first, *rest = statement.split(";")
    tamper(database, first, run_id)
    for further in rest:
        tamper(database, further)
    broken = verified(database, run_id).broken
    assert isinstance(broken, Broken)
    assert broken.seq == entry
    assert said in str(broken)


@pytest.mark.parametrize(
    "moved",
    [
        "salt = salt || payload, payload = ''",
        "salt = salt || substring(payload, 1, 4), payload = substring(payload, 5)",
        "salt = substring(salt, 1, 8), payload = substring(salt, 9) || payload",
    ],
    ids=["all of it", "its beginning", "the other way"],
)
def test_no_byte_moves_between_payload_and_salt(database: Database, run_id: UUID, moved: str) -> None:
    """A commitment is over salt and payload in one; the table refuses other lengths of salt, and so does verifying."""
    move = f"UPDATE control.entry SET {moved} WHERE run_id = %s AND seq = 3"
    with pytest.raises(errors.CheckViolation):
        tamper(database, move, run_id)
    tamper(database, "ALTER TABLE control.entry DROP CONSTRAINT entry_salt")
    tamper(database, move, run_id)
    broken = verified(database, run_id).broken
    assert isinstance(broken, Broken)
    assert broken.seq == 3
    assert "its salt is none that the ledger draws" in str(broken)


def test_an_erased_payload_breaks_no_proof(database: Database, run_id: UUID) -> None:
    """A payload and its salt may be erased: the chain still verifies, and the erasure is counted."""
    tamper(database, "UPDATE control.entry SET payload = NULL, salt = NULL WHERE run_id = %s AND seq = 3", run_id)
    assert verified(database, run_id) == Verification(entries=9, erased=1, broken=None)


def test_a_chain_that_grows_meanwhile_is_whole(database: Database) -> None:
    """Entries appended while the verification reads are checked, too, and are no finding."""
    with TrailWriter(database) as trail, LedgerConnection(database.auditor) as auditor:
        run = trail.open()

        class Appending(LedgerConnection):
            """Lets a worker append between the two reads."""

            def entries(self, run_id: UUID, *, after: int = 0):  # type: ignore[no-untyped-def] # noqa: ANN202 - as inherited
                yield from super().entries(run_id, after=after)
                trail.observe(run)

        with Appending(database.auditor) as reader:
            found = verify_run(reader, run.run_id)
        assert found == Verification(entries=2, erased=0, broken=None)
        assert verify_run(auditor, run.run_id) == Verification(entries=3, erased=0, broken=None)


def test_no_trace_of_a_run(database: Database) -> None:
    """A run that nobody ever recorded is no finding but no run."""
    with LedgerConnection(database.auditor) as auditor:
        assert verify_run(auditor, uuid4()) is None


def test_another_tenant_sees_nothing(database: Database, run_id: UUID) -> None:
    """A login of another tenant finds no trace of the run."""
    with LedgerConnection(database.second_tenant_agent) as agent:
        assert verify_run(agent, run_id) is None


def own(database: Database) -> Verification:
    """Verify the tenant's own chain on the auditor's login."""
    with LedgerConnection(database.auditor) as auditor:
        return verify_tenant(auditor)


def everything(database: Database) -> dict[UUID | None, Verification]:
    """Verify all chains on the auditor's login."""
    with LedgerConnection(database.auditor) as auditor:
        return dict(verify_all(auditor))


def test_what_belongs_to_no_run_has_a_chain(database: Database) -> None:
    """Each policy published is an entry of the tenant's own chain, which is there and whole from the beginning."""
    assert own(database) == Verification(entries=0, erased=0, broken=None)
    with TrailWriter(database) as trail:
        trail.publish()
        trail.publish()
    assert own(database) == Verification(entries=2, erased=0, broken=None)


@pytest.mark.parametrize(
    ("statement", "entry", "said"),
    [
        pytest.param(f"UPDATE control.entry SET body = '{{}} ' WHERE run_id = {OWN} AND seq = 2", 2, "hash", id="body"),
        pytest.param(
            f"UPDATE control.entry SET facts = replace(facts, 'policy', 'Policy') WHERE run_id = {OWN} AND seq = 1",
            1,
            "hash",
            id="facts",
        ),
        pytest.param(f"DELETE FROM control.entry WHERE run_id = {OWN} AND seq = 1", 1, "missing", id="first deleted"),
        pytest.param(f"DELETE FROM control.entry WHERE run_id = {OWN} AND seq = 2", 2, "missing", id="last deleted"),
        pytest.param(f"DELETE FROM control.entry WHERE run_id = {OWN}", 1, "missing", id="all deleted"),
        pytest.param(f"UPDATE control.run_state SET head = '\\x00' WHERE run_id = {OWN}", None, "head", id="head"),
        pytest.param(
            f"UPDATE control.run_state SET seq = 1 WHERE run_id = {OWN}", 2, "past the end", id="count lowered"
        ),
        pytest.param(
            f"DELETE FROM control.run_state WHERE run_id = {OWN}", None, "is missing; 2 entries", id="row deleted"
        ),
    ],
)
def test_tampering_with_what_belongs_to_no_run_is_found(
    database: Database, statement: str, entry: int | None, said: str
) -> None:
    """Each change to the record of published policies is found and the first broken entry named."""
    with TrailWriter(database) as trail:
        trail.publish()
        trail.publish()
    tamper(database, statement)
    broken = own(database).broken
    assert isinstance(broken, Broken)
    assert broken.seq == entry
    assert said in str(broken)
    assert everything(database) == {None: own(database)}


def test_all_chains_are_checked(database: Database, run_id: UUID) -> None:
    """All means every run and what belongs to none, each once, over several pages."""
    with TrailWriter(database) as trail:
        others = [trail.open(f"ticket/{number}").run_id for number in range(3)]
    found = everything(database)
    assert set(found) == {None, run_id, *others}
    assert all(one.ok for one in found.values())
    with LedgerConnection(database.auditor) as auditor:
        ids = [chain for chain in auditor.chains() if chain in found]
        paged: list[UUID] = []
        after: UUID | None = None
        while page := auditor.ask(Chains(after=after, limit=2)):
            paged += page
            after = page[-1]
    assert ids == sorted(ids)
    assert [chain for chain in paged if chain in found] == ids
    assert len(paged) == len(set(paged)) == len(found)


@pytest.mark.parametrize(
    "deleted",
    [("run",), ("run_state",), ("entry",), ("run", "run_state"), ("run", "entry"), ("run_state", "entry")],
    ids="+".join,
)
def test_all_finds_what_is_left_of_a_run(database: Database, run_id: UUID, deleted: tuple[str, ...]) -> None:
    """Whichever rows of a run are deleted, the ones that are left name it, and it is found broken."""
    for table in deleted:
        tamper(database, f"DELETE FROM control.{table} WHERE run_id = %s", run_id)
    found = everything(database)
    assert not found[run_id].ok
    assert [run for run, one in found.items() if not one.ok] == [run_id]


def test_all_is_the_tenants_own(database: Database, run_id: UUID) -> None:
    """A login of another tenant is shown that tenant's chains and no others."""
    with LedgerConnection(database.second_tenant_agent) as agent:
        assert dict(verify_all(agent)) == {None: Verification(entries=0, erased=0, broken=None)}
