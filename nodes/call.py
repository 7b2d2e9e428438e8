"""One governed call, and everything about it that can be computed without asking anyone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import orjson

from langgraph_control.guards.canonical import (
    Identified,
    from_canonical,
    identified,
    observed_bytes,
    observed_identity_bytes,
    plain_bytes,
)
from langgraph_control.guards.keys import action_key, args_hash, digest, question_id, scope, twin, undo_key
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.redaction import left_out, paths_inside
from langgraph_control.guards.signals import OPERATION_OF, Impact, Operation
from langgraph_control.nodes.action import ABSENT, Action
from langgraph_control.nodes.contract_checks import template_fields
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.saga_places import SagaPlace
from langgraph_control.nodes.texts import keepable_in

__all__ = ["LEASE_MARGIN_SECONDS", "GovernedCall", "View"]

LEASE_MARGIN_SECONDS: Final = 5.0
"""How much longer the ledger keeps an action for an attempt than the attempt may take: for the settle's own way."""


RECORD_BYTES_MAX: Final = 1024 * 1024
"""How large a before-image is stored."""

TARGET_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What was found out about the target before deciding.

    Args:
        before: what ``read`` returned: the record, ``ABSENT``, or None without a read hook.
        after: the fields ``expect`` says the record will have; None where it names none or there is no such hook.
        failed: the read or expect hook raised, or answered with no record: the record's state is not known now.
        target: the record's name for people; None if the contract gives none.
        asked_seconds: how long its system asked to be left alone when it was read; 0: it did not.
    """

    before: Any = None
    after: Mapping[str, Any] | None = None
    failed: bool = False
    target: str | None = None
    asked_seconds: float = 0.0

    @property
    def already_done(self) -> bool:
        """Whether the record is in the target state."""
        return self.after is not None and holds(self.after, self.before)


def holds(after: Mapping[str, Any], record: Any) -> bool:
    """Whether a record has the fields that the write would give it, numbers compared by value as everywhere.

    Args:
        after: what ``expect`` said.
        record: what ``read`` returned.
    """
    if not isinstance(record, Mapping):
        return False
    return all(
        name in record and observed_identity_bytes(record[name]) == observed_identity_bytes(value)
        for name, value in after.items()
    )


def as_record(answer: object) -> dict[Any, Any] | None:
    """Return a hook's mapping as a plain one; None for what is no mapping. Never raises.

    Args:
        answer: what ``read`` or ``expect`` returned.
    """
    if not isinstance(answer, Mapping):
        return None
    try:
        return dict(answer)
    except Exception:  # noqa: BLE001 - somebody else's mapping may raise anything while it is read
        return None


@dataclass(frozen=True, kw_only=True)
class GovernedCall:
    """A call of a write that has reached the gate.

    Args:
        contract: what the tool does.
        tool: its name.
        args: its arguments, injected ones left out, validated, in the plain form that ``normalise`` gives.
        defaults: the tool's declared defaults by argument name.
        permitted: by a field's path, the texts that the tool's schema permits there by name.
        run: the run it belongs to.
        call_id: the tool call's id; evidence, never identity.
        occurrence: 0, or the number of equal calls before it for a repeatable tool.
        where: thread, checkpoint, task and trace ids, for the record.
        place: where in a saga it stands; None outside sagas.
        changes: what people changed about the arguments; they are in ``args`` already.
        edit_no: the newest of those changes; None for none.
    """

    contract: Contract
    tool: str
    args: Mapping[str, Any]
    defaults: Mapping[str, Any]
    run: RunContext
    call_id: str | None = None
    occurrence: int = 0
    where: Mapping[str, str] = field(default_factory=dict)
    place: SagaPlace | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    edit_no: int | None = None
    permitted: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def _identified(self) -> Identified:
        return identified(self.args)

    @cached_property
    def _whole(self) -> Identified:
        """The arguments, and the declared defaults of those that are not given: the same spelled out or left out."""
        left = {name: value for name, value in self.defaults.items() if name not in self.args}
        if not left:
            return self._identified
        forms = {name: orjson.loads(observed_identity_bytes(value)) for name, value in left.items()}
        return Identified({**forms, **self._identified})

    @property
    def _but_words(self) -> Identified:
        return Identified({name: form for name, form in self._whole.items() if name not in self.contract.explain})

    @cached_property
    def key(self) -> bytes:
        """What the action is: 32 bytes, equal for equal changes under one intent, and for undoing one change."""
        if self.place is not None and self.place.undoes is not None:
            return undo_key(self.run.secret, undoes=self.place.undoes)
        return action_key(
            self.run.secret,
            intent=self.run.intent,
            tool=self.tool,
            identifying=Identified({name: self._identified.get(name) for name in self.contract.key}),
            occurrence=self.occurrence,
            defaults=self.defaults,
        )

    @cached_property
    def args_hash(self) -> bytes:
        """Tells two different changes under one key apart."""
        return args_hash(
            self.run.secret, arguments=self._identified, free_text=self.contract.explain, defaults=self.defaults
        )

    @property
    def twin(self) -> bytes:
        """What equal actions of other requests share: 32 bytes."""
        return twin(self.run.secret, tool=self.tool, args_hash=self.args_hash)

    @property
    def question_id(self) -> UUID:
        """What names the question about this very call, if the user is asked one."""
        return question_id(self.run.secret, key=self.key, args_hash=self.args_hash)

    @property
    def target_arguments(self) -> tuple[str, ...]:
        """The arguments that name the record."""
        target = self.contract.target
        if not isinstance(target, str):
            return ()
        return tuple(template_fields(target)) if "{" in target else (target,)

    @property
    def impact(self) -> Impact:
        """What breaks if it is wrong or done twice. A write always has one."""
        return self.contract.impact or Impact.RECORD

    @property
    def operation(self) -> Operation:
        """What kind of operation it is: the contract's word, or what the impact implies."""
        return self.contract.operation or OPERATION_OF[self.impact]

    @property
    def kind(self) -> Kind:
        """What is known of the effect after a lost answer."""
        return self.contract.kind

    @property
    def lease_ms(self) -> int:
        """How long the ledger keeps the action for one attempt."""
        return int((self.contract.timeout_seconds + LEASE_MARGIN_SECONDS) * 1000)

    def digest(self, view: View) -> bytes | None:
        """Return what exactly would be done, or None if the record could not be read.

        Args:
            view: the target as it is.
        """
        return None if view.failed else self._digest(self._whole, view)

    def is_of(self, kept: bytes | None, view: View) -> bool:
        """Whether a kept digest is this call's, also one that was made before the tool declared some default.

        Args:
            kept: the digest.
            view: the target as it was then.
        """
        return (
            kept is not None and not view.failed and kept in (self.digest(view), self._digest(self._identified, view))
        )

    def _digest(self, arguments: Identified, view: View) -> bytes:
        return digest(
            self.run.secret,
            tool=self.tool,
            contract_version=self.contract.version,
            arguments=arguments,
            before=self.contract.before_image(view.before),
        )

    def scope(self, view: View) -> bytes | None:
        """Return the digest without free text: the same change in other words is the same request for approval.

        Args:
            view: the target as it is.
        """
        if view.failed:
            return None
        return scope(
            self.run.secret,
            tool=self.tool,
            contract_version=self.contract.version,
            arguments=self._but_words,
            before=self.contract.before_image(view.before),
        )

    def payload(self, view: View) -> bytes:
        """Return arguments and before-image as stored beside the entry, without what the contract redacts.

        Args:
            view: the target as it is.
        """
        kept = left_out(self.args, self.contract.redact)
        before = left_out(view.before, self.contract.redact)
        # A record of any size stops no claim: what is too large is on record by its size and hash.
        record = None if before is None else from_canonical(observed_bytes(before, bytes_max=RECORD_BYTES_MAX))
        told = {"args": kept, "before": record}
        if view.after is not None:
            after = left_out(view.after, self.contract.redact)
            told["after"] = from_canonical(observed_bytes(after, bytes_max=RECORD_BYTES_MAX))
        return plain_bytes(told)

    def kept(self, payload: bytes) -> Mapping[str, Any]:
        """Return the arguments that a payload holds; none where it is no payload of ours.

        Args:
            payload: as :meth:`payload` wrote it, or whatever else was put in its place.
        """
        return _kept(payload)[0]

    def stored(self, payload: bytes | None) -> tuple[dict[str, Any], Any]:
        """Return the arguments and the before-image of a frozen digest.

        Only words come from the payload: they may differ from call to call. All else comes whole from this call: it is
        equal, or the key would be in conflict, and a payload is no more than what somebody wrote on the agent's login.

        Args:
            payload: as :meth:`payload` wrote it; None where this call's own are to run.
        """
        if payload is None:
            return dict(self.args), None
        kept, before = _kept(payload)
        words = {name: kept[name] for name in self.contract.explain if name in kept}
        # A parameter that a release has added since runs by its default, then and now.
        hidden = {name for name in self.args if paths_inside(name, self.contract.redact)}
        added = self.at_default - kept.keys() - hidden
        return {**{name: value for name, value in self.args.items() if name not in added}, **words}, before

    @cached_property
    def at_default(self) -> frozenset[str]:
        """The arguments that are as the tool declares them where they are not given."""
        return frozenset(
            name
            for name, value in self.args.items()
            if name in self.defaults and observed_identity_bytes(value) == observed_identity_bytes(self.defaults[name])
        )

    def action(self, *, args: Mapping[str, Any] | None = None, **facts: Any) -> Action:
        """Return what hooks and the tool see of this call.

        Args:
            args: the arguments that really run, where they are not this call's own.
            **facts: attempt, before, result, deadline.
        """
        return Action(
            tool=self.tool,
            args=dict(self.args if args is None else args),
            key=self.key.hex(),
            intent=self.run.intent,
            run_id=str(self.run.run_id),
            **facts,
        )

    def body(self, **facts: Any) -> bytes:
        """Return a claim's body: what is proposed, and where.

        Who runs it, for whom and in which thread is in ``run.started`` and ``run.resumed`` of the same chain; what the
        database decides itself is in the facts.

        Args:
            **facts: what this entry is about; None values are left out.
        """
        contract = self.contract
        return body_bytes(
            {
                "system": contract.system,
                "impact": self.impact.value,
                "contract": contract.version,
                "call_id": self.call_id,
                "where": self.where or None,
                **facts,
            }
        )

    def outcome_body(self, **facts: Any) -> bytes:
        """Return a settle's body: what came of the attempt that the claim's entry describes.

        Args:
            **facts: what is new; None values are left out.
        """
        return body_bytes(facts)


def body_bytes(facts: Mapping[str, Any]) -> bytes:
    """Return facts made of JSON primitives as the bytes of an entry's body. No text in them makes it raise.

    Args:
        facts: the body; None values are left out.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    try:
        body = orjson.dumps(known, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # half of a surrogate pair
        body = b""
    if body and b"\\u0000" not in body:
        return body
    return orjson.dumps(keepable_in(known), option=orjson.OPT_SORT_KEYS)


def _kept(payload: bytes) -> tuple[Mapping[str, Any], Any]:
    try:
        known = from_canonical(payload)
        args, before = known["args"], known["before"]
    except Exception:  # noqa: BLE001 - it may hold anything
        return {}, None
    return (args, before) if isinstance(args, Mapping) else ({}, None)


def is_missing(before: Any) -> bool:
    """Whether the read hook said that there is no such record.

    Args:
        before: what it returned.
    """
    return before is ABSENT
