"""A seeded schedule: which process moves next, when it is struck, what people and forgers do meanwhile."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

import orjson
import psycopg
from langchain_core.tools import BaseTool

from langgraph_control.audit.asking.authority_requests import Edit, WithdrawVote
from langgraph_control.audit.asking.operator_requests import Cancel, Freeze, Resolution, Resolve, Scope, Unfreeze
from langgraph_control.audit.asking.requests import RunReplace, Vote
from langgraph_control.audit.asking.rows import Replacing
from langgraph_control.audit.asking.wakes import FindDue
from langgraph_control.guards.run_states import RunState
from tests.simulation.aims import Reply
from tests.simulation.database import EPOCH, Ledger, SimulationDatabase
from tests.simulation.judge import Judge
from tests.simulation.process import Process, opening
from tests.simulation.program import TIMEOUT_SECONDS, TOOLS, Task, contracts_for, draw, saga_tools
from tests.simulation.thread import SimulatedThread
from tests.simulation.violation import Violation
from tests.simulation.world import World

__all__ = ["Simulation", "Switches"]

STEPS_MAX = 8000
STUCK_AFTER_SECONDS = 2000.0  # requests may be put to others, or changed and asked anew, each with minutes of its own
OPERATOR_EVERY_SECONDS = (8.0, 40.0)
ATTENTIVE_OPERATOR_EVERY_SECONDS = (5.0, 20.0)
SWEEP_EVERY_SECONDS = (1.0, 4.0)
SWEEP_HOLD_MS = 15_000
CHANGES_MIND = 0.15
LATE, LATE_SECONDS = 0.2, (90.0, 200.0)  # how often who is asked answers about when the time is over
ENDS = 0.08  # how often a run that asks people is ended before its time, as far as that is allowed
CANCELLED = 0.2  # by a person, and not for a new message
ENDS_TOO, CANCELLED_TOO = 0.5, 0.7  # and another, which may have gone on with the first one's writes
LOOKS, LOOKS_EVERY_SECONDS = 40, 5.0  # until it is in the middle of something
LOST_EVERY_SECONDS = 2.0
PEOPLE = ("cy@acme.example", "ana@acme.example", "bo@acme.example", "di@acme.example")
TIME_MOVES = 0.2  # how often time moves between two steps of processes that are all ready
SLOW_ODDS = 0.15
SEND_FAULTS = ("refused", "dropped", "limited", "invalid", "broken", "late", "cut_off", "answer_lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Guards that may be taken away, so that what they mask can be seen.

    Args:
        saver: the checkpoint saver refuses a worker whose lease is over.
        remembers: every request and answer is kept.
    """

    saver: bool = True
    remembers: bool = False


@dataclass
class Agent:
    """Somebody who acts now and then: an operator, an approver, a forger."""

    steps: Iterator[float]
    wakes_at: float = 0.0


@dataclass
class Shared:
    """What outlives a seed: the database, its connections, a counter for names."""

    database: SimulationDatabase
    connections: list[Ledger] = field(default_factory=list)
    approver: Ledger | None = None
    count: int = 0


