"""Votes with tokens that are not what they seem: none of them counts, and each that was tried is on record."""

import base64
import hmac
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt.api_jws
import orjson
import psycopg
import pytest

from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.asking.rows import Voting
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.people.identity import NotAuthenticated
from langgraph_control.audit.people.oidc import OpenIDConnect
from langgraph_control.audit.people.provider_keys import ProviderKeys
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ApprovalRefused
from langgraph_control.guards.run_states import RunState
from tests.support.desk import Desk, new_trigger
from tests.support.openid_provider import AUDIENCE, Provider, new_key, openid_provider, public_jwk, public_pem
from tests.support.postgres import Database

ANA, BO, CY = "ana@acme.example", "bo@acme.example", "cy@acme.example"

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example, "group:cfo"]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: finance}
  - {tool: refund, when: {amount: {gt: 1000, lte: 5000}}, then: approve, by: {finance: 2}}
""",
    source="control.yaml",
)


@dataclass(frozen=True, kw_only=True)
class Office:
    """A desk, a provider, and a service that votes for whom the provider knows."""

    desk: Desk
    provider: Provider
    signing: OpenIDConnect
    approvals: Approvals

    def waiting(self, amount: int = 500, *, on_behalf_of: str | None = None) -> "Waiting":
        """Return a run that waits for people."""
        graph, trigger = self.desk.refunding(amount), new_trigger()
        run = self.desk.run(graph, trigger=trigger, on_behalf_of=on_behalf_of)
        return Waiting(office=self, graph=graph, trigger=trigger, run=run)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run that waits."""

    office: Office
    graph: Any
    trigger: str
    run: Run

    @property
    def name(self) -> str:
        """Its request."""
        (name,) = self.run.approvals
        return name

    def entries(self) -> list[dict[str, Any]]:
        """Return what its entries say."""
        with LedgerConnection(self.office.desk.database.auditor) as auditor:
            return [orjson.loads(entry.facts) for entry in auditor.entries(run_id(self.run.id))]

    def refused_access(self) -> Counter[str]:
        """Return how often who was not let in, by the record of the tenant."""
        with LedgerConnection(self.office.desk.database.auditor) as auditor:
            entries = [Entry.of(row) for row in auditor.entries(auditor.ask(FindTenantChain()).run_id)]
        found = Counter[str]()
        for entry in entries:
            if "access.refused" in entry.events:
                assert entry.body["where"] == "service"
                found.update(entry.body["refused"])
        return found

    def is_untouched(self) -> bool:
        """Drive the run again: nothing is done, nobody has voted."""
        office = self.office
        before = len(office.desk.done)
        again = office.desk.run(self.graph, trigger=self.trigger)
        row = office.approvals.get(self.name)
        return (
            again.state is RunState.NEEDS_APPROVAL
            and len(office.desk.done) == before
            and (row.state, row.voters) == ("open", ())
        )

    def vote(self, token: str | None, **more: Any) -> Voting:
        """Vote with a token."""
        return self.office.approvals.approve(self.name, credential=token, **more).answer


@pytest.fixture(scope="module")
def office(shared_database: Database) -> Iterator[Office]:
    """Everything of one process."""
    publish_policy(shared_database.admin, POLICY)
    with openid_provider() as provider, Control(POLICY, dsn=shared_database.agent) as control:
        signing = OpenIDConnect(provider.issuer, AUDIENCE)
        with Approvals(shared_database.local_approver, authenticator=signing) as approvals:
            desk = Desk(database=shared_database, control=control)
            yield Office(desk=desk, provider=provider, signing=signing, approvals=approvals)


