"""The billing service does what each of its faults says, judged by its own log, in a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from demo.billing import judge
from demo.billing.client import Billing, BillingProcess, email, note, order, refund, refunds
from demo.billing.faults import Fault, FaultKind, Schedule

LATE_MS = 1_000
KEY = {"X-Action-Key": "act-1"}
WITH_KEY = {"X-Action-Key": "act-1", "Idempotency-Key": "act-1"}
REFUND = refund("A-1", "20.00", "broken")


@pytest.fixture(scope="module")
def process() -> Iterator[BillingProcess]:
    """One service for the tests that only look at their own order."""
    with BillingProcess() as running:
        yield running


@pytest.fixture
def billing() -> Iterator[BillingProcess]:
    """A service of the test's own, with one order."""
    with BillingProcess() as running:
        running.put_order("A-1", "100.00")
        yield running


@pytest.fixture
def keyed() -> Iterator[BillingProcess]:
    """A service that honours idempotency keys, with one order."""
    with BillingProcess(honour_keys=True) as running:
        running.put_order("A-1", "100.00")
        yield running


def eventually(fact: Callable[[], bool]) -> None:
    """Wait until another process has made a fact true; its clock is not ours to own."""
    deadline = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


def hasty(process: BillingProcess) -> Billing:
    """A client that waits for no answer."""
    return Billing(process.url, timeout=httpx.Timeout(5.0, read=0.1))


# The system of record


def test_a_refund_is_carried_out_and_can_be_looked_up(billing: BillingProcess) -> None:
    """A refund answers with its effect, shows in the lookups and in the order, and counts once in the log."""
    before = billing.client.send(order("A-1"))
    done = billing.client.send(REFUND, headers=KEY)
    assert done == {"id": "refund-1", "target": "A-1", "text": "broken", "amount": "20.00", "action_key": "act-1"}
    assert billing.client.send(refunds(action_key="act-1")) == {"refunds": [done]}
    assert billing.client.send(refunds(order_id="A-1")) == {"refunds": [done]}
    assert billing.client.send(refunds(action_key="act-2")) == {"refunds": []}
    after = billing.client.send(order("A-1"))
    assert (before["refunded"], after["refunded"]) == ("0.00", "20.00")
    assert after["version"] == before["version"] + 1
    assert (billing.log()["effects"], billing.log()["duplicates"]) == (1, 0)


async def test_the_async_client_does_the_same(billing: BillingProcess) -> None:
    """Concurrent refunds of one loop are all carried out."""
    client = billing.client
    done = await asyncio.gather(*(client.asend(REFUND, headers={"X-Action-Key": f"act-{n}"}) for n in range(4)))
    assert sorted(one["action_key"] for one in done) == ["act-0", "act-1", "act-2", "act-3"]
    assert billing.log()["effects"] == 4


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (refund("C-404", "1.00", "r"), 404),
        (refund("C-1", "100.01", "r"), 409),
        (refund("C-2", "1.00", "r"), 423),
        (refund("C-1", "-1.00", "r"), 422),
        (refund("C-1", "1.001", "r"), 422),
        (refund("C-1", "0.00", "r"), 422),
        (refund("", "1.00", "r"), 422),
        (order("C-404"), 404),
    ],
)
def test_business_rules_are_refused_without_an_effect(call: object, status: int, process: BillingProcess) -> None:
    """An unknown order, more than was paid, a locked order and a malformed amount are refused by status."""
    process.put_order("C-1", "100.00")
    process.put_order("C-2", "10.00", locked=True)
    before = process.log()
    with pytest.raises(httpx.HTTPStatusError) as raised:
        process.client.send(call)  # type: ignore[arg-type] # the parameters are all calls
    assert raised.value.response.status_code == status
    after = process.log()
    assert (after["effects"], after["requests"]) == (before["effects"], before["requests"] + 1)
    assert process.log_page("requests")[-1]["status"] == status