class Simulation:
    """One seed, from the first delivery until every run stands still."""

    def __init__(self, seed: int, shared: Shared, switches: Switches) -> None:
        self.seed, self.shared = seed, shared
        self.chance = random.Random(seed)
        self.scenario = draw(self.chance, random.Random(f"the workers of seed {seed}"))
        self.database, self.clock = shared.database, shared.database.clock
        self.secret = shared.database.secret
        self.guarded_saver = switches.saver
        shared.count += 1
        self.name = f"seed-{seed}-{shared.count}"
        self.intent = f"ticket/{self.name}"
        self.world = World(now=lambda: self.clock.seconds, lag=self.scenario.lag)
        self.contracts = contracts_for(self.world)
        self.judge = Judge(self)
        self.threads: dict[str, SimulatedThread] = {}
        self.processes: list[Process] = []
        self.agents: list[Agent] = []
        self.faults = self.scenario.faults
        self.aimed = list(self.scenario.aim.replies)
        self.stalls_at = self.scenario.aim.stalls_at
        self.whims = random.Random(f"the people of seed {seed}")
        self.messages = random.Random(f"the messages of seed {seed}")
        self.ended = False  # one of its runs, before its time
        self.numbers = 0
        self.seen_cards: set[str] = set()
        self.looking: set[str] = set()
        self.rewritten: set[str] = set()
        self.memory: list[tuple[Any, Any]] | None = [] if switches.remembers else None
        self.began = self.clock.seconds
        ahead = self.scenario.deadline
        self.deadline = None if ahead is None else EPOCH + timedelta(seconds=self.began + ahead)

    # --- what processes use ---

    @cached_property
    def saga_tools(self) -> dict[str, BaseTool]:
        """Tools for the seed's saga; made once, for they take long to make."""
        return saga_tools(self.contracts)

    def number(self) -> int:
        """Return the next number, for names."""
        self.numbers += 1
        return self.numbers

    def uuid(self) -> UUID:
        """Return an id from the seed and the database's count of seeds, so that no two runs share one."""
        return UUID(int=(self.shared.count << 64) | self.chance.getrandbits(63), version=4)

    def connection(self) -> Ledger:
        """Return a connection for one process."""
        live = sum(1 for process in self.processes if process.alive)
        while len(self.shared.connections) <= live:
            self.shared.connections.append(Ledger(self.database.database.agent))
        return self.shared.connections[live]

    def send(self, ledger: Ledger, request: Any) -> Any:
        """Send a request at the simulated time."""
        self.clock.write()
        try:
            answer = ledger.send(request)
        except psycopg.Error as refused:
            raise Violation(f"the ledger refused a {request.statement}: {refused}") from refused
        self.heard(request, answer)
        return answer

    def heard(self, request: Any, answer: Any) -> None:
        """Keep what was asked and answered, for who compares the trail with it: the one true order of events."""
        if self.memory is not None:
            self.memory.append((request, answer))

    def strikes(self, what: str) -> bool:
        """Whether a fault of this sort happens now, out of the seed's few."""
        if self.faults <= 0:
            return False
        odds = {"hook": 0.08, "sql": 0.1, "crash": 0.02, "stall": 0.02, "answer": 0.06, "send": 0.35, "forge": 0.2}
        if self.chance.random() >= odds[what]:
            return False
        self.faults -= 1
        return True

    def lost_answer(self) -> str:
        """Whether a statement's answer is lost, and if so whether before or after its commit."""
        return self.chance.choice(("before", "after")) if self.strikes("answer") else ""

    def reply(self, tool: str, target: str) -> Reply:
        """What this request to a system of record meets: what the seed aims at, or what comes by chance."""
        if target == self.scenario.doomed and tool in TOOLS:
            return Reply(fault="invalid", seconds=0.01)
        if tool == self.scenario.aim.tool and self.aimed:
            return self.aimed.pop(0)
        fault = self.chance.choice(SEND_FAULTS) if self.strikes("send") else ""
        # Sometimes nearly as long as an attempt may take.
        slow = self.chance.random() < SLOW_ODDS
        return Reply(fault=fault, seconds=self.chance.uniform(1.0, TIMEOUT_SECONDS - 1.0) if slow else 0.01)

    # --- what the judge looks at ---

    def runs(self) -> list[dict[str, Any]]:
        """Return this seed's runs with their heads."""
        return self.database.rows(
            "SELECT r.run_id, r.trigger, s.state, s.seq, s.head "
            "FROM control.run r JOIN control.run_state s USING (run_id) "
            "WHERE r.trigger = ANY (%s) AND r.tenant = 'default'",
            [f"{self.name}/{trigger}" for trigger in self.threads],
        )

    def entries(self, runs: list[dict[str, Any]]) -> dict[UUID, list[dict[str, Any]]]:
        """Return the entries of these runs, in order."""
        chains: dict[UUID, list[dict[str, Any]]] = {run["run_id"]: [] for run in runs}
        for row in self.database.rows(
            "SELECT * FROM control.entry WHERE run_id = ANY (%s) ORDER BY run_id, seq", list(chains)
        ):
            chains[row["run_id"]].append({**row, "facts": orjson.loads(row["facts"]), "text": row["facts"]})
        return chains

    # --- the schedule ---

    def play(self) -> None:
        """Play the seed and judge it.

        Raises:
            Violation: an invariant does not hold.
        """
        self.database.let_go()
        for trigger in dict.fromkeys(name for _, name in self.scenario.triggers):
            self.threads[trigger] = SimulatedThread()
        if self.scenario.freezes:
            self.agents.append(Agent(steps=self._freeze(), wakes_at=self.began + self.chance.uniform(0, 60)))
        for moment, trigger in self.scenario.triggers:
            self.agents.append(Agent(steps=self._deliver(trigger), wakes_at=self.began + moment))
        if self.scenario.aim.rewrites:
            self.agents.append(Agent(steps=self._rewrite_once_lost(), wakes_at=self.began))
        operator = Agent(steps=self._operate(), wakes_at=self.began + OPERATOR_EVERY_SECONDS[0])
        self.agents.append(operator)
        if self.scenario.swept:
            self.agents.append(Agent(steps=self._sweep(operator), wakes_at=self.began))
        for _ in range(STEPS_MAX):
            if not self._step():
                break
        else:
            raise Violation("the seed did not come to an end")
        self.world.settle_down()
        self.judge.verdict()

    def _step(self) -> bool:
        moving: list[Process | Agent] = [process for process in self.processes if process.alive]
        moving += self.agents
        if not moving:
            return False
        ready = [one for one in moving if one.wakes_at <= self.clock.seconds]
        if not ready:
            self._pass_time(min(one.wakes_at for one in moving))
            return True
        if self.chance.random() < TIME_MOVES:
            self._pass_time(self.clock.seconds + self.chance.choice((0.005, 0.02, 0.1)))
        self._move(self.chance.choice(ready))
        return True

    def _move(self, one: "Process | Agent") -> None:
        if isinstance(one, Agent):
            self._move_agent(one)
            return
        one.stalled = False
        one.heartbeat()
        try:
            point = next(one.steps)
        except StopIteration:
            one.alive = False
            return
        if isinstance(point, float):
            one.wakes_at = self.clock.seconds + point
        elif point == self.stalls_at:
            self.stalls_at = ""
            self._stall(one, self.scenario.aim.stall_seconds)
        elif self.strikes("crash"):
            one.kill()
        elif self.strikes("stall"):
            self._stall(one, self.chance.choice((3.0, 16.0, 20.0, 25.0, 30.0, 60.0)))

    def _stall(self, process: Process, seconds: float) -> None:
        process.stalled = True
        process.wakes_at = self.clock.seconds + seconds

    def _move_agent(self, agent: Agent) -> None:
        try:
            agent.wakes_at = self.clock.seconds + next(agent.steps)
        except StopIteration:
            self.agents.remove(agent)

    def _pass_time(self, until: float) -> None:
        while self.clock.seconds < until:
            self.clock.seconds = min(until, self.clock.seconds + 2.5)
            for process in self.processes:
                if process.alive:
                    process.heartbeat()
        self.world.settle_down()

    # --- people and others ---

    def _start(self, trigger: str, *, answers: bool = False) -> None:
        self.processes.append(Process(self, trigger, answers=answers))

    def _deliver(self, trigger: str) -> Iterator[float]:
        self._start(trigger)
        yield from ()

    def _operate(self) -> Iterator[float]:
        """Look after the runs until each is done or waits for a person; then leave."""
        attended = self.scenario.aim.attended
        while self.clock.seconds < self.began + STUCK_AFTER_SECONDS:
            open_triggers = [name for name in self.threads if not self._needs_nobody(name)]
            if not open_triggers and not any(process.alive for process in self.processes):
                return
            for trigger in open_triggers:
                self._ask_people(trigger)
                driven = any(self._seems_alive(process) for process in self.processes if process.trigger == trigger)
                if not driven and (not self.scenario.swept or self._waits_for_its_caller(trigger)):
                    self._start(trigger, answers=True)
            yield self.chance.uniform(*(ATTENTIVE_OPERATOR_EVERY_SECONDS if attended else OPERATOR_EVERY_SECONDS))
        raise Violation(f"stuck: { ({name: self._stands(name) for name in self.threads}) }")

    def _waits_for_its_caller(self, trigger: str) -> bool:
        """Whether nothing but a caller can help: nobody has heard of the run, it is blocked, or it has a question."""
        return self._stands(trigger)[0] in ("", RunState.BLOCKED) or bool(self.threads[trigger].view().questions)

    def _sweep(self, operator: Agent) -> Iterator[float]:
        """Ask as a worker does, until the operator leaves, which runs are due, and let a process take each of them."""
        while operator in self.agents:
            due = FindDue(graphs=[self.name], run_ids=None, ahead_ms=0, hold_ms=SWEEP_HOLD_MS, limit=10)
            found = {run.run_id for run in self.send(self.connection(), due) if run.offered}
            for run in self.runs() if found else ():
                if run["run_id"] in found:
                    trigger = run["trigger"].removeprefix(f"{self.name}/")
                    if trigger in self.threads:  # not one that was only tried on a busy thread
                        self.processes.append(Process(self, trigger, takes=run["run_id"]))
            yield self.chance.uniform(*SWEEP_EVERY_SECONDS)

    def _seems_alive(self, process: Process) -> bool:
        return process.alive and not (process.stalled and self.scenario.aim.attended)

    def _needs_nobody(self, trigger: str) -> bool:
        if any(process.alive and process.trigger == trigger for process in self.processes):
            return False
        state, reason = self._stands(trigger)
        if state == RunState.DONE:
            return True
        if state == RunState.BLOCKED:
            # What a graph swallowed, or was made to forget by who wrote to its thread, is for people to cancel.
            lost = self.scenario.swallows or trigger in self.rewritten
            return lost and reason != "frozen"
        reasons = {card["reason"] for card in self.threads[trigger].view().parked.values()}
        if reasons == {"limit_reached"}:
            return True  # what others hold of the budget comes back after an hour, which no seed plays
        theirs = reason == "deadline_passed" or reasons <= {"needs_human", "deadline_passed"}
        return not self.scenario.resolves and state == RunState.NEEDS_HUMAN and theirs

    def _stands(self, trigger: str) -> tuple[str, str]:
        """Return where a trigger's run stands and why; two empty texts if nobody has heard of it."""
        rows = self.database.rows(
            "SELECT s.state, s.reason FROM control.run r JOIN control.run_state s USING (run_id)"
            " WHERE r.trigger = %s AND r.tenant = 'default'",
            f"{self.name}/{trigger}",
        )
        return (rows[0]["state"], rows[0]["reason"]) if rows else ("", "")

    def _ask_people(self, trigger: str) -> None:
        if self.scenario.resolves:
            self._have_looked_up(trigger)
        for card in self.threads[trigger].view().parked.values():
            name = str(card.get("approval", ""))
            shown = f"{name} until {card.get('expires_at')}"  # asked again, people look again
            if name and shown not in self.seen_cards:
                self.seen_cards.add(shown)
                self.agents.append(
                    Agent(steps=self._decide(name), wakes_at=self.clock.seconds + self.chance.uniform(0, 60))
                )
                if self.messages.random() < (ENDS_TOO if self.ended else ENDS):
                    at = self.clock.seconds + self.messages.uniform(0, 60)
                    self.agents.append(Agent(steps=self._end(trigger), wakes_at=at))
        if self.strikes("forge"):
            self.agents.append(
                Agent(steps=self._meddle(trigger), wakes_at=self.clock.seconds + self.chance.uniform(0, 20))
            )

    def _have_looked_up(self, trigger: str) -> None:
        """Ask somebody what became of each action of a run that was left to people."""
        for row in self.database.rows(
            # Each step is fenced off: a planner that has no statistics goes through all actions otherwise.
            "SELECT one.run_id, a.key FROM"
            " (SELECT r.run_id, s.reason FROM control.run r JOIN control.run_state s USING (run_id)"
            " WHERE r.trigger = %s AND r.tenant = 'default' OFFSET 0) one"
            " CROSS JOIN LATERAL (SELECT key FROM control.action WHERE run_id = one.run_id"
            " UNION SELECT key FROM control.waiter WHERE run_id = one.run_id OFFSET 0) own"
            " CROSS JOIN LATERAL (SELECT key, state FROM control.action"
            " WHERE tenant = 'default' AND key = own.key OFFSET 0) a"
            " WHERE a.state = 'needs_human' OR one.reason = 'deadline_passed'"
            " AND a.state NOT IN ('succeeded', 'failed', 'denied', 'abandoned') ORDER BY a.key",
            f"{self.name}/{trigger}",
        ):
            key = row["key"].hex()
            if key not in self.looking:
                self.looking.add(key)
                steps = self._resolve(trigger, row["run_id"], key)
                self.agents.append(Agent(steps=steps, wakes_at=self.clock.seconds + 60))

    def _resolve(self, trigger: str, run_id: UUID, key: str) -> Iterator[float]:
        """A person who looks at the system of record once nothing can land any more, and says what is there."""
        for _ in range(20):
            self.world.settle_down()
            happened = any(effect["key"] == key for effect in self.judge.effects())
            verdict = Resolution.HAPPENED if happened else Resolution.DID_NOT
            if self.chance.random() < 0.2 or (not happened and self._stands(trigger)[1] == "deadline_passed"):
                verdict = Resolution.GIVE_UP
            said = Resolve(
                run_id=run_id,
                key=bytes.fromhex(key),
                verdict=verdict,
                result=None,
                person="cy@acme.example",
                comment="looked it up",
                body=b"{}",
            )
            answer = self.send(self._approver(), said)
            if answer.refused is None and answer.state == "ready":
                self.judge.brakes.resolved(said.key)
            if answer.refused != "in_flight":
                break
            yield 20.0
        self.looking.discard(key)

    def _freeze(self) -> Iterator[float]:
        """Somebody stops all writes, and lets them go on after a while."""
        said: dict[str, Any] = {"person": "cy@acme.example", "comment": "stop", "body": b"{}"}
        self.send(self._approver(), Freeze(scope=Scope.TENANT, name="", **said))
        began = self.clock.seconds
        yield self.chance.uniform(5, 90)
        self.judge.frozen.append((began, self.clock.seconds))
        self.send(self._approver(), Unfreeze(scope=Scope.TENANT, name="", **said))

    def _decide(self, name: str) -> Iterator[float]:
        """A few people vote, among them some who may not."""
        approval = UUID(name.removeprefix("apr_"))
        if self.chance.random() < 0.1:
            return  # nobody answers: it expires
        if self.whims.random() < LATE:
            yield self.whims.uniform(*LATE_SECONDS)
        for person in self.chance.sample((*PEOPLE, "nobody"), 3):
            if self.whims.random() < CHANGES_MIND:
                self._edit(approval, person)
                yield self.whims.uniform(0, 20)
            decision: Literal["approve", "reject"] = "reject" if self.chance.random() < 0.15 else "approve"
            vote = Vote(
                approval_id=approval,
                decision=decision,
                comment=None,
                person=person,
                body=b"{}",
            )
            self.judge.voted(person, vote, self.send(self._approver(), vote))
            yield self.chance.uniform(0, 30)
            if self.whims.random() < CHANGES_MIND:
                self._withdraw(approval, person)
        for person in ("bo@acme.example", "di@acme.example"):
            yes = Vote(approval_id=approval, decision="approve", comment=None, person=person, body=b"{}")
            self.judge.voted(person, yes, self.send(self._approver(), yes))

    def _edit(self, approval: UUID, person: str) -> None:
        """Somebody wants another amount; also one that the tool does not take."""
        amount = self.whims.choice((40, 90, 300, 600, -5))
        changes = orjson.dumps({"amount": amount}).decode()
        said: dict[str, Any] = {"comment": None, "person": person, "identity": None, "body": b"{}"}
        edit = Edit(approval_id=approval, changes=changes, **said)
        self.judge.edited(person, edit, self.send(self._approver(), edit))

    def _withdraw(self, approval: UUID, person: str) -> None:
        """Somebody takes their yes back, if there is one and it is not too late."""
        said: dict[str, Any] = {"comment": None, "person": person, "identity": None, "body": b"{}"}
        withdrawn = WithdrawVote(approval_id=approval, **said)
        self.judge.withdrew(person, withdrawn, self.send(self._approver(), withdrawn))

    def _new_message(self, trigger: str) -> None:
        """Another request on the thread of a run that may be parked."""
        rows = self.database.rows(
            "SELECT thread_id, state FROM control.run r JOIN control.run_state s USING (run_id) WHERE r.trigger = %s",
            f"{self.name}/{trigger}",
        )
        for row in rows:
            request = opening(self, f"message-{self.number()}", thread=row["thread_id"], holder="a new message")
            self.judge.new_message(row["state"], self.send(self.connection(), request))

    def _end(self, trigger: str) -> Iterator[float]:
        """Another request comes on the thread of a run, and the policy lets it end the run; or a person cancels it."""
        rows = self.database.rows(
            "SELECT run_id, thread_id, state FROM control.run r JOIN control.run_state s USING (run_id)"
            " WHERE r.trigger = %s AND state <> 'done'",
            f"{self.name}/{trigger}",
        )
        for row in rows:
            if self.messages.random() < (CANCELLED_TOO if self.ended else CANCELLED):
                for _ in range(LOOKS if self.ended else 0):
                    if self.judge.under_way(row["run_id"]):
                        break
                    yield LOOKS_EVERY_SECONDS
                said: dict[str, Any] = {"person": "ana@acme.example", "identity": None, "body": b"{}"}
                cancelled = self.send(self._approver(), Cancel(run_id=row["run_id"], comment="not wanted", **said))
                self.ended |= cancelled.refused is None
                return
            ledger = self.connection()
            message = opening(self, f"message-{self.number()}", thread=row["thread_id"], holder="a new message")
            under_way = self.judge.under_way(row["run_id"])
            ended = self.send(ledger, RunReplace(run_id=row["run_id"], trigger=message.trigger, body=message.body))
            self.judge.replaced(row["state"], under_way, ended, self.send(ledger, message))
            self.ended |= ended is Replacing.REPLACED
        yield from ()

    def _approver(self) -> Ledger:
        if self.shared.approver is None:
            self.shared.approver = Ledger(self.database.database.local_approver)
        return self.shared.approver

    def _meddle(self, trigger: str) -> Iterator[float]:
        """Forge a resume or send one twice, change what was asked or the record, or write to the thread meanwhile."""
        thread = self.threads[trigger]
        newest = thread.newest
        match self.chance.choice(("forge", "stale", "update", "record", "message")):
            case ("forge" | "stale") as how if newest.interrupts:
                name, (place, card) = self.chance.choice(list(newest.interrupts.items()))
                if "control" in card:
                    forged = {"control": card["control"]}
                    if how == "forge":
                        forged |= {"approved": True, "decision": "approve"}
                    answers = {**newest.answers, place: (*newest.answers.get(place, ()), forged)}
                    rest = {one: what for one, what in newest.interrupts.items() if one != name}
                    thread.put(answers=answers, interrupts=rest)
            case "update" if newest.asked:
                yield from self._rewrite(trigger)
            case "message":
                self._new_message(trigger)
            case _:
                for task in newest.asked or ():
                    for call in task.calls:
                        target = f"{self.intent}/{call.target}"
                        self.world.versions[target] = self.world.versions.get(target, 0) + 1
        yield from ()

    def _rewrite_once_lost(self) -> Iterator[float]:
        """Change what is asked for as soon as nobody knows whether it was done."""
        for _ in range(LOOKS):
            lost = self.database.rows(
                "SELECT r.trigger FROM control.action a JOIN control.run r ON r.run_id = a.payload_run "
                "WHERE r.intent = %s AND a.state IN ('unknown', 'verifying')",
                self.intent,
            )
            for row in lost:
                yield from self._rewrite(row["trigger"].removeprefix(f"{self.name}/"))
            if lost:
                return
            yield LOST_EVERY_SECONDS

    def _rewrite(self, trigger: str) -> Iterator[float]:
        """Change what was asked for, where LangGraph keeps it."""
        thread = self.threads[trigger]
        if thread.newest.asked:
            thread.put(asked=tuple(_dearer(task) for task in thread.newest.asked))
            self.rewritten.add(trigger)
        yield from ()


def _dearer(task: Task) -> Task:
    return replace(task, calls=tuple(replace(call, amount=call.amount + 400) for call in task.calls))
