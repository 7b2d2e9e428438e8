"""One simulated worker process: the third driver of gate and run. It yields wherever the scheduler may strike."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from langgraph_control.audit.asking.health import Report
from langgraph_control.audit.asking.ledger import Claim, Settle
from langgraph_control.audit.asking.requests import RunOpen, RunRelease, RunRenew
from langgraph_control.audit.asking.rows import RunLease
from langgraph_control.audit.asking.signal_requests import Systems
from langgraph_control.audit.asking.wakes import RunTake
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.errors import KeyConflict, WriteRefused
from langgraph_control.graphs.advance import Drive, Driven, Lease, LookAtThread, advance
from langgraph_control.guards.checks import Failed
from langgraph_control.guards.signals import NO_SYSTEM_STATE
from langgraph_control.nodes import gate as the_gate
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall, body_bytes
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.saga_places import SagaPlace
from langgraph_control.nodes.saga_steps import AskUndo, CameBack, InvokeTool, Stopped, Then
from langgraph_control.nodes.steps import Abandoned, Delivered, Refused, TakenOver
from tests.simulation.database import POLICY, Ledger
from tests.simulation.program import DEFAULTS, Call, Task, saga_of, spelled_out
from tests.simulation.thread import SimulatedThread

if TYPE_CHECKING:
    import random
    from uuid import UUID

    from tests.simulation.scheduler import Simulation

__all__ = ["LEASE_SECONDS", "Parked", "Process", "opening"]

LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
LANDS_WITHIN_SECONDS = 3.9  # with the longest lag still less than what the contracts promise
LEASE_MARGIN_SECONDS = 1.0  # the worker stops believing in its lease before the database does

Point = str | float
"""Where the scheduler may strike: a label, or how many seconds to sleep."""


class Parked:
    """A task that stopped at a question."""

    def __init__(self, card: Mapping[str, Any]) -> None:
        self.card = card


LOST = object()


def _report(noted: ask.Noted) -> Report:
    """What a process tells that counts nothing up: each call at once."""
    return Report(
        system=noted.system,
        calls=1,
        failed=int(noted.failed),
        took_ms=10,
        rate_limited_ms=int(noted.rate_limited_seconds * 1000),
        probe=noted.probe,
        rules=noted.rules,
    )


def opening(simulation: "Simulation", trigger: str, *, thread: str, holder: str) -> RunOpen:
    """Return the request that registers or joins the run of a trigger."""
    return RunOpen(
        run_id=simulation.uuid(),
        trigger=f"{simulation.name}/{trigger}",
        intent=simulation.intent,
        graph=simulation.name,
        thread=thread,
        own_thread=True,
        actor=simulation.scenario.actor,
        on_behalf_of=None,
        deadline=simulation.deadline,
        input=b"{}",
        holder=holder,
        lease_ms=int(LEASE_SECONDS * 1000),
        body=body_bytes(
            {
                "who": {"actor": simulation.scenario.actor},
                "why": {"trigger": f"{simulation.name}/{trigger}", "intent": simulation.intent},
                "policy": POLICY.hash,
                "where": {"worker": holder, "graph": simulation.name, "thread_id": thread},
            }
        ),
    )


class Process:
    """One process that was started for one delivery of a trigger, or to go on with its run.

    Args:
        simulation: the seed.
        trigger: whose run.
        answers: it has answers to the user's own questions.
        takes: it is a worker that was told of this run, and takes it if it is due.
    """

    def __init__(
        self, simulation: "Simulation", trigger: str, *, answers: bool = False, takes: "UUID | None" = None
    ) -> None:
        self.simulation = simulation
        self.chance: random.Random = simulation.chance
        self.trigger = trigger
        self.gives_answers = answers
        self.takes = takes
        self.ledger: Ledger = simulation.connection()
        self.name = f"process-{simulation.number()}"
        self.skew = timedelta(seconds=self.chance.uniform(-3600, 3600)) if simulation.scenario.skews else timedelta()
        self.run_id: UUID | None = None
        self.token = -1
        self.believes_until = -1.0
        self.renewed_at = 0.0
        self.transactions: dict[str, psycopg.Connection[dict[str, Any]]] = {}
        self.wakes_at = 0.0
        self.stalled = False
        self.alive = True
        self.steps = self.live()

    # --- the process as the scheduler sees it ---

    def kill(self) -> None:
        """SIGKILL: nothing is cleaned up; open transactions die with their connection."""
        self.alive = False
        for connection in self.transactions.values():
            connection.close()
        self.transactions.clear()
        if self.run_id is not None:
            self.thread.lose_writes(lambda: self.chance.random() < 0.7)

    @property
    def thread(self) -> SimulatedThread:
        """The thread of this process's run."""
        return self.simulation.threads[self.trigger]

    def heartbeat(self) -> None:
        """Lengthen the run's lease, if one is held and it is time."""
        now = self.simulation.clock.seconds
        if self.token >= 0 and not self.stalled and now >= self.renewed_at + RENEW_SECONDS:
            assert self.run_id is not None
            request = RunRenew(run_ids=[self.run_id], tokens=[self.token], lease_ms=int(LEASE_SECONDS * 1000))
            if self.run_id in self.simulation.send(self.ledger, request):
                self.renewed_at = now
                self.believes_until = now + LEASE_SECONDS - LEASE_MARGIN_SECONDS

    # --- the life of the process ---

    def live(self) -> Iterator[Point]:
        """Open or join the run, drive it, give it up."""
        started = self.simulation.clock.seconds
        answer = yield from self.ask_ledger(self._asking())
        if answer.answer is not RunLease.ACQUIRED:
            return
        self.run_id, self.token = answer.run_id, answer.token
        self.renewed_at = started
        self.believes_until = started + LEASE_SECONDS - LEASE_MARGIN_SECONDS
        self.context = self._context()
        lease = Lease(run_id=answer.run_id, token=answer.token, generation=answer.generation, base="")
        answers = dict.fromkeys(self.thread.view().questions, "blue") if self.gives_answers else {}
        run = advance(lease, answers, unattended=self.takes is not None)
        answer = None
        while True:
            try:
                request = run.send(answer)
            except StopIteration:
                self.token = -1
                return
            match request:
                case LookAtThread():
                    yield "look at the thread"
                    answer = self.thread.view()
                case Drive():
                    answer = yield from self.drive(request)
                case _:
                    answer = yield from self.ask_ledger(request)

    def _asking(self) -> RunOpen | RunTake:
        simulation = self.simulation
        if self.takes is None:
            return opening(simulation, self.trigger, thread=str(simulation.uuid()), holder=self.name)
        lease_ms = int(LEASE_SECONDS * 1000)
        body = body_bytes({"policy": POLICY.hash, "where": {"worker": self.name}})
        return RunTake(run_id=self.takes, graphs=[simulation.name], holder=self.name, lease_ms=lease_ms, body=body)

    def _context(self) -> RunContext:
        simulation = self.simulation
        assert self.run_id is not None
        return RunContext(
            run_id=self.run_id,
            token=self.token,
            tenant="default",
            secret=simulation.secret,
            trigger=self.trigger,
            intent=simulation.intent,
            graph=simulation.name,
            thread_id="t",
            actor=simulation.scenario.actor,
            on_behalf_of=None,
            deadline=simulation.deadline,
            policy=POLICY,
            worker=self.name,
        )

    # --- the graph ---

    def put(self, **changes: Any) -> bool:
        """Store a checkpoint, unless this worker's lease is over."""
        if self.simulation.guarded_saver and self.simulation.clock.seconds >= self.believes_until:
            return False
        self.thread.put(**changes)
        return True

    def drive(self, plan: Drive) -> Generator[Point, None, Driven]:
        """Run the graph as LangGraph does under durability sync."""
        newest = self.thread.newest
        if plan.how == "start" and not self.put(step=0, asked=None):
            return Driven(lost=True)
        if plan.how == "answer":
            answers = dict(newest.answers)
            interrupts = dict(newest.interrupts)
            for name, value in plan.answers.items():
                task, _ = interrupts.pop(name)
                answers[task] = (*answers.get(task, ()), value)
            if not self.put(answers=answers, interrupts=interrupts):
                return Driven(lost=True)
        while not (newest := self.thread.newest).finished:
            if newest.asked is None:
                yield "ask the model"
                asked = self.model(newest.step)
                yield "store what the model asked"
                if not self.put(asked=asked, done={}, answers={}, interrupts={}):
                    return Driven(lost=True)
            outcome = yield from self.superstep(self.thread.newest.asked or ())
            if outcome is not None:
                return outcome
        return Driven()

    def superstep(self, asked: tuple[Task, ...]) -> Generator[Point, None, Driven | None]:
        """Run the tasks that are not done, interleaved; None if all are and the next step may begin."""
        newest = self.thread.newest
        running = {
            number: self.task(task, newest.answers.get(number, ()))
            for number, task in enumerate(asked)
            if number not in newest.done
        }
        lost = False
        interrupts: dict[str, tuple[int, Mapping[str, Any]]] = {}
        while running:
            number = self.chance.choice(list(running))
            try:
                yield next(running[number])
            except StopIteration as end:
                del running[number]
                if end.value is LOST:
                    lost = True
                elif isinstance(end.value, Parked):
                    given = len(newest.answers.get(number, ()))
                    interrupts[f"{newest.step}:{number}:{given}"] = (number, end.value.card)
                else:
                    self.put(done={**self.thread.newest.done, number: end.value})
        yield "store the superstep"
        if lost:
            return Driven(lost=True)
        if interrupts:
            return Driven() if self.put(interrupts=interrupts) else Driven(lost=True)
        step = newest.step + 1
        finished = step >= len(self.simulation.scenario.steps)
        if not self.put(step=step, asked=None, done={}, answers={}, interrupts={}, finished=finished):
            return Driven(lost=True)
        return None

    def model(self, step: int) -> tuple[Task, ...]:
        """Ask for this step's calls: free text is worded anew each time, and a fickle model picks another target."""
        other = "-other" if self.simulation.scenario.fickle and self.chance.random() < 0.5 else ""
        return tuple(
            replace(
                task,
                calls=tuple(
                    replace(
                        call,
                        target=call.target + other,
                        note=f"wording {self.chance.random():.6f}",
                        call_id=f"call-{self.chance.random()}",
                    )
                    for call in task.calls
                ),
            )
            for task in self.simulation.scenario.steps[step]
        )

    def task(self, task: Task, answers: tuple[Any, ...]) -> Generator[Point, None, Any]:
        """Run a task from its start; answers are positional."""
        position = [0]
        results = []
        if task.saga:
            return (yield from self.saga(task, answers, position))
        for call in task.calls:
            outcome = yield from self.governed(call, answers, position)
            if isinstance(outcome, Parked) and self.simulation.scenario.swallows:
                continue
            if isinstance(outcome, (Parked, TakenOver, Abandoned)):
                return outcome if isinstance(outcome, Parked) else LOST
            results.append(outcome)
        if task.asks:
            if position[0] >= len(answers):
                return Parked({"question": "which colour?"})
            self.simulation.judge.own_answer(answers[position[0]])
        return tuple(results)

    def saga(self, task: Task, answers: tuple[Any, ...], position: list[int]) -> Generator[Point, None, Any]:
        """Run a saga's nodes one after the other; started anew, it knows only what the ledger knows."""
        saga = saga_of(self.simulation.saga_tools, len(task.calls))
        asked = [[call.tool, call.target, call.amount, call.note] for call in task.calls]
        state: dict[str, Any] = {"request": {"calls": asked}}
        number, at = 1, "next"
        while True:
            if at == "next" and number > len(task.calls):
                return "done"
            if at == "ended":
                return state["outcome"]
            match at:
                case "next":
                    node = saga.stepping(number, state, self.context)  # type: ignore[arg-type]
                case "compensate":
                    node = saga.compensating(state, self.context)  # type: ignore[arg-type]
                case _:
                    node = saga.undoing(state, self.context)  # type: ignore[arg-type]
            then = yield from self.node(node, answers, position)
            if not isinstance(then, Then):
                return then
            yield "store the saga's state"
            number, at = number + 1, then.goto
            state |= then.update

    def node(
        self, node: Generator[Any, Any, Then], answers: tuple[Any, ...], position: list[int]
    ) -> Generator[Point, None, Any]:
        """Run one node of a saga: where it goes next, or how it was left."""
        answer: Any = None
        while True:
            try:
                request = node.send(answer)
            except StopIteration as end:
                return end.value
            match request:
                case InvokeTool():
                    args = dict(request.args)
                    named = {name: value for name, value in args.items() if name not in DEFAULTS}
                    call = Call(tool=request.tool.name, call_id="", **named)
                    outcome = yield from self.governed(call, answers, position, place=request.place)
                    if isinstance(outcome, (Parked, TakenOver, Abandoned)):
                        return outcome if isinstance(outcome, Parked) else LOST
                    if isinstance(outcome, Delivered):
                        answer = CameBack(value=outcome.value)
                    else:
                        kind = KeyConflict if outcome.code == "key_conflict" else WriteRefused
                        answer = Stopped(error=kind(outcome.text, code=outcome.code))
                case AskUndo():
                    yield "ask undo"
                    answer = CameBack(value=request.hook(request.action))
                case _:
                    answer = yield from self.ask_ledger(request)

    def governed(
        self, call: Call, answers: tuple[Any, ...], position: list[int], *, place: SagaPlace | None = None
    ) -> Generator[Point, None, Delivered | Refused | TakenOver | Abandoned | Parked]:
        """Run the gate for one call."""
        governed = GovernedCall(
            contract=self.simulation.contracts[call.tool],
            tool=call.tool,
            args={"target": call.target, "amount": call.amount, "note": call.note} | spelled_out(call),
            defaults=DEFAULTS,
            run=self.context,
            call_id=call.call_id or None,
            place=place,
        )
        taken_back = governed.key in self.simulation.judge.taken_back
        steps = the_gate.perform(governed)
        answer: Any = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as end:
                self.simulation.judge.delivered(governed, end.value, taken_back_before=taken_back)
                return end.value  # type: ignore[no-any-return]
            match request:
                case ask.ReplayWakes(key=key):
                    own = [place for place, given in enumerate(answers) if given == {"control": key}]
                    before, position[0] = position[0], max(position[0], own[-1] + 1 if own else 0)
                    answer = [given for given in answers[before : position[0]] if set(given) != {"control"}]
                case ask.Park(card=card):
                    yield "park"
                    if position[0] >= len(answers):
                        return Parked(dict(card))
                    given = answers[position[0]]
                    position[0] += 1
                    answer = [] if set(given) == {"control"} else [given]
                case _:
                    answer = yield from self.handle(governed, request)

    def handle(self, call: GovernedCall, request: Any) -> Generator[Point, None, Any]:
        """Do what the gate asks for."""
        clock = self.simulation.clock
        match request:
            case ask.NewTicket():
                yield "new ticket"
                return ask.Ticket(
                    attempt=self.simulation.uuid(),
                    started=clock.seconds,
                    now=clock.now + self.skew,
                    chance=self.chance.random(),
                )
            case ask.Ask() | ask.AskCheck() | ask.FitArguments():
                return (yield from self.consult(call, request))
            case ask.Sleep(seconds=seconds):
                yield seconds
                return None
            case ask.HowIs(system=system, rules=rules):
                yield "ask about the system"
                rows = self.simulation.send(self.ledger, Systems(window_ms=int(rules.window_seconds * 1000)))
                return rows[system].state(clock.now) if system in rows else NO_SYSTEM_STATE
            case ask.Noted():
                yield "note"
                report = _report(request)
                event = self.simulation.send(self.ledger, report)
                self.simulation.judge.brakes.reported(report, event, clock.seconds)
                return None
            case ask.Send():
                yield "send"
                return (yield from self.call_tool(call, request))
            case Settle() if request.xid is not None:
                yield "settle in the transaction"
                return self.commit(call, request)
            case _:
                return (yield from self.ask_ledger(request))

    def consult(self, call: GovernedCall, request: Any) -> Generator[Point, None, Any]:
        """Ask a hook, a check or the tool's schema."""
        match request:
            case ask.Ask(hook=hook, action=action):
                yield f"ask {hook}"
                if self.simulation.strikes("hook"):
                    return ask.AskFailed(error=TimeoutError())
                return ask.Heard(value=getattr(call.contract, hook)(action))
            case ask.AskCheck(check=check, proposal=proposal):
                yield "ask a check"
                return Failed(error="TimeoutError") if self.simulation.strikes("hook") else check(proposal)
            case _:
                yield "fit arguments"
                fits = request.args["amount"] > 0
                return ask.Fits(args=request.args, problem=None if fits else "amount: must be more than 0")

    def call_tool(self, call: GovernedCall, request: ask.Send) -> Generator[Point, None, Any]:
        """Check the deadline and send, in one step: what may happen between the two is a stated limit."""
        simulation = self.simulation
        if simulation.clock.seconds >= request.not_after:
            return ask.NotSent()
        simulation.judge.sent(call, request.action)
        reply = simulation.reply(call.tool, call.args["target"])
        if request.transaction:
            written = self.write_sql(request)
            yield reply.seconds
            return written
        longest = request.not_after - simulation.clock.seconds if reply.fault == "cut_off" else LANDS_WITHIN_SECONDS
        delay = simulation.chance.uniform(0.1, longest)
        try:
            value = simulation.world.receive(call.tool, request.action, reply.fault, delay)
        except Exception as error:  # noqa: BLE001 - a tool may raise anything
            yield reply.seconds
            yield "hear the failure"
            return ask.Raised(error=error, ended=reply.fault != "cut_off")
        yield reply.seconds
        yield "hear the result"
        return ask.Returned(value=value)

    def write_sql(self, request: ask.Send) -> ask.Returned | ask.Raised:
        """Have the effect on the ledger's own connection and leave the transaction open."""
        connection = psycopg.Connection[dict[str, Any]].connect(
            self.simulation.database.database.agent, row_factory=dict_row
        )
        row = connection.execute("SELECT pg_current_xact_id()::text AS xid").fetchone()
        assert row is not None
        action = request.action
        connection.execute(
            "INSERT INTO record.effect VALUES (%s, %s, %s, %s, %s, %s)",
            (
                action.intent,
                action.args["target"],
                action.args["amount"],
                action.key,
                action.attempt,
                self.simulation.clock.now,
            ),
        )
        if self.simulation.strikes("sql"):
            connection.close()
            return ask.Raised(error=psycopg.errors.SerializationFailure())
        self.transactions[row["xid"]] = connection
        return ask.Returned(value=f"done {action.args['target']} {action.args['amount']}", xid=row["xid"])

    def commit(self, call: GovernedCall, request: Settle) -> Any:
        """Settle inside the open transaction: effect and record commit together or not at all."""
        connection = self.transactions.pop(str(request.xid))
        self.simulation.clock.write()
        try:
            rows = connection.execute(statement(request.statement), request.parameters()).fetchall()
            connection.commit()
        except psycopg.errors.RaiseException as refused:
            connection.close()
            return ask.RolledBack(why="stale" if refused.sqlstate == "LC004" else "ended")
        except psycopg.Error as refused:
            connection.close()
            if refused.sqlstate == "LC004":
                return ask.RolledBack(why="stale")
            raise
        connection.close()
        answer = request.read(rows)
        self.simulation.heard(request, answer)
        self.simulation.judge.settled(call.key, request, answer)
        return answer

    def ask_ledger(self, request: Any) -> Generator[Point, None, Any]:
        """Send a request; its answer may be lost before or after it was committed, and then it is sent again."""
        name = request.statement
        yield name
        simulation = self.simulation
        lost = simulation.lost_answer()
        if lost == "after":
            self._send(request)
        if lost:
            yield f"send {name} again"
        answer = self._send(request)
        yield f"hear {name}"
        return answer

    def _send(self, request: Any) -> Any:
        answer = self.simulation.send(self.ledger, request)
        if isinstance(request, RunRelease):
            self.simulation.judge.released(self, request, answer)
        if isinstance(request, Settle):
            self.simulation.judge.settled(request.key, request, answer)
        if isinstance(request, Claim):
            self.simulation.judge.brakes.claimed(request, answer, self.simulation.clock.seconds)
        return answer
