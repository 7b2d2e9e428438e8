"""Python computes the hashes that SQL chains."""

from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.trail.chain import ZERO, commitment_to, entry_hash
from tests.support.postgres import Database
from tests.support.trails import TrailWriter

BODIES = st.binary(max_size=200)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
TOOLS = TEXTS.filter(bool)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.tuples(BODIES, TOOLS, st.none() | BODIES), min_size=1, max_size=4))
def test_python_and_sql_agree(shared_database: Database, bodies: list[tuple[bytes, str, bytes | None]]) -> None:
    """Whatever tool, body and payload a settle or claim carries, SQL's hash is the one Python computes."""
    with TrailWriter(shared_database) as trail:
        run = trail.open(f"ticket/{uuid4()}")
        for number, (body, tool, payload) in enumerate(bodies):
            claim, _ = trail.claim(run, f"call {number}", tool=tool, body=body, payload=payload or b"")
            trail.settle(run, claim, Outcome.SUCCEED, body=body, payload=payload)
        rows = list(trail.agent.entries(run.run_id))
    assert len(rows) == 1 + 2 * len(bodies)
    previous = ZERO
    for row in rows:
        assert row.hash == entry_hash(
            tenant="default",
            run_id=run.run_id,
            seq=row.seq,
            previous=previous,
            facts=row.facts,
            commitment=row.commitment,
            body=row.body,
        )
        if row.payload is not None and row.salt is not None:
            assert row.commitment == commitment_to(row.payload, row.salt)
        previous = row.hash
    assert all(one.at <= two.at for one, two in pairwise(rows))


@given(one=st.tuples(TEXTS, TEXTS, BODIES), two=st.tuples(TEXTS, TEXTS, BODIES))
def test_framing_keeps_parts_apart(one: tuple[str, str, bytes], two: tuple[str, str, bytes]) -> None:
    """Two different entries of one place never have the same hash, wherever bytes move from one part to the next."""
    run_id = UUID(int=1)

    def of(parts: tuple[str, str, bytes]) -> bytes:
        tenant, facts, body = parts
        return entry_hash(tenant=tenant, run_id=run_id, seq=1, previous=ZERO, facts=facts, commitment=None, body=body)

    assert (of(one) == of(two)) == (one == two)
