"""One sentence for one entry: what happened, in words that need no knowledge of the ledger."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from langgraph_control.audit.names import approval_name
from langgraph_control.audit.trail.authority_sentences import authority_sentence
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.keeping_sentences import keeping_sentence
from langgraph_control.audit.trail.tones import Tone

__all__ = ["sentence"]


_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "needs_approval": "waits for approval",
        "needs_human": "waits for a person: the program cannot find out what happened",
        "retry_later": "put off: what it depends on is not ready",
        "record_unreadable": "put off: its record cannot be read now",
        "deadline_passed": "stopped: the run's deadline is over",
        "key_conflict": "not done: the same change was already asked for with other arguments, or in another system",
        "rejected": "not done: a person said no",
        "approval_expired": "not done: nobody approved it in time",
        "too_many_requests": "not done: as many requests wait for people as may at once",
        "attempts_used_up": "not done: it was tried as often as allowed",
        "abandoned": "not done: a person closed it without knowing what happened",
        "undone": "not done: it, or its saga, was taken back",
        "ready_again": "to be tried again: a person said that it did not happen",
        "rate_limited": "put off: its system asked everybody to slow down",
        "system_down": "put off: too many calls to its system failed",
        "calls_used_up": "stopped: the run has made as many tool calls as it may",
        "retry_time_used_up": "stopped: the run has waited for retries as long as it may",
        "looping": "stopped: the run goes in circles",
        "limit_reached": "not done: a limit that the policy sets is reached",
        "frozen": "stopped: somebody froze such writes",
        "attempt_settled": "not done again: this attempt is over",
        "deduplicate": "not done: the record is already as wanted",
        "deny": "not done: refused by the rules",
        "dry_run": "not done: described only",
        "ask": "waits: a piece is missing that a person must give",
        "escalate": "handed to a person",
        "verify_first": "put off: an earlier attempt has to be looked into first",
    }
)

_OUTCOMES: Final[Mapping[str, tuple[str, Tone]]] = MappingProxyType(
    {
        "succeed": ("done", Tone.GOOD),
        "not_done": ("certainly not done; worth another try", Tone.BAD),
        "fail": ("certainly not done", Tone.BAD),
        "lose": ("outcome unknown: its answer was lost", Tone.BAD),
        "found": ("read back: it had happened", Tone.GOOD),
        "absent": ("read back: it had not happened", Tone.PLAIN),
        "undetermined": ("read back: it cannot be told yet", Tone.WAITING),
        "contradict": ("sources disagree about what happened: for a person", Tone.BAD),
    }
)

_REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unknown_person": "the login belongs to nobody in a role",
        "closed": "the request is closed",
        "expired": "the request has expired",
        "not_in_role": "not in a role that decides this",
        "is_requester": "nobody decides what they asked for",
        "is_editor": "nobody decides what they changed",
        "approved_before": "has approved another change of this run",
        "no_break_glass": "nobody may decide this alone",
        "used": "it was done with this vote",
        "no_vote": "there is no vote to take back",
        "has_begun": "it has begun",
        "comment_missing": "a comment is required",
        "already_voted": "has voted already",
        "not_yourself": "a login votes for its own person only",
        "unknown_request": "there is no such request",
        "unknown_run": "there is no such run",
        "unknown_action": "the run has no such action",
        "unknown_question": "the run has no such question",
        "answered": "the question is answered already",
        "finished": "the run is over",
        "unsettled": "something of the run may have happened, and nobody knows",
        "saga": "steps of a saga of the run are in effect",
        "nothing_to_review": "nobody decided this alone",
    }
)

_WORDS_REFUSED: Final = frozenset({"run.cancel_refused", "freeze.refused", "question.answer_refused"})

_STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "waiting": "the run waits",
        "retrying": "the run waits and will try again",
        "needs_approval": "the run waits for approval",
        "needs_human": "the run waits for a person",
        "blocked": "the run is blocked",
    }
)


def sentence(entry: Entry) -> tuple[str, Tone]:
    """Return what an entry says, and how to read it.

    Args:
        entry: any entry, also of a kind that this release does not know.
    """
    authority = authority_sentence(entry)
    if authority is not None:
        return authority
    kept = keeping_sentence(entry)
    if kept is not None:
        return kept
    if entry.fact("verdict") is not None:
        return _resolved(entry)
    stopped = _stopped(entry)
    if stopped is not None:
        return stopped
    if entry.fact("person") is not None or entry.fact("decision") is not None:
        return _voted(entry)
    if entry.fact("outcome") is not None:
        return _settled(entry)
    if entry.fact("verb") is not None:
        return _claimed(entry)
    if entry.fact("kind") == "read":
        return _observed(entry)
    if entry.fact("loop") is not None:
        asked = "done already, and asked for" if entry.facts.get("done") is True else "refused,"
        return f"{_tool(entry)}: {asked} {_LOOPS.get(entry.fact('loop') or '', 'once more')}", Tone.BAD
    return _ran(entry)


def _resolved(entry: Entry) -> tuple[str, Tone]:
    verdict = {
        "happened": ("a person says that it happened", Tone.GOOD),
        "did_not": ("a person says that it did not happen; it may be tried again", Tone.PLAIN),
        "give_up": ("a person closed it; it is not tried again", Tone.BAD),
    }
    said, tone = verdict.get(entry.fact("verdict") or "", ("a person settled it", Tone.PLAIN))
    if "action.resolution_refused" in entry.events:
        why = entry.fact("reason") or ""
        return f"{_tool(entry)}: a person's word on it that does not count: {_REFUSALS.get(why, why)}", Tone.BAD
    return f"{_tool(entry)}: {said}", tone


def _stopped(entry: Entry) -> tuple[str, Tone] | None:
    if refused := _WORDS_REFUSED & set(entry.events):
        return (
            f"a person's word that does not count: {_REFUSALS.get(entry.fact('reason') or '', min(refused))}",
            Tone.BAD,
        )
    if "question.answered" in entry.events:
        return f"{_tool(entry)}: what the user was asked about it is answered", Tone.GOOD
    if "resume.ignored" in entry.events:
        what = f"{_tool(entry)}: a resume tried to decide it" if entry.fact("tool") else "a resume tried to decide"
        return f"{what} and was ignored: {entry.fact('reason')}", Tone.BAD
    if "run.cancelled" in entry.events:
        return "the run was cancelled by a person", Tone.BAD
    if "run.replaced" in entry.events:
        return "a new message came on its thread, and the run ended for it", Tone.PLAIN
    if "breaker.opened" in entry.events:
        return f"calls to {entry.fact('system')} are held back: too many failed", Tone.BAD
    if "breaker.closed" in entry.events:
        return f"calls to {entry.fact('system')} go through again", Tone.GOOD
    if "approval.withdrawn" in entry.events and entry.fact("answer") is None:
        return f"{_tool(entry)}: its request was withdrawn", Tone.PLAIN
    return _frozen(entry) if {"freeze.set", "freeze.lifted"} & set(entry.events) else None


def _frozen(entry: Entry) -> tuple[str, Tone]:
    scope, name = entry.fact("scope") or "", entry.fact("name") or ""
    what = f"writes of {f'{scope} {name}' if name else 'the whole tenant'}"
    return (f"{what} were stopped", Tone.BAD) if "freeze.set" in entry.events else (f"{what} go on", Tone.GOOD)


def _tool(entry: Entry) -> str:
    tool, saga, step = entry.fact("tool") or "a tool", entry.fact("saga"), entry.facts.get("step")
    if saga is None:
        return tool
    part = f"step {step} of {saga}"
    return f"{tool}, to take back {part}" if entry.fact("undoes") is not None else f"{tool}, {part}"


def _version(entry: Entry) -> str:
    version = entry.said("who", "version")
    return "" if version is None else f", version {version} of the agent"


def _ran(entry: Entry) -> tuple[str, Tone]:
    if "run.started" in entry.events:
        return f"the run started{_version(entry)}", Tone.PLAIN
    if "run.resumed" in entry.events:
        return f"the run went on{_version(entry)}", Tone.PLAIN
    if "run.finished" in entry.events:
        return "the run is done", Tone.GOOD
    if "run.fenced" in entry.events:
        return f"{_tool(entry)}: refused to a worker that had lost the run", Tone.PLAIN
    if "wait.started" in entry.events:
        state = entry.fact("state") or ""
        why = entry.fact("reason") or ""
        said = _STATES.get(state, f"the run stands at {state}")
        bad = state in {"needs_human", "blocked"}
        return said if why in {"", state} else f"{said}: {why}", Tone.BAD if bad else Tone.WAITING
    if "policy.loaded" in entry.events:
        return "a policy was published", Tone.PLAIN
    if "key.rotated" in entry.events:
        lost = entry.fact("before") and not entry.fact("endorsed")
        told = " in place of the one before, which did not sign it" if lost else ""
        return f"a signing key was registered{told}", Tone.BAD if lost else Tone.PLAIN
    if "approval.granted" in entry.events:
        return f"{_tool(entry)}: approved: the votes are enough under a policy published now", Tone.GOOD
    return ", ".join(entry.events) or "an entry that cannot be read", Tone.PLAIN


def _claimed(entry: Entry) -> tuple[str, Tone]:
    tool, reason = _tool(entry), entry.fact("reason") or ""
    match entry.fact("answer"):
        case "go":
            number = entry.facts.get("attempts")
            return f"{tool}: attempt {number} began" if number != 1 else f"{tool}: began", Tone.PLAIN
        case "stored":
            return f"{tool}: asked for again, answered with the stored outcome", Tone.PLAIN
        case "verify":
            return f"{tool}: outcome unknown, reading back", Tone.WAITING
    approval = entry.fact("approval")
    if "approval.requested" in entry.events and approval is not None:
        return f"{tool}: approval requested, {approval_name(approval)}", Tone.WAITING
    waits = entry.fact("answer") == "park" and reason != "needs_human"
    return f"{tool}: {_REASONS.get(reason, reason)}", Tone.WAITING if waits else Tone.BAD


def _settled(entry: Entry) -> tuple[str, Tone]:
    outcome = entry.fact("outcome") or ""
    said, tone = _OUTCOMES.get(outcome, (outcome, Tone.PLAIN))
    if entry.fact("answer") == "contradiction":
        return f"{_tool(entry)}: a late answer says {said}, against what was concluded: for a person", Tone.BAD
    if entry.fact("answer") == "late":
        return f"{_tool(entry)}: a late answer, kept as evidence: {said}", Tone.PLAIN
    if outcome == "succeed" and "effect.verified" in entry.events:
        said = "done, and read back: it is there"
    if "compensation.succeeded" in entry.events:
        said = f"{said}: what it takes back is taken back"
    if "effect.mismatch" in entry.events:
        said = "said to be done, but read back it is not there: for a person"
    return f"{_tool(entry)}: {said}", tone


_LOOPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "same": "the same again, and the model was told so",
        "bouncing": "to and fro between two calls, and the model was told so",
        "parked": "again and again, though the model was told: for a person",
    }
)


def _observed(entry: Entry) -> tuple[str, Tone]:
    if "action.decided" in entry.events:
        reason = entry.fact("reason") or ""
        return f"{_tool(entry)}: not called, {_REASONS.get(reason, reason)}", Tone.WAITING
    if not {"action.succeeded", "action.failed"} & set(entry.events):
        stopped = f"{_tool(entry)}: not called: the same call has had the same answer too often"
        return f"{stopped}; for a person" if "loop.parked" in entry.events else stopped, Tone.BAD
    said, tone = _read(entry)
    loop = _LOOPS.get(entry.fact("loop") or "")
    return f"{_tool(entry)}: {said}; {loop}" if loop else f"{_tool(entry)}: {said}", Tone.BAD if loop else tone


def _read(entry: Entry) -> tuple[str, Tone]:
    if entry.facts.get("fallback") is True:
        return "reading failed; a fallback stood in for the answer", Tone.BAD
    if entry.facts.get("waits") is True:
        return "reading failed; the run waits and tries it again later", Tone.WAITING
    ok = "action.succeeded" in entry.events
    return ("read", Tone.PLAIN) if ok else ("reading failed", Tone.BAD)


def _voted(entry: Entry) -> tuple[str, Tone]:
    tool = _tool(entry)
    decision = {"approve": "approved", "reject": "rejected"}.get(entry.fact("decision") or "", "voted on")
    if "approval.refused" in entry.events:
        reason = entry.fact("reason") or ""
        return f"{tool}: a vote that does not count: {_REFUSALS.get(reason, reason)}", Tone.BAD
    if "approval.granted" in entry.events:
        return f"{tool}: {decision}, and that is enough", Tone.GOOD
    if "approval.denied" in entry.events:
        return f"{tool}: {decision}", Tone.BAD
    return f"{tool}: {decision}; more people are needed", Tone.WAITING