def test_an_order_that_changes_shows_it(billing: BillingProcess) -> None:
    """Replacing an order changes its fields and raises its version."""
    changed = billing.put_order("A-1", "80.00", flagged=True)
    assert (changed["total"], changed["flagged"], changed["version"]) == ("80.00", True, 2)


def test_without_keys_a_repeat_is_a_duplicate_and_the_log_says_so(billing: BillingProcess) -> None:
    """A service that ignores idempotency keys carries a repeat out again; the judge counts it."""
    for _ in range(2):
        billing.client.send(REFUND, headers=WITH_KEY)
    billing.client.send(note("feed", "hello"))
    counts = billing.log()
    assert (counts["effects"], counts["action_keys"], counts["duplicates"], counts["unattributed"]) == (3, 1, 1, 1)
    assert billing.log_page("keys") == [{"action_key": "act-1", "requests": 2, "effects": 2}]
    assert judge.read(billing.db) == {name: count for name, count in counts.items() if name != "pending"}


def test_with_keys_a_repeat_gets_the_first_answer(keyed: BillingProcess) -> None:
    """One key is carried out once, and refused for another request; a refusal leaves the key free."""
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        keyed.client.send(refund("A-1", "900.00", "too much"), headers=WITH_KEY)
    assert keyed.client.send(REFUND, headers=WITH_KEY) == keyed.client.send(REFUND, headers=WITH_KEY)
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        keyed.client.send(refund("A-1", "30.00", "broken"), headers=WITH_KEY)
    assert (keyed.log()["requests"], keyed.log()["effects"]) == (4, 1)


# Faults


@pytest.mark.parametrize(
    ("kind", "effects_now"), [(FaultKind.APPLY_THEN_DROP, 1), (FaultKind.DROP_BEFORE, 0), (FaultKind.APPLY_LATE, 0)]
)
async def test_a_dropped_connection_tells_the_client_nothing(
    kind: FaultKind, effects_now: int, billing: BillingProcess
) -> None:
    """The client sees the same error whether the refund was carried out, will be, or never is."""
    for send in (billing.client.send, lambda call: asyncio.run(billing.client.asend(call))):
        billing.schedule(Fault(kind=kind, delay_ms=60_000))
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await asyncio.to_thread(send, REFUND)
    counts = billing.log()
    assert (counts["effects"], counts["dropped"]) == (2 * effects_now, 2)
    assert [one["fault"] for one in billing.log_page("requests")] == [kind, kind]


@pytest.mark.parametrize(
    ("kind", "error"),
    [(FaultKind.APPLY_LATE, httpx.RemoteProtocolError), (FaultKind.APPLY_LATE_SILENT, httpx.ReadTimeout)],
)
def test_a_late_effect_lands_after_the_client_gave_up(
    kind: FaultKind, error: type[httpx.RequestError], billing: BillingProcess
) -> None:
    """Until it lands, the lookup finds nothing: absence is no proof."""
    billing.schedule(Fault(kind=kind, delay_ms=2_000))
    with pytest.raises(error):
        hasty(billing).send(REFUND, headers=KEY)
    assert billing.client.send(refunds(action_key="act-1")) == {"refunds": []}
    assert billing.log()["pending"] == 1
    eventually(lambda: billing.log()["pending"] == 0)
    assert len(billing.client.send(refunds(action_key="act-1"))["refunds"]) == 1


def test_a_late_effect_lands_even_if_the_service_is_stopped(tmp_path: Path) -> None:
    """What the service took on is in its log once it has ended."""
    with BillingProcess(tmp_path / "billing.db") as running:
        running.put_order("A-1", "100.00")
        running.schedule(Fault(kind=FaultKind.APPLY_LATE, delay_ms=60_000))
        with pytest.raises(httpx.RemoteProtocolError):
            running.client.send(REFUND, headers=KEY)
    assert judge.read(tmp_path / "billing.db")["effects"] == 1


