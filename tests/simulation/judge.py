"""The invariants. What the system of record logged is judged against what the ledger and the trail say."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from langgraph_control.audit.asking.authority_requests import Edit, WithdrawVote
from langgraph_control.audit.asking.ledger import Settle, Verdict
from langgraph_control.audit.asking.requests import FindRun, RunRelease, Vote
from langgraph_control.audit.asking.rows import Release, Replacing, RunLease, Voting
from langgraph_control.audit.names import run_name
from langgraph_control.audit.trail.chain import ZERO, entry_hash
from langgraph_control.guards.canonical import from_canonical
from langgraph_control.guards.run_states import RunState, next_step
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.steps import Delivered
from tests.simulation.brakes import Brakes
from tests.simulation.database import EPOCH
from tests.simulation.program import DEFAULTS, UNDO_TOOLS
from tests.simulation.saga_judge import judge_sagas
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from uuid import UUID

    from tests.simulation.process import Process
    from tests.simulation.scheduler import Simulation

__all__ = ["Judge"]

FINANCE = {"ana@acme.example", "bo@acme.example", "di@acme.example"}
SUPPORT = {"cy@acme.example"}
APPROVAL_ABOVE = 100
NEEDS_TWO = "keyed"
EXECUTE_WITHIN_SECONDS = 60
INSTANT = 1e-6
AFTER_THE_END = {
    "run.fenced",
    "resume.ignored",
    "effect.late",
    "approval.refused",
    "action.resolution_refused",
    "run.cancel_refused",
    "question.answer_refused",
    "approval.vote_withdrawn",
    "approval.edited",
}


class Judge:
    """Watches one seed and speaks at its end."""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.deliveries: dict[bytes, set[str]] = defaultdict(set)
        self.acknowledged: list[tuple[bytes, Settle]] = []
        self.votes: dict[str, set[str]] = defaultdict(set)
        self.granted: dict[str, list[float]] = defaultdict(list)
        self.chains: dict[UUID, list[dict[str, Any]]] = {}
        self.sends: list[tuple[str, str, dict[str, Any]]] = []
        self.frozen: list[tuple[float, float]] = []
        self.taken_back: set[bytes] = set()
        self.brakes = Brakes()

    # --- while the seed is played ---

    def sent(self, call: GovernedCall, action: Any) -> None:
        """Note that a tool was called; a committed attempt must stand behind each call."""
        self.sends.append((action.key, call.tool, dict(action.args)))

    def delivered(self, call: GovernedCall, outcome: Any, *, taken_back_before: bool) -> None:
        """Note what a call was given; every repeat gets the same, and what was taken back is not told as done."""
        if isinstance(outcome, Delivered):
            if call.place is not None and call.place.undoes is not None:
                self.taken_back.add(call.place.undoes)
            elif taken_back_before:
                raise Violation(f"{call.tool}: delivered as done after it was taken back")
            self.deliveries[call.key].add(repr(outcome.value))
            if len(self.deliveries[call.key]) > 1:
                raise Violation(f"{call.tool}: repeats got different results: {sorted(self.deliveries[call.key])}")
            if not repr(outcome.value).startswith(("'done ", f"'{call.tool} is done")):
                raise Violation(f"{call.tool}: delivered something that no system said: {outcome.value!r}")

    def own_answer(self, answer: Any) -> None:
        """The user's question never gets what woke a parked call; a forger can answer it, as anywhere in LangGraph."""
        if answer != "blue" and not (isinstance(answer, dict) and "approved" in answer):
            raise Violation(f"the user's question was answered with {answer!r}")

    def settled(self, key: bytes, request: Settle, answer: Any) -> None:
        """Note a settle that was acknowledged as the current one."""
        self.brakes.settled(request, answer)
        if answer.answer is Verdict.SETTLED:
            self.acknowledged.append((key, request))

    def voted(self, person: str, vote: Vote, answer: Any) -> None:
        """Only people of the role who did not ask may vote, and only in time."""
        if answer.answer is Voting.REFUSED:
            return
        if self.simulation.database.rows(  # what was said before is answered again, and said once
            "SELECT FROM control.vote v JOIN control.approval a USING (approval_id)"
            " WHERE approval_id = %s AND person = %s AND v.voted_at > a.expires_at",
            vote.approval_id,
            person,
        ):
            raise Violation(f"a vote of {person} counted after the time to answer was over")
        if answer.answer is Voting.GRANTED:
            self.granted[str(vote.approval_id)].append(self.simulation.clock.seconds)
        if person not in self._asked_people(vote.approval_id) or person == self.simulation.scenario.actor:
            raise Violation(f"a vote of {person} counted")
        if vote.decision == "approve":
            self.votes[str(vote.approval_id)].add(person)

    def withdrew(self, person: str, withdrawn: WithdrawVote, answer: Any) -> None:
        """A yes that was taken back is none."""
        if answer.answer is not Voting.REFUSED:
            self.votes[str(withdrawn.approval_id)].discard(person)

    def edited(self, person: str, edit: Edit, answer: Any) -> None:
        """Whoever may not approve changes nothing either."""
        if answer.answer is Voting.EDITED and (
            person not in self._asked_people(edit.approval_id) or person == self.simulation.scenario.actor
        ):
            raise Violation(f"{person} changed what was asked")

    def _asked_people(self, approval: "UUID") -> set[str]:
        """Whose word counts: finance's; support's where finance did not answer, and for less than that from then on."""
        rows = self.simulation.database.rows(
            "SELECT o.approval_id, o.escalated, o.card FROM control.approval a JOIN control.approval o"
            " ON o.tenant = a.tenant AND o.key = a.key AND o.requested_at <= a.requested_at WHERE a.approval_id = %s",
            approval,
        )
        (first,) = (row for row in rows if row["approval_id"] == approval)
        allowed_unasked = from_canonical(first["card"])["what"]["arguments"]["amount"] <= APPROVAL_ABOVE
        escalated = first["escalated"] or (allowed_unasked and any(row["escalated"] for row in rows))
        return FINANCE | SUPPORT if escalated else FINANCE

    def new_message(self, state: str, answer: Any) -> None:
        """A new request on a thread waits until the run that has the thread is done."""
        if state != "done" and answer.answer is not RunLease.THREAD_BUSY:
            raise Violation(f"a second run began on the thread of a run that is {state}")

    def under_way(self, run_id: "UUID") -> list[str]:
        """What of a run is begun, decided or done in part: no new message takes that back."""
        return [
            f"{row['tool']} is {row['state']}"
            for row in self.simulation.database.rows(
                "SELECT a.tool, a.state FROM control.action a LEFT JOIN control.approval ap USING (approval_id)"
                " WHERE %s IN (a.run_id, a.payload_run, a.execution_run)"
                " AND (a.state IN ('executing', 'unknown', 'verifying', 'needs_human')"
                " OR a.state = 'ready' AND ap.state = 'granted')"
                " UNION ALL SELECT a.tool, a.state FROM control.saga_step t JOIN control.action a USING (key)"
                " WHERE t.run_id = %s AND a.state = 'succeeded' AND NOT EXISTS"
                " (SELECT FROM control.action u WHERE u.undoes = a.key AND u.state = 'succeeded')",
                run_id,
                run_id,
            )
        ]

    def replaced(self, state: str, under_way: list[str], answer: Replacing, then: Any) -> None:
        """A new message ends a run that waits for people, and nothing of it is under way; then its own run begins."""
        if answer is Replacing.REPLACED and (state != RunState.NEEDS_APPROVAL or under_way):
            raise Violation(f"a new message ended a run that is {state}: {under_way}")
        if (then.answer is RunLease.ACQUIRED) != (answer is Replacing.REPLACED):
            raise Violation(f"a new message was answered {then.answer} after {answer} of the run before it")

    def released(self, process: "Process", request: RunRelease, answer: Any) -> None:
        """A decision that landed while the run was driven is not left lying."""
        if answer.answer is not Release.RELEASED or request.state is not RunState.NEEDS_APPROVAL:
            return
        for card in process.thread.view().parked.values():
            if card.get("approval"):
                rows = self.simulation.database.rows(
                    "SELECT state FROM control.approval WHERE approval_id = %s",
                    str(card["approval"]).removeprefix("apr_"),
                )
                if rows[0]["state"] in ("granted", "denied"):
                    raise Violation("the run parked although its request had been decided")

    # --- at the end ---

    def verdict(self) -> None:
        """Judge the whole seed."""
        runs = self.simulation.runs()
        self.chains = self.simulation.entries(runs)
        self._chains(runs)
        actions = {row["key"].hex(): row for row in self._actions()}
        effects = self.effects()
        self._at_most_one(effects)
        self._asked_for(effects)
        self._begun_on_record()
        self._nothing_begun_while_frozen()
        self._nothing_begun_too_late()
        self._nothing_begun_before_its_pause_is_over()
        self._nothing_begun_long_after_its_yes()
        self._used_by_what_began()
        self._approved(effects)
        self._as_people_changed_it(effects)
        self._acknowledged_kept(actions)
        self._done_is_done(actions, effects)
        self._nothing_open(runs, actions)
        self._somebodys_turn(runs)
        judge_sagas(self.simulation, runs, self.chains)

    def _actions(self) -> list[dict[str, Any]]:
        return self.simulation.database.rows(
            "SELECT a.* FROM control.action a JOIN control.run r USING (run_id) WHERE r.intent = %s",
            self.simulation.intent,
        )

    def effects(self) -> list[dict[str, Any]]:
        """Return everything that happened, wherever it did."""
        rows = self.simulation.database.rows(
            "SELECT target, amount, key, 'sql' AS tool FROM record.effect WHERE intent = %s", self.simulation.intent
        )
        return rows + [
            {"target": effect.target, "amount": effect.amount, "key": effect.key, "tool": effect.tool}
            for effect in self.simulation.world.effects
        ]

    def _at_most_one(self, effects: list[dict[str, Any]]) -> None:
        counted: dict[tuple[str, str], int] = defaultdict(int)
        for effect in effects:
            counted[effect["tool"], effect["target"]] += 1
        twice = {change: count for change, count in counted.items() if count > 1}
        if twice:
            raise Violation(f"more than one effect: {twice}")

    def _asked_for(self, effects: list[dict[str, Any]]) -> None:
        calls = [call for thread in self.simulation.threads.values() for call in thread.asked]
        asked = {(call.tool, call.target) for call in calls}
        # What belongs to a saga may be taken back.
        asked |= {(UNDO_TOOLS[call.tool], call.target) for call in calls if call.target.startswith("order-s")}
        strays = [effect for effect in effects if (effect["tool"], effect["target"]) not in asked]
        if strays:
            raise Violation(f"effects that no stored state asked for: {strays}")

    def _approved(self, effects: list[dict[str, Any]]) -> None:
        for effect in effects:
            if effect["amount"] <= APPROVAL_ABOVE:
                continue
            rows = self.simulation.database.rows(
                "SELECT approval_id, card, digest, state FROM control.approval WHERE tenant = 'default' AND key = %s",
                bytes.fromhex(effect["key"]),
            )
            granted = [
                row
                for row in rows
                if row["state"] == "used"
                and len(self.votes[str(row["approval_id"])] & self._asked_people(row["approval_id"]))
                >= (2 if effect["tool"] == NEEDS_TWO else 1)
            ]
            if not any(self._card_says(row["card"], effect) for row in granted):
                raise Violation(f"an effect without a grant for exactly it: {effect}")
            self._digest_ran(effect, {row["digest"].hex() for row in granted})

    def _as_people_changed_it(self, effects: list[dict[str, Any]]) -> None:
        """What was asked about and changed was done as it was changed, by somebody's yes; or as another call asked."""
        for effect in effects:
            key = bytes.fromhex(effect["key"])
            asked = self.simulation.database.rows(
                "SELECT state FROM control.approval WHERE tenant = 'default' AND key = %s", key
            )
            if asked and "used" not in {row["state"] for row in asked}:
                raise Violation(f"people were asked, and it was done without their yes: {effect}")
            edits = self.simulation.database.rows(
                "SELECT (changes ->> 'amount')::bigint AS amount FROM control.edit"
                " WHERE tenant = 'default' AND key = %s AND NOT void ORDER BY edit_no DESC",
                key,
            )
            calls = [call for thread in self.simulation.threads.values() for call in thread.asked]
            amounts = {call.amount for call in calls if (call.tool, call.target) == (effect["tool"], effect["target"])}
            if not edits:
                continue
            if effect["amount"] not in amounts | {edit["amount"] for edit in edits}:
                raise Violation(f"an amount that nobody asked for: {effect}")
            if len(amounts) == 1 and effect["amount"] != edits[0]["amount"]:
                raise Violation(f"people had changed it: {effect} instead of {edits[0]}")

    def _card_says(self, card: bytes, effect: dict[str, Any]) -> bool:
        shown = DEFAULTS | from_canonical(card)["what"]["arguments"]
        ran = [
            DEFAULTS | args
            for key, _, args in self.sends
            if key == effect["key"] and args["amount"] == effect["amount"]
        ]
        return any(shown == args for args in ran)

    def _begun_on_record(self) -> None:
        begun: dict[str, int] = defaultdict(int)
        for entry in self._attempts():
            begun[entry["facts"]["key"]] += 1
        sent: dict[str, int] = defaultdict(int)
        for key, _, _ in self.sends:
            sent[key] += 1
        for key, count in sent.items():
            if count > begun[key]:
                raise Violation(f"{count} calls of a tool on {begun[key]} recorded attempts")

    def _nothing_begun_while_frozen(self) -> None:
        """From a freeze to its end no attempt begins; one of the same instant, as it is rounded, may be first."""
        for entry in self._attempts():
            at = (entry["at"] - EPOCH).total_seconds()
            if any(began + INSTANT < at < ended - INSTANT for began, ended in self.frozen):
                raise Violation(f"an attempt began while writes were frozen: {entry['facts'].get('tool')}")

    def _nothing_begun_too_late(self) -> None:
        """After the deadline no attempt begins, but what takes a saga's steps back."""
        deadline = self.simulation.deadline
        for entry in self._attempts() if deadline is not None else ():
            tool = entry["facts"]["tool"]
            if entry["at"] > deadline and tool not in UNDO_TOOLS.values():
                raise Violation(f"an attempt of {tool} began after the deadline")

    def _nothing_begun_before_its_pause_is_over(self) -> None:
        """What failed is waited for as long as its settle says, whoever drives the run meanwhile, and however often."""
        until: dict[str, float] = {}
        entries = (entry for chain in self.chains.values() for entry in chain)
        for entry in sorted(entries, key=lambda entry: (entry["facts"]["at"], entry["seq"])):
            facts = entry["facts"]
            key, at = facts.get("key"), facts["at"]
            if "action.attempt_started" in facts["events"] and at < until.get(key, 0) - 1:
                raise Violation(f"{facts['tool']}: an attempt began before the pause after the last one was over")
            if "pause_ms" in facts:
                until[key] = at + 1000 * facts["pause_ms"]
            elif "action.resolved" in facts["events"] or ("outcome" in facts and facts["answer"] == "settled"):
                until.pop(key, None)

    def _nothing_begun_long_after_its_yes(self) -> None:
        """A grant is good for a while: what begins under its digest begins in that time, each attempt of it."""
        for entry in self._attempts():
            if from_canonical(entry["payload"])["args"]["amount"] <= APPROVAL_ABOVE:
                continue
            at = (entry["at"] - EPOCH).total_seconds()
            grants = self.simulation.database.rows(
                "SELECT approval_id FROM control.approval WHERE tenant = 'default' AND key = %s AND digest = %s",
                bytes.fromhex(entry["facts"]["key"]),
                bytes.fromhex(entry["facts"]["digest"]),
            )
            given = [moment for row in grants for moment in self.granted[str(row["approval_id"])]]
            if not any(moment - INSTANT <= at <= moment + EXECUTE_WITHIN_SECONDS + INSTANT for moment in given):
                raise Violation(f"an attempt of {entry['facts']['tool']} began long after its yes, or before it")

    def _used_by_what_began(self) -> None:
        """A yes is used up by an attempt, and by nothing else: until then it may be taken back."""
        begun = {entry["facts"].get("approval") for entry in self._attempts()}
        used = self.simulation.database.rows(
            "SELECT approval_id FROM control.approval ap JOIN control.run r USING (run_id)"
            " WHERE ap.state = 'used' AND r.trigger LIKE %s",
            f"{self.simulation.name}/%",
        )
        for row in used:
            if str(row["approval_id"]) not in begun:
                raise Violation(f"a yes was used up, and no attempt began with it: {row['approval_id']}")

    def _attempts(self) -> list[dict[str, Any]]:
        entries = [entry for chain in self.chains.values() for entry in chain]
        return [entry for entry in entries if "action.attempt_started" in entry["facts"]["events"]]

    def _digest_ran(self, effect: dict[str, Any], granted: set[str]) -> None:
        for entry in self._attempts():
            if entry["facts"]["key"] != effect["key"]:
                continue
            amount = from_canonical(entry["payload"])["args"]["amount"]
            if amount > APPROVAL_ABOVE and entry["facts"]["digest"] not in granted:
                raise Violation(f"an attempt ran under a digest that nobody granted: {effect}")

    def _acknowledged_kept(self, actions: dict[str, dict[str, Any]]) -> None:
        for key, settle in self.acknowledged:
            if settle.outcome in ("succeed", "found"):
                action = actions[key.hex()]
                if action["state"] not in ("succeeded", "needs_human") or action["result"] is None:
                    raise Violation(f"an acknowledged success was lost: {action['tool']} is {action['state']}")

    def _done_is_done(self, actions: dict[str, dict[str, Any]], effects: list[dict[str, Any]]) -> None:
        happened = {effect["key"] for effect in effects}
        landing = {effect.key for _, effect in self.simulation.world.landing}
        for key, action in actions.items():
            if action["state"] == "succeeded" and key not in happened:
                raise Violation(f"{action['tool']} is recorded as done and did not happen")
            if action["state"] in ("failed", "denied", "ready", "needs_approval") and key in happened | landing:
                raise Violation(f"{action['tool']} happened and is recorded as {action['state']}")

    def _nothing_open(self, runs: list[dict[str, Any]], actions: dict[str, dict[str, Any]]) -> None:
        done = {run["run_id"] for run in runs if run["state"] == "done"}
        # What another run has taken up again is that run's to settle.
        taken_up = {
            entry["facts"].get("key")
            for run in runs
            if run["run_id"] not in done
            for entry in self.chains[run["run_id"]]
        }
        open_states = ("executing", "unknown", "verifying", "needs_approval", "needs_human")
        left = [
            row["tool"]
            for key, row in actions.items()
            if row["run_id"] in done and row["state"] in open_states and key not in taken_up
        ]
        if left:
            raise Violation(f"a run is done while something of it is open: {left}")

    def _somebodys_turn(self, runs: list[dict[str, Any]]) -> None:
        """A run that is not done says why, whose turn it is, and what the next step is."""
        for run in runs:
            row = self.simulation.send(self.simulation.connection(), FindRun(run_id=run["run_id"]))
            assert row is not None
            if row.state in (RunState.DONE, "running"):
                continue
            step = row.next_step or (next_step(row.reason, run_name(row.run_id)) if row.reason else "")
            if not (row.reason and row.owner and step):
                raise Violation(f"a run is {row.state} with reason {row.reason!r}, owner {row.owner!r}, step {step!r}")

    def _chains(self, runs: list[dict[str, Any]]) -> None:
        for run in runs:
            head, expected = ZERO, 0
            for row in self.chains[run["run_id"]]:
                expected += 1
                if row["seq"] != expected:
                    raise Violation(f"the chain has a gap at {expected}")
                head = entry_hash(
                    tenant=row["tenant"],
                    run_id=run["run_id"],
                    seq=row["seq"],
                    previous=head,
                    facts=row["text"],
                    commitment=row["commitment"],
                    body=row["body"],
                )
                if head != row["hash"]:
                    raise Violation(f"the chain breaks at {expected}")
            if (run["seq"], run["head"]) != (expected, head):
                raise Violation("the run's head is not the end of its chain")
            self._finished_counts(run)

    def _finished_counts(self, run: dict[str, Any]) -> None:
        """`run.finished` carries the count; only what a straggler or a late voter says may follow it."""
        facts = [entry["facts"] for entry in self.chains[run["run_id"]]]
        ends = [place for place, one in enumerate(facts, start=1) if "run.finished" in one["events"]]
        if run["state"] == "done" and (len(ends) != 1 or facts[ends[0] - 1]["entries"] != ends[0]):
            raise Violation("a finished run does not have one run.finished with its count")
        for one in facts[ends[0] :] if ends else []:
            if not set(one["events"]) <= AFTER_THE_END:
                raise Violation(f"something was done after the run was finished: {one['events']}")