def part(value: Any) -> str:
    """Return a token's part."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unsigned(provider: Provider) -> str:
    """Return a token that says it needs no signature."""
    return f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(provider.claims())}."


def key_confused(provider: Provider, form: Callable[[Any], bytes] = public_pem) -> str:
    """Return a token signed with the public key, which everybody has, as a shared secret."""
    said = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(provider.claims())}"
    return f"{said}.{part(hmac.digest(form(provider.keys['rsa']), said.encode(), 'sha256'))}"


def by_a_stranger(provider: Provider) -> str:
    """Return a token that somebody else signed, with the key to believe it by."""
    forger = new_key("rsa")
    headers = {"kid": "rsa", "jwk": public_jwk(forger)}
    return jwt.api_jws.encode(json.dumps(provider.claims()).encode(), forger, algorithm="RS256", headers=headers)


def promoted(provider: Provider) -> str:
    """Return Cy's token with Ana's name written over it."""
    header, _, signature = provider.token(CY).split(".")
    return f"{header}.{part(provider.claims(ANA))}.{signature}"


TOKENS: dict[str, tuple[str, Callable[[Provider], str | None]]] = {
    "none": ("no_credential", lambda _: None),
    "an empty one": ("no_credential", lambda _: ""),
    "expired": ("token_expired", lambda provider: provider.token(exp=int(time.time()) - 60)),
    "without an end": ("token_claim_missing", lambda provider: provider.token(exp=None)),
    "not yet valid": ("token_not_yet_valid", lambda provider: provider.token(nbf=int(time.time()) + 600)),
    "for another audience": ("token_audience", lambda provider: provider.token(aud="wiki.acme.example")),
    "for other audiences": ("token_audience", lambda provider: provider.token(aud=["wiki.acme.example", "x"])),
    "of another issuer": ("token_issuer", lambda provider: provider.token(iss="https://evil.example")),
    "alg=none": ("token_algorithm", unsigned),
    "key confusion": ("token_algorithm", key_confused),
    "key confusion by the key's JSON": (
        "token_algorithm",
        lambda provider: key_confused(provider, lambda key: json.dumps(public_jwk(key)).encode()),
    ),
    "of a stranger": ("token_signature", by_a_stranger),
    "changed": ("token_signature", promoted),
    "with an address nobody verified": (
        "token_email_unverified",
        lambda provider: provider.token(email_verified=False),
    ),
    "of somebody called like a group": ("person_invalid", lambda provider: provider.token("group:cfo")),
    "for logging out": ("token_type", lambda provider: provider.token(events={})),
    "oversized": ("token_oversized", lambda provider: provider.token(padding="x" * 20_000)),
    "garbage": ("token_malformed", lambda _: "garbage"),
}


@pytest.mark.parametrize("what", TOKENS)
def test_a_bad_token_votes_for_nobody(office: Office, what: str) -> None:
    """No vote is asked of the ledger: nothing is done, the request stays open, and the refusal is on record."""
    code, make = TOKENS[what]
    waiting = office.waiting()
    before, refusals = waiting.entries(), waiting.refused_access()
    token = make(office.provider)
    with pytest.raises(NotAuthenticated) as refused:
        waiting.vote(token)
    assert refused.value.code == code
    assert waiting.entries() == before
    # Where nothing was presented, nobody tried anything.
    assert waiting.refused_access() - refusals == ({} if code == "no_credential" else {code: 1})
    assert waiting.is_untouched()


def test_a_token_of_a_revoked_key_votes_for_nobody(office: Office) -> None:
    """Once the provider has withdrawn a key, what it signed counts no more, as soon as the keys are fetched again."""
    passed = [0.0]
    office.signing._keys = ProviderKeys(office.provider.issuer, clock=lambda: passed[0])
    office.provider.keys["rsa-2"] = new_key("rsa")
    stolen = office.provider.token(kid="rsa-2", exp=int(time.time()) + 7200)
    assert office.signing.authenticate(stolen).person == ANA
    del office.provider.keys["rsa-2"]
    passed[0] += 3600
    waiting = office.waiting()
    refusals = waiting.refused_access()
    with pytest.raises(NotAuthenticated) as refused:
        waiting.vote(stolen)
    assert refused.value.code == "token_key_unknown"
    assert waiting.refused_access() - refusals == {"token_key_unknown": 1}
    assert waiting.is_untouched()


def test_a_replayed_vote_counts_once(office: Office) -> None:
    """Where two people are asked, one person's vote sent again, in other words or by another token, is still one."""
    waiting = office.waiting(2000)
    token = office.provider.token(jti="1")
    assert waiting.vote(token) is Voting.OPEN
    before = waiting.entries()
    assert waiting.vote(token) is Voting.OPEN  # the same word again, as after a lost answer
    assert waiting.entries() == before
    for replayed in (token, office.provider.token(jti="2"), office.provider.token(jti="3", kid="ec")):
        with pytest.raises(ApprovalRefused) as refused:
            waiting.vote(replayed, comment="again")
        assert refused.value.code == "already_voted"
        assert waiting.entries()[-1]["reason"] == "already_voted"
    assert office.desk.run(waiting.graph, trigger=waiting.trigger).state is RunState.NEEDS_APPROVAL
    assert office.desk.done == []


def test_a_vote_replayed_after_the_write_does_nothing(office: Office) -> None:
    """A vote that is sent again when its write is done is told what became of it: no attempt, and no entry."""
    waiting = office.waiting()
    token = office.provider.token(jti="1")
    assert waiting.vote(token) is Voting.GRANTED
    done = list(office.desk.done)
    assert office.desk.run(waiting.graph, trigger=waiting.trigger).state is RunState.DONE
    assert len(office.desk.done) == len(done) + 1
    before = waiting.entries()
    assert waiting.vote(token) is Voting.GRANTED
    assert waiting.entries() == before
    assert office.desk.run(waiting.graph, trigger=waiting.trigger).state is RunState.DONE
    assert len(office.desk.done) == len(done) + 1
    del office.desk.done[:]


@pytest.mark.parametrize("spelled", [ANA, "ANA@Acme.Example"])
def test_the_requester_does_not_approve_by_token(office: Office, spelled: str) -> None:
    """Whoever had it asked is refused with a token of their own, a group's token included, and it is on record."""
    waiting = office.waiting(on_behalf_of=spelled)
    for token in (office.provider.token(ANA), office.provider.token(spelled, groups=["cfo"])):
        with pytest.raises(ApprovalRefused) as refused:
            waiting.vote(token)
        assert refused.value.code == "is_requester"
        said = waiting.entries()[-1]
        assert said["events"] == ["approval.refused"]
        assert (said["reason"], said["identity"]["issuer"]) == ("is_requester", office.provider.issuer)
    assert waiting.is_untouched()