def test_a_key_of_a_late_effect_is_in_use(keyed: BillingProcess) -> None:
    """A repeat under the key of a request still being worked on is answered 409, and later with its result."""
    keyed.schedule(Fault(kind=FaultKind.APPLY_LATE, delay_ms=LATE_MS))
    with pytest.raises(httpx.RemoteProtocolError):
        keyed.client.send(REFUND, headers=WITH_KEY)
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        keyed.client.send(REFUND, headers=WITH_KEY)
    eventually(lambda: keyed.log()["pending"] == 0)
    assert keyed.client.send(REFUND, headers=WITH_KEY)["amount"] == "20.00"
    assert (keyed.log()["effects"], keyed.log()["duplicates"]) == (1, 0)


@pytest.mark.parametrize(
    ("kind", "status", "effects"),
    [
        (FaultKind.RATE_LIMIT, 429, 0),
        (FaultKind.ERROR_BEFORE, 500, 0),
        (FaultKind.REFUSE, 422, 0),
        (FaultKind.ERROR_AFTER, 502, 1),
    ],
)
def test_an_error_status_comes_before_or_after_the_effect(
    kind: FaultKind, status: int, effects: int, billing: BillingProcess
) -> None:
    """429 and 500 come before anything is done, 502 after."""
    billing.schedule(Fault(kind=kind, retry_after_seconds=7))
    with pytest.raises(httpx.HTTPStatusError) as raised:
        billing.client.send(REFUND)
    assert raised.value.response.status_code == status
    assert raised.value.response.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert billing.log()["effects"] == effects


def test_a_slow_answer_comes_after_the_effect(billing: BillingProcess) -> None:
    """A client that does not wait loses the answer of a refund that was carried out."""
    billing.schedule(Fault(kind=FaultKind.SLOW, delay_ms=1_000))
    with pytest.raises(httpx.ReadTimeout):
        hasty(billing).send(REFUND)
    assert (billing.log()["effects"], billing.log()["dropped"]) == (1, 0)


@pytest.mark.parametrize("kind", [FaultKind.READ_LAG, FaultKind.APPLY_THEN_DROP])
def test_reads_lag_behind_the_effect(kind: FaultKind, billing: BillingProcess) -> None:
    """An effect is in the log at once and in the lookups later, whether or not its answer arrived."""
    billing.schedule(Fault(kind=kind, visible_after_ms=2_000))
    if kind is FaultKind.READ_LAG:
        billing.client.send(REFUND, headers=KEY)
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            billing.client.send(REFUND, headers=KEY)
    assert billing.log()["effects"] == 1
    assert billing.client.send(refunds(action_key="act-1")) == {"refunds": []}
    assert billing.client.send(order("A-1"))["refunded"] == "0.00"
    eventually(lambda: billing.client.send(refunds(action_key="act-1"))["refunds"] != [])
    assert billing.client.send(order("A-1"))["refunded"] == "20.00"


def test_what_reads_do_not_show_still_counts_for_the_rules(billing: BillingProcess) -> None:
    """A refund that is not visible yet cannot be paid out twice over the order's total."""
    billing.schedule(Fault(kind=FaultKind.READ_LAG, visible_after_ms=60_000))
    billing.client.send(refund("A-1", "90.00", "broken"))
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        billing.client.send(REFUND)


def test_reads_and_blind_effects_can_be_mistreated_too(process: BillingProcess) -> None:
    """A fault names method and path: a lookup can fail, and an email can be sent and its answer lost."""
    process.schedule(Fault(kind=FaultKind.RATE_LIMIT, method="GET", path="/orders", target="B-1"))
    process.schedule(Fault(kind=FaultKind.ERROR_BEFORE, method="GET", path="/refunds"))
    process.schedule(Fault(kind=FaultKind.APPLY_THEN_DROP, path="/emails", target="ana@acme.example"))
    process.put_order("B-1", "10.00")
    with pytest.raises(httpx.HTTPStatusError, match="429"):
        process.client.send(order("B-1"))
    with pytest.raises(httpx.HTTPStatusError, match="500"):
        process.client.send(refunds(order_id="B-1"))
    with pytest.raises(httpx.RemoteProtocolError):
        process.client.send(email("ana@acme.example", "hello"))
    assert process.client.send(order("B-1"))["id"] == "B-1"
    assert [one["kind"] for one in process.log_page("effects") if one["target"] == "ana@acme.example"] == ["email"]


