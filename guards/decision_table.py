"""The decision table as Markdown, made of what really decides: the page docs/decisions.md is this text."""

from collections.abc import Iterable, Iterator, Mapping
from string import Template
from types import MappingProxyType
from typing import Final

from langgraph_control.guards.decisions import Verb
from langgraph_control.guards.policy_sections import MEANINGS
from langgraph_control.guards.risk import BASE, COUNTS
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signal_rows import CONTEXT, RUN_STATE, SYSTEM_STATE, Row

__all__ = ["VERBS", "decision_table"]

VERBS: Final[Mapping[Verb, str]] = MappingProxyType(
    {
        Verb.ALLOW: "it runs",
        Verb.APPROVE: "it waits until the people asked say yes to this exact write, then runs",
        Verb.RETRY_LATER: "it waits, some seconds or until something changes, and is decided about again",
        Verb.ASK: "the run waits for the user's answer, which the model is told; as it is, the write does not run",
        Verb.VERIFY_FIRST: "the effect of an earlier attempt is read back before anything else",
        Verb.DEDUPLICATE: "nothing is done, for it is done; a stored result is given again",
        Verb.ESCALATE: "the run waits for a person, with everything that is known",
        Verb.DRY_RUN: "nothing is done and nobody is asked; the model is told so",
        Verb.DENY: "nothing is done; the model is told why",
    }
)
"""What follows from a verb, for people."""

_PAGE: Final = Template("""\
# How a write is decided

Made from the code by `langgraph-control policy decisions`; a test keeps page and code equal. What a policy file can
say is in [policy.md](policy.md).

One pure function, `route(signals, policy)`, looks at four signals: the **risk** of the write, its **context** (the
record as it is), the **state of the system** written to, and the **state of its run**. It decides in three steps.

## The order of strictness

From loose to strict. Where several speak with the same weight (rules, records, limits, your own checks), the
strictest prevails.

$verbs

## 1. What is settled before the rules are heard

Read from the top; the first line that applies decides.

$before

The lines about the run state are looked for by the claim, under its lock, and so are rate limits and breakers of
step 3: what is true at that moment counts. Equal actions and changed records are looked for where the policy's
`context:` asks for it.

An unknown outcome of a `keyed` effect is on no line: it is tried again under the same key, if the rules say so. How
many other writes of the same saga are in effect is told with each decision that does not let the write run.

## 2. What the rules say

Of all rules that match, in whatever order they stand, the strictest wins. `otherwise` is heard where no rule
certainly matches; where it says nothing either, the answer is deny. All rules that took part are recorded, each with
what it says.

A field that is missing, null or of another kind than what it is compared with never allows: allow rules that ask for
it stand back, all others count as matching. So leaving something out is answered at least as strictly as any value
it could have had.

$thens

Beside the rules, and with the same weight: `limits:` whose number cannot be read (then: deny), and what `records:`
says that fields of the record mean.

$meanings

### Risk: the blast radius

`risk.radius` is a field that conditions can ask for. An amount or a count that the policy's `risk:` names decides it,
by that item's numbers; of several the largest counts. Without an amount it follows from the impact, and from whether
the contract can undo the effect. An amount or count that should be there and cannot be read leaves the radius
*unknown*: a missing field.

$radii

A count without numbers of its own is medium from $medium and large from $large.

## 3. Whether the system can be written to

Looked at where the rules would let the write through, at once or with approval. Nobody is asked to approve what
cannot be done now. How many calls failed lately is on no line: it is looked at when a call fails, and opens the
breaker then.

$beside

## In `mode: observe`

What step 2 decides is recorded and not enforced: the tool runs, and the first reason starts with `OBSERVE`. Not
relaxed are:

- step 1 and step 3: an unknown outcome is still cleared up first, a missing record still stops the write, a system
  that asked for no calls still gets none;
- a change that cannot be stated, and checks of your own;
- a key that stands for two different changes;
- a request for approval that exists already: the write still needs its grant;
- the floor that the admin published. Publishing a policy in `mode: observe` publishes floors that ask for nothing; an
  agent that merely loads such a file stays under the floor.
""")


def decision_table() -> str:
    """Return the page, ending with a line feed."""
    return _PAGE.substitute(
        verbs=_table(("Decision", "What follows"), ((f"`{verb}`", VERBS[verb]) for verb in Verb)),
        before=_table(("Signal", "Found", "Decision", "Because"), _cells(RUN_STATE + CONTEXT)),
        thens=_table(("A rule's `then`", "What follows"), ((f"`{then}`", VERBS[Verb(then)]) for then in Then)),
        meanings=_table(
            ("`records:` says", "Decision", "Because"),
            ((f"`{name}`", f"`{then}`", why) for name, (then, why) in MEANINGS.items()),
        ),
        radii=_table(
            ("Impact", "can be undone", "cannot be undone"),
            ((f"`{impact}`", undone.value, kept.value) for impact, (undone, kept) in BASE.items()),
        ),
        medium=COUNTS.medium,
        large=COUNTS.large,
        beside=_table(("Signal", "Found", "Decision", "Because"), _cells(SYSTEM_STATE)),
    )


def _cells(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield row.source.value, row.found, f"`{row.verb}`", row.why


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