def test_who_has_no_role_does_not_approve_by_token(office: Office) -> None:
    """A good token of somebody whom the policy does not know is refused, and who it was is on record."""
    waiting = office.waiting()
    others: list[dict[str, Any]] = [{}, {"groups": ["visitors"]}, {"groups": ["group:cfo"]}, {"roles": ["finance"]}]
    for claims in others:
        with pytest.raises(ApprovalRefused) as refused:
            waiting.vote(office.provider.token(CY, **claims))
        assert refused.value.code == "unknown_person"
        said = waiting.entries()[-1]
        assert (said["person"], said["identity"]["subject"]) == (CY, f"id-{CY}")
    assert waiting.is_untouched()


@pytest.mark.parametrize("person", [BO, ANA])
def test_a_login_that_is_no_service_takes_no_identities(office: Office, person: str) -> None:
    """On one person's login a recognised person's vote is refused and on record, be it their own."""
    waiting = office.waiting()
    with (
        Approvals(office.desk.database.approver("ana"), authenticator=office.signing) as ana,
        pytest.raises(ApprovalRefused) as refused,
    ):
        ana.approve(waiting.name, credential=office.provider.token(person))
    assert refused.value.code == "not_yourself"
    said = waiting.entries()[-1]
    assert (said["login"], said["identity"]["person"]) == ("test_approver_ana", person)
    assert waiting.is_untouched()


def test_a_login_that_is_no_service_names_nobody_else(office: Office) -> None:
    """Without any token, too: another person's name on one's own login is refused and on record."""
    waiting = office.waiting()
    with Approvals(office.desk.database.approver("cy")) as cy, pytest.raises(ApprovalRefused) as refused:
        cy.approve(waiting.name, as_=ANA)
    assert refused.value.code == "not_yourself"
    assert (waiting.entries()[-1]["login"], waiting.entries()[-1]["reason"]) == ("test_approver_cy", "not_yourself")
    assert waiting.is_untouched()


def test_a_service_names_nobody_beside_the_token(office: Office) -> None:
    """Cy's good token with Ana's name beside it is refused before the ledger is asked."""
    waiting = office.waiting()
    refusals = waiting.refused_access()
    with pytest.raises(NotAuthenticated) as refused:
        waiting.vote(office.provider.token(CY), as_=ANA)
    assert refused.value.code == "person_differs"
    assert waiting.refused_access() - refusals == {"person_differs": 1}
    assert waiting.is_untouched()


GOOD: dict[str, Any] = {
    "person": ANA,
    "issuer": "https://id.acme.example",
    "subject": "1",
    "groups": ["cfo"],
    "acr": None,
    "credential": "0" * 64,
}


def by_hand(dsn: str, waiting: Waiting, identity: Any) -> Any:
    """Vote by SQL of one's own, with an identity of one's own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(
            "SELECT answer, reason FROM control.vote_v1(%s, 'approve', NULL, NULL, NULL, %s::jsonb, '{}')",
            (approval_id(waiting.name), json.dumps(identity)),
        ).fetchone()


def test_an_identity_made_by_hand_is_refused_on_a_persons_login(office: Office) -> None:
    """An approver who writes SQL cannot put on another person's identity, nor groups of their own."""
    waiting = office.waiting()
    for login, identity in (("cy", GOOD), ("cy", GOOD | {"person": CY})):
        assert by_hand(office.desk.database.approver(login), waiting, identity) == ("refused", "not_yourself")
        assert waiting.entries()[-1]["reason"] == "not_yourself"
    assert waiting.is_untouched()


@pytest.mark.parametrize(
    "identity",
    [
        {},
        [],
        "ana",
        GOOD | {"credential": "lgc_secret"},
        GOOD | {"credential": None},
        GOOD | {"person": ""},
        GOOD | {"groups": "cfo"},
        GOOD | {"groups": [["cfo"]]},
        {name: value for name, value in GOOD.items() if name != "issuer"},
    ],
    ids=str,
)
def test_what_is_no_identity_is_refused(office: Office, identity: Any) -> None:
    """Not even a service may vote without saying who vouches for whom, and by what; a token has no place in it."""
    waiting = office.waiting()
    with pytest.raises(psycopg.Error):
        by_hand(office.desk.database.local_approver, waiting, identity)
    assert waiting.is_untouched()


def test_a_good_token_votes(office: Office) -> None:
    """With a token as it should be the write is done, once, and who granted it is on record without the token."""
    waiting = office.waiting()
    token = office.provider.token(CY, groups=["cfo"], acr="mfa", jti="7")
    assert waiting.vote(token) is Voting.GRANTED
    assert office.desk.run(waiting.graph, trigger=waiting.trigger).state is RunState.DONE
    (said,) = [fact for fact in waiting.entries() if "approval.granted" in fact["events"]]
    assert (said["person"], said["roles"], said["identity"]["acr"]) == (CY, ["finance"], "mfa")
    assert token not in str(waiting.entries())
    del office.desk.done[:]