def test_a_fault_is_played_as_often_as_asked_and_on_its_target_only(billing: BillingProcess) -> None:
    """The first two refunds of one order fail; those of another, and the third, do not; cleared faults are gone."""
    billing.put_order("A-2", "100.00")
    billing.schedule(Fault(kind=FaultKind.ERROR_BEFORE, target="A-1", times=2))
    billing.client.send(refund("A-2", "1.00", "r"))
    for _ in range(2):
        with pytest.raises(httpx.HTTPStatusError, match="500"):
            billing.client.send(REFUND)
    billing.client.send(REFUND)
    billing.schedule(Fault(kind=FaultKind.ERROR_BEFORE, times=None))
    billing.clear_faults()
    billing.client.send(REFUND)


def test_a_fault_drawn_with_a_seed_is_drawn_again() -> None:
    """Two schedules with one seed mistreat the same requests, about as many as asked."""

    def drawn(seed: int) -> list[bool]:
        schedule = Schedule()
        schedule.add(Fault(kind=FaultKind.SLOW, times=None, probability=0.3, seed=seed))
        return [schedule.pick("POST", "/refunds", None) is not None for _ in range(1_000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 250 < sum(drawn(1)) < 350


def test_an_unknown_fault_is_refused(process: BillingProcess) -> None:
    """A misspelt lever is not a silently well-behaved service."""
    answer = httpx.post(f"{process.url}/faults", json={"kind": "drop_befor", "tims": 2})
    assert answer.status_code == 422
    assert {one["field"] for one in answer.json()["fields"]} == {"kind", "tims"}


# The process


def test_a_killed_client_leaves_the_service_standing(billing: BillingProcess) -> None:
    """``kill -9`` of a client in mid-call changes nothing for the service, and its refund is in the log."""
    billing.schedule(Fault(kind=FaultKind.SLOW, delay_ms=60_000))
    script = f"import httpx; httpx.post({billing.url + '/refunds'!r}, json={dict(REFUND.body or {})!r}, timeout=60)"
    with subprocess.Popen([sys.executable, "-c", script]) as client:
        eventually(lambda: billing.log()["effects"] == 1)
        client.kill()
    billing.client.send(REFUND)
    assert billing.log()["effects"] == 2


def test_sigterm_ends_the_service_cleanly(billing: BillingProcess) -> None:
    """A stop with a connection still held open ends in time, with status 0 and a readable file."""
    billing.schedule(Fault(kind=FaultKind.APPLY_LATE_SILENT, delay_ms=60_000))
    with pytest.raises(httpx.ReadTimeout):
        hasty(billing).send(REFUND)
    billing.process.send_signal(signal.SIGTERM)
    assert billing.process.wait(10) == 0
    assert judge.read(billing.db)["effects"] == 1


def test_the_service_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """Killing the process that started the service ends the service."""
    script = (
        "import sys, time; from pathlib import Path; from demo.billing.client import BillingProcess\n"
        "with BillingProcess(Path(sys.argv[1])) as running:\n"
        "    print(running.process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "billing.db")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    eventually(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan whose new parent has not collected it yet is dead all the same.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_service_that_cannot_start_says_so(tmp_path: Path) -> None:
    """A database that cannot be opened is an error at the start, not a wait for a port that never comes."""
    with pytest.raises(RuntimeError, match="did not start"), BillingProcess(tmp_path / "missing" / "billing.db"):
        pass
