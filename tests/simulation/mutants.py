"""Deliberate mistakes, each in one layer. The simulation must find all; what a guard masks is tried without it."""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GATE = "langgraph_control.nodes.gate"
ATTEMPT = "langgraph_control.nodes.attempt"
WHAT_RUNS = "langgraph_control.nodes.what_runs"
READING = "langgraph_control.nodes.reading_back"
CALL = "langgraph_control.nodes.call"
ADVANCE = "langgraph_control.graphs.advance"
SAGAS = "langgraph_control.guards.sagas"
SAGA_STEPS = "langgraph_control.nodes.saga_steps"
KEYS = "langgraph_control.guards.keys"

__all__ = ["MUTANTS", "Mutant", "install"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake.

    Args:
        name: what it does wrong.
        layer: where: gate, guards, contract keys, SQL or trail.
        python: changes to source text: module → ((old, new), ...).
        sql: changes to functions: name → ((old, new), ...).
        removed: guards taken away because they mask it.
    """

    name: str
    layer: str
    python: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    sql: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


# It looks before it has the run's row, and once more when it has.
SHORT_WAY_HEEDS_NO_FREEZE = (
    ("AND NOT EXISTS (SELECT FROM control.brake b WHERE b.tenant = l.tenant)", ""),
    ("WHERE NOT EXISTS (SELECT FROM control.brake b WHERE b.tenant = v_tenant)", "WHERE true"),
)

SHORT_WAY_HEEDS_FREEZES_ONLY = (
    ("b WHERE b.tenant = l.tenant)", "b WHERE b.tenant = l.tenant AND b.cause = 'freeze')"),
    ("b WHERE b.tenant = v_tenant)", "b WHERE b.tenant = v_tenant AND b.cause = 'freeze')"),
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="go ahead while another worker holds the action",
        layer="gate",
        python={GATE: (("case Answer.GO:", "case Answer.GO | Answer.WAIT:"),)},
    ),
    Mutant(
        name="trust the interrupt: run once it was answered",
        layer="gate",
        python={
            GATE: (
                (
                    "                waited = 0.0\n            later = None\n            continue",
                    (
                        "                return (yield from attempt(call, view, claimed, bounds, ticket))\n"
                        "            continue"
                    ),
                ),
            )
        },
    ),
    Mutant(
        name="leave the wake-ups to the user's own question",
        layer="gate",
        python={GATE: (("    yield from ask_graph(call.run, call.where, ask.ReplayWakes(key=call.key.hex()))\n", ""),)},
    ),
    Mutant(
        name="begin another attempt before the pause is over",
        layer="SQL",
        sql={"claim_any": (("ELSIF a.not_before > v_now THEN", "ELSIF false THEN"),)},
    ),
    Mutant(
        name="retry on unknown",
        layer="gate",
        python={ATTEMPT: (("    Verdict.UNKNOWN: Outcome.LOSE,", "    Verdict.UNKNOWN: Outcome.NOT_DONE,"),)},
    ),
    Mutant(
        name="send after the lease is over",
        layer="gate",
        python={ATTEMPT: (("not_after=ticket.started + timeout", "not_after=ticket.started + 1e9"),)},
    ),
    Mutant(
        name="treat absence as proof, however early it was read (the ledger believes it)",
        layer="gate",
        python={
            READING: (
                ("elif sight is _Sight.NOT_THERE and claimed.absence_counts:", "elif sight is _Sight.NOT_THERE:"),
            )
        },
        sql={"settle_any": (("IF v_outcome = 'absent' AND NOT a.absence_counts THEN", "IF false THEN"),)},
        removed=("ledger's own check of when the reader began",),
    ),
    Mutant(
        name="run this call's words although people saw others",
        layer="gate",
        python={WHAT_RUNS: (("    if claimed.payload is None:", "    if True:"),)},
    ),
    Mutant(
        name="count attempts in the key",
        layer="keys",
        python={
            CALL: (("            occurrence=self.occurrence,", "            occurrence=hash(self.call_id) % 1000,"),)
        },
    ),
    Mutant(
        name="take a default that is spelled out for another action",
        layer="keys",
        python={CALL: (("            defaults=self.defaults,\n", ""),)},
    ),
    Mutant(
        name="let free text identify the change",
        layer="keys",
        python={
            CALL: (
                (
                    "identifying=Identified({name: self._identified.get(name) for name in self.contract.key})",
                    "identifying=self._identified",
                ),
            )
        },
    ),
    Mutant(
        name="end a run for a new message whatever it waits for",
        layer="SQL",
        sql={"run_replace_v1": (("s.state <> 'needs_approval' OR s.lease_until > v_now", "false"),)},
    ),
    Mutant(
        name="end a run for a new message in the middle of a saga",
        layer="SQL",
        sql={"run_replace_v1": (("WHEN EXISTS (SELECT FROM control.left_applied(v_tenant, p_run)) THEN 'saga'", ""),)},
    ),
    Mutant(
        name="end a run for a new message after people said yes",
        layer="SQL",
        sql={
            "run_replace_v1": (
                ("a.state = 'ready' AND ap.state = 'granted'", "false"),
                ("bool_or(ap.state = 'open') IS NOT TRUE", "false"),
            )
        },
        removed=("its look for a request that is open",),
    ),
    Mutant(
        name="end a run though it has begun what an ended one asked for",
        layer="SQL",
        sql={"open_outcomes": (("p_run IN (run_id, payload_run, execution_run)", "run_id = p_run"),)},
    ),
    Mutant(
        name="leave people a request of a run that was ended",
        layer="SQL",
        sql={"end_run": (("ELSIF ap.run_id = p_run THEN", "ELSIF false THEN"),)},
    ),
    Mutant(
        name="call a failed drive finished although something waits",
        layer="runs",
        python={ADVANCE: ((" and not thread.parked and not thread.questions:", " and not thread.questions:"),)},
        sql={
            "unsettled": (
                ("a.state IN ('executing', 'unknown', 'verifying', 'needs_approval', 'needs_human')", "false"),
            )
        },
        removed=("ledger's list of what is open",),
    ),
    Mutant(
        name="drop the run's token (zombies store checkpoints, too)",
        layer="SQL claim",
        sql={
            "claim_any": (
                (
                    "IF s.run_id IS NULL OR s.token IS DISTINCT FROM p_token OR s.state <> 'running' THEN",
                    "IF s.run_id IS NULL THEN",
                ),
            ),
            "claim_v1": (("AND token = p_token AND state = 'running'", ""),),
        },
        removed=("saver",),
    ),
    Mutant(
        name="heed no freeze",
        layer="SQL claim",
        sql={
            "claim_any": (
                (
                    "IF v_brake.cause IN ('freeze', 'restored') OR (v_brake.cause IS NOT NULL AND v_over IS NULL) THEN",
                    "IF v_brake.cause <> 'freeze' AND v_over IS NULL THEN",
                ),
            ),
            "claim_v1": SHORT_WAY_HEEDS_NO_FREEZE,
        },
    ),
    Mutant(
        name="heed no freeze on the short way",
        layer="SQL claim",
        sql={"claim_v1": SHORT_WAY_HEEDS_NO_FREEZE},
    ),
    Mutant(
        name="heed no rate limit",
        layer="SQL claim",
        sql={
            "brake_on": (("AND (b.until > p_now OR", "AND b.cause <> 'rate_limit' AND (b.until > p_now OR"),),
            "claim_v1": SHORT_WAY_HEEDS_FREEZES_ONLY,
        },
    ),
    Mutant(
        name="heed no open breaker",
        layer="SQL claim",
        sql={
            "brake_on": (
                ("AND (b.until > p_now OR b.cause = 'breaker')", "AND b.until > p_now AND b.cause <> 'breaker'"),
            ),
            "claim_v1": SHORT_WAY_HEEDS_FREEZES_ONLY,
        },
    ),
    Mutant(
        name="heed neither a rate limit nor a breaker on the short way",
        layer="SQL claim",
        sql={"claim_v1": SHORT_WAY_HEEDS_FREEZES_ONLY},
    ),
    Mutant(
        name="let everybody probe at once",
        layer="SQL claim",
        sql={
            "claim_any": (
                (
                    "UPDATE control.brake SET until = v_now + open_ms",
                    "UPDATE control.brake SET until = v_now + 0 * open_ms",
                ),
            )
        },
    ),
    Mutant(
        name="never open the breaker",
        layer="SQL reports",
        sql={"report_v1": (("v_failed >= p_error_rate * v_calls THEN", "false THEN"),)},
    ),
    Mutant(
        name="close the breaker at the first probe that comes back",
        layer="SQL reports",
        sql={"report_v1": (("ELSIF b.probes_left > 1 THEN", "ELSIF false THEN"),)},
    ),
    Mutant(
        name="take a call that began before the breaker opened for its probe",
        layer="SQL reports",
        sql={
            "report_v1": (
                ("ELSIF NOT p_probe OR p_calls = 0 OR (b.until > v_now AND", "ELSIF p_calls = 0 OR (false AND"),
            )
        },
    ),
    Mutant(
        name="count no budget",
        layer="SQL claim",
        sql={"charge_for": (("IF v_spent + c.amount > c.most THEN", "IF false THEN"),)},
    ),
    Mutant(
        name="give a budget back while nobody knows what happened",
        layer="SQL settle",
        sql={
            "settle_any": (
                (
                    "IF a.charged AND v_outcome IN ('not_done', 'fail', 'absent') THEN",
                    "IF a.charged AND v_outcome <> 'succeed' THEN",
                ),
            )
        },
    ),
    Mutant(
        name="take a live lease away",
        layer="SQL claim",
        sql={
            "claim_any": (
                ("ELSIF a.lease_until > v_now THEN", "ELSIF false THEN"),
                (
                    "a.absence_counts := v_now >= a.sent_by + make_interval(secs => p_visible_ms / 1000.0);",
                    "a.absence_counts := true;",
                ),
            )
        },
        removed=("ledger's wait before absence is believed",),
    ),
    Mutant(
        name="believe absence at once",
        layer="SQL claim",
        sql={
            "claim_any": (
                (
                    "a.absence_counts := v_now >= a.sent_by + make_interval(secs => p_visible_ms / 1000.0);",
                    "a.absence_counts := true;",
                ),
            )
        },
    ),
    Mutant(
        name="let other arguments take over a key that has started",
        layer="SQL claim",
        python={WHAT_RUNS: (("    if claimed.payload is None:", "    if True:"),)},
        sql={"claim_any": (("IF NOT v_fresh AND (a.args_hash <> p_args_hash OR v_elsewhere) THEN", "IF false THEN"),)},
        removed=("the gate runs what people saw",),
    ),
    Mutant(
        name="use a key the provider has forgotten",
        layer="SQL claim",
        sql={"claim_any": (("IF v_kind = 'keyed' AND a.first_sent IS NOT NULL AND a.started", "IF false"),)},
    ),
    Mutant(
        name="need no grant",
        layer="SQL claim",
        sql={
            "claim_any": (("ELSIF p_verb = 'approve' OR f.must OR a.approval_id IS NOT NULL THEN", "ELSIF false THEN"),)
        },
    ),
    Mutant(
        name="take a grant for another digest",
        layer="SQL grant",
        python={WHAT_RUNS: (("    if claimed.payload is None:", "    if True:"),)},
        sql={"check_grant": (("    IF v_same THEN", "    IF ap.scope IS NOT NULL THEN"),)},
        removed=("the gate runs what people saw",),
    ),
    Mutant(
        name="use up a yes before its write goes",
        layer="SQL claim",
        sql={
            "claim_any": (
                (
                    "IF v_out.answer IS NULL AND p_charges IS NOT NULL THEN",
                    (
                        "IF g.verdict = 'pass' THEN"
                        " UPDATE control.approval SET state = 'used', closed_at = coalesce(closed_at, v_now),"
                        " used_at = coalesce(used_at, v_now) WHERE approval_id = g.approval_id AND state <> 'used';"
                        " END IF; IF v_out.answer IS NULL AND p_charges IS NOT NULL THEN"
                    ),
                ),
            )
        },
    ),
    Mutant(
        name="take a request that nobody decided for a grant",
        layer="SQL grant",
        sql={
            "check_grant": (
                ("IF ap.state IN ('granted', 'used') AND ap.execute_by > p_now", "IF true"),
                ("IF control.satisfied(p_tenant, p_tool, ap.approval_id, v_requirement, p_run) THEN", "IF true THEN"),
            )
        },
        removed=("ledger's tally in the claim",),
    ),
    Mutant(
        name="count anybody's vote",
        layer="SQL vote",
        sql={"vote_v1": (("v_out.reason := v_check.reason;", "NULL;"),)},
    ),
    Mutant(
        name="count a vote that came after the time to answer",
        layer="SQL",
        sql={"vote_refusal": ((" OR (p_approval).expires_at <= p_now THEN", " THEN"),)},
    ),
    Mutant(
        name="use a grant after its time",
        layer="SQL",
        sql={
            "check_grant": (
                (" AND ap.execute_by > p_now", ""),
                ("(v_requirement ->> 'execute_within_seconds')::double precision) > p_now", "1e6) > p_now"),
            )
        },
        removed=("the time that the rule gives now, beside the one that was granted",),
    ),
    Mutant(
        name="let one person's yes do where two are asked",
        layer="SQL",
        sql={
            "satisfied": (
                ("asked.role = ANY (yes.roles)) < asked.people)", "asked.role = ANY (yes.roles)) < 1)"),
                ("(SELECT sum(people) FROM asked)", "1"),
                ("coalesce((SELECT quorum FROM floor), 0)", "0"),
            )
        },
        removed=("the count of all who are asked together", "the number of people that the published policy asks for"),
    ),
    Mutant(
        name="count one person twice",
        layer="SQL",
        sql={
            "satisfied": (
                ("(SELECT count(*) FROM yes WHERE counts AND", "(SELECT 2 * count(*) FROM yes WHERE counts AND"),
                ("(SELECT count(*) FROM yes WHERE counts) >=", "(SELECT 2 * count(*) FROM yes WHERE counts) >="),
            )
        },
    ),
    Mutant(
        name="take silence for a yes",
        layer="SQL",
        sql={
            "check_grant": (
                (
                    "PERFORM control.close_approval(ap.approval_id, 'expired', p_now);",
                    "PERFORM control.close_approval(ap.approval_id, 'granted', p_now);",
                ),
                (
                    "v_out.verdict := 'stop';\n            v_out.reason := 'approval_expired';",
                    "v_out.verdict := 'pass';",
                ),
            )
        },
    ),
    Mutant(
        name="let the requester approve",
        layer="SQL vote",
        sql={"kept_out": (("WHEN 'requester' = ANY (p_words) AND", "WHEN false AND"),)},
    ),
    Mutant(
        name="let a decision that lands meanwhile be lost",
        layer="SQL runs",
        sql={"run_release_v1": (("IF v_out.generation <> p_generation THEN", "IF false THEN"),)},
    ),
    Mutant(
        name="finish a run over an open action",
        layer="SQL runs",
        sql={"run_release_v1": (("IF v_out.unsettled IS NOT NULL THEN", "IF false THEN"),)},
    ),
    Mutant(
        name="repeat a blind effect whose answer was lost",
        layer="SQL lifecycle",
        sql={"next_state": (("WHEN 'blind' THEN 'needs_human'", "WHEN 'blind' THEN 'ready'"),)},
    ),
    Mutant(
        name="let a late settle count as current",
        layer="SQL settle",
        sql={"settle_any": (("a.attempt_id IS DISTINCT FROM p_attempt OR", ""),)},
    ),
    Mutant(
        name="let a zombie's transaction commit",
        layer="SQL settle",
        sql={"settle_any": (("IF v_late AND p_xid IS NOT NULL THEN", "IF false THEN"),)},
    ),
    Mutant(
        name="take proof about the newest attempt for proof about all",
        layer="SQL settle",
        sql={"settle_any": (("IF v_outcome IN ('not_done', 'fail') AND a.in_doubt THEN", "IF false THEN"),)},
    ),
    Mutant(
        name="take a call that was broken off for one that is over",
        layer="SQL settle",
        sql={"settle_any": (("v_outcome = 'lose' AND p_ended THEN", "v_outcome = 'lose' THEN"),)},
    ),
    Mutant(
        name="lose the stored result",
        layer="SQL settle",
        sql={
            "settle_any": (("result = coalesce(p_result, result)", "result = NULL::bytea"),),
            "settle_v1": (("result = p_result,", "result = NULL::bytea,"),),
        },
    ),
    Mutant(
        name="chain nothing to what came before",
        layer="trail",
        sql={"append": (("int8send(v_seq) || v_head ||", "int8send(v_seq) ||"),)},
    ),
    Mutant(
        name="begin an attempt without an entry",
        layer="trail",
        sql={
            "claim_any": (
                (
                    "IF v_out.seq IS NOT NULL THEN\n        PERFORM control.append",
                    "IF v_out.answer <> 'go' AND v_out.seq IS NOT NULL THEN\n        PERFORM control.append",
                ),
            )
        },
    ),
    Mutant(
        name="take back before what is unknown is settled",
        layer="guards",
        python={SAGAS: (("        if part.state not in _SETTLED:", "        if False:"),)},
    ),
    Mutant(
        name="take back the first step first",
        layer="guards",
        python={SAGAS: (("reverse=True)", "reverse=False)"),)},
    ),
    Mutant(
        name="leave what was done when a step fails for good",
        layer="gate",
        python={
            SAGA_STEPS: (
                (
                    'return Then(goto=COMPENSATE, update={"failed"',
                    'return Then(goto=ENDED, update={"outcome": "undone", "failed"',
                ),
            )
        },
    ),
    Mutant(
        name="begin a step although its saga is being taken back",
        layer="SQL",
        sql={"claim_any": (("AND NOT v_frozen AND control.being_undone", "AND false AND control.being_undone"),)},
    ),
    Mutant(
        name="tell what was taken back as done",
        layer="SQL",
        sql={"claim_any": (("a.state = 'succeeded' AND control.taken_back(v_tenant, p_key) THEN", "false THEN"),)},
    ),
    Mutant(
        name="do as the model said although people changed it",
        layer="SQL claim",
        sql={"claim_any": (("AND e.key = p_key AND NOT e.void AND e.edit_no > coalesce(p_edit, 0)", "AND false"),)},
    ),
    Mutant(
        name="take an edit for its own approval",
        layer="SQL claim",
        python={WHAT_RUNS: (("    if claimed.payload is None:", "    if True:"),)},
        sql={"check_grant": (("    IF v_same THEN", "    IF true THEN"),)},
        removed=("the gate runs what people saw",),
    ),
    Mutant(
        name="count a vote that was taken back",
        layer="SQL vote",
        sql={
            "withdraw_vote_v1": (
                ("DELETE FROM control.vote v WHERE v.approval_id = p_approval AND v.person = v_who.person;", "NULL;"),
            )
        },
    ),
    Mutant(
        name="begin after the deadline",
        layer="SQL claim",
        sql={
            "claim_any": (("WHEN s.deadline <= v_now THEN 'deadline_passed'", ""),),
            "claim_v1": (("AND (deadline IS NULL OR deadline > v_now)", ""),),
        },
    ),
    Mutant(
        name="begin after the deadline on the short way",
        layer="SQL claim",
        sql={"claim_v1": (("AND (deadline IS NULL OR deadline > v_now)", ""),)},
    ),
    Mutant(
        name="keep a request open for runs whose time is over",
        layer="SQL claim",
        sql={
            "claim_any": (
                ("AND w.run_id <> p_run AND (o.deadline IS NULL OR o.deadline > v_now)", "AND w.run_id <> p_run"),
            )
        },
    ),
    Mutant(
        name="set no timer for a run that waits",
        layer="SQL wakes",
        sql={
            "run_release_v1": (
                ("UPDATE control.open_run SET due_at = v_wake,", "UPDATE control.open_run SET due_at = NULL,"),
            )
        },
    ),
    Mutant(
        name="wake nobody for a request that nobody answered",
        layer="SQL wakes",
        sql={"wakes_v1": (("a.expires_at <= v_now AND o.told", "false AND o.told"),)},
    ),
    Mutant(
        name="never find a run whose worker died",
        layer="SQL wakes",
        sql={"wakes_v1": (("AND s.lease_until <= v_until", "AND false"),)},
    ),
    Mutant(
        name="let silence refuse an undo",
        layer="SQL",
        sql={"kept_open": (("jsonb_build_object('on_expiry',", "jsonb_build_object('nobody',"),)},
    ),
    Mutant(
        name="take back under a new key each time",
        layer="contract keys",
        python={
            KEYS: (
                ("    return _hmac(secret, _UNDO, undoes)", "    return _hmac(secret, _UNDO, secrets.token_bytes(32))"),
                ("import hmac\n", "import hmac\nimport secrets\n"),
            )
        },
    ),
)
"""Every one must turn a run of the simulation red."""


def install(mutant: Mutant) -> None:
    """Import the modules a mutant changes, with its changes in their source. Nothing may have imported them before.

    Args:
        mutant: the mistake; it stays in force for the life of this process.
    """
    for name, replacements in mutant.python.items():
        if name in sys.modules:
            raise RuntimeError(f"{name} was imported before it could be changed")
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or name in sys.modules:
            raise LookupError(f"{name} cannot be changed: it was not found, or finding it imported it")
        source = Path(spec.origin).read_text("utf-8")
        for old, new in replacements:
            if old not in source:
                raise LookupError(f"the mutant's text is not in {name}: {old}")
            source = source.replace(old, new)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        exec(compile(source, spec.origin, "exec"), module.__dict__)  # noqa: S102 - the point of a mutant
