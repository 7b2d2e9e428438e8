"""What the offline verifier finds in a bundle, and that it stands alone."""

import ast
import base64
import hashlib
import io
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.bundles import offline
from langgraph_control.audit.bundles.offline import Outcome
from langgraph_control.audit.seals import tree
from langgraph_control.audit.seals.checkpoints import VerifierKey, endorsement
from tests.support.bundles import ORIGIN, POLICY, POLICY_HASH, Log, SigningKey, rewritten, verified

VERIFIER = Path(offline.__file__)
FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))

Records = list[dict[str, Any]]


def log_of_three() -> Log:
    """Three runs, each sealed by a checkpoint of its own."""
    log = Log()
    for run in (FIRST, SECOND, THIRD):
        log.run(run)
        log.seal()
    return log


LOG = log_of_three()
BUNDLE = LOG.bundle()
PINS = list(LOG.notes.values())


def pinned(bundle: bytes) -> offline.Report:
    """Verify with the log's key and all its checkpoints as pins."""
    return verified(bundle, LOG.key.vkey, PINS)


def stored(value: bytes) -> object:
    """Bytes as a bundle writes them."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def entries_of(records: Records, run: UUID) -> Iterator[int]:
    """The indexes of a run's entries."""
    begin = next(at for at, one in enumerate(records) if "run" in one and one["run"]["id"] == str(run))
    at = begin + 1
    while "head" in records[at] or "entry" in records[at]:
        if "entry" in records[at]:
            yield at
        at += 1


# --- It stands alone ---


def test_it_imports_nothing_of_the_project() -> None:
    """The verifier imports the standard library and ``cryptography``, and nothing else."""
    imported = set()
    for node in ast.walk(ast.parse(VERIFIER.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


@given(leaves=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40), data=st.data())
def test_its_tree_is_the_ledgers(leaves: list[bytes], data: st.DataObject) -> None:
    """Its roots are those of the ledger's tree at every size, and it is convinced by the ledger's proofs alone."""
    size = len(leaves)
    grown, roots = tree.CompactRange(), {0: tree.EMPTY_ROOT}
    for leaf in leaves:
        grown = grown.append(leaf)
        roots[grown.size] = grown.root()
    assert dict(offline.roots_at(leaves, range(size + 1))) == roots

    def node(level: int, index: int) -> bytes:
        under = leaves[index << level : (index + 1) << level]
        return dict(offline.roots_at(under, [len(under)]))[len(under)]

    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index, size, node)
    assert offline.included_root(index, size, leaves[index], proof) == roots[size]
    old = data.draw(st.integers(0, size))
    shown = tree.consistency_proof(old, size, node)
    assert offline.consistent(old, roots[old], size, roots[size], shown)
    assert old == 0 or not offline.consistent(old, tree.EMPTY_ROOT, size, roots[size], shown)
    assert not offline.consistent(old, roots[old], size, roots[size], [*shown, bytes(32)])


def test_it_reads_keys_and_signatures_that_others_made() -> None:
    """A key and a signature from the documentation of Go's note package are read and verified."""
    key = offline.read_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signed = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    raw = offline._from_base64(signed)
    assert raw[:4] == key.key_hash
    assert key.signed(text, raw[4:])
    assert not key.signed(text.replace("don't", "do"), raw[4:])


# --- What is proved ---


@pytest.mark.parametrize("payloads", [False, True])
def test_what_nobody_touched_is_proved(payloads: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A whole log with its pins is proved, entry by entry, up to the signed root and the pins."""
    report = pinned(LOG.bundle(payloads=payloads))
    assert report.outcome is Outcome.OK
    assert (report.chains, report.entries, report.found) == (3, 15, ())


def test_one_run_is_proved_with_the_whole_tree() -> None:
    """The bundle of one run brings all other leaves, so that another version of the run would be seen."""
    report = pinned(LOG.bundle([SECOND], scope="run"))
    assert report.outcome is Outcome.OK
    assert any("that these are all runs" in what for what in report.not_proved)


def test_a_receipt_is_proved_without_the_tree() -> None:
    """An entry, the chain to the sealed head, its proof and a checkpoint are enough; what they do not say is said."""
    report = pinned(LOG.bundle([SECOND], scope="receipt", leaves=False, after=2))
    assert report.outcome is Outcome.OK
    assert report.entries == 3
    assert any("no other version" in what for what in report.not_proved)


def test_without_a_pin_it_is_unpinned() -> None:
    """Without a pin the exit code is another one, and it is said who could have made all of it anew."""
    report = verified(BUNDLE, LOG.key.vkey)
    assert report.outcome is Outcome.UNPINNED
    assert any("whoever holds the signing key" in what for what in report.not_proved)


def test_a_pin_that_is_too_old_does_not_cover_it() -> None:
    """What was sealed after the newest pin is proved by the key alone."""
    assert verified(BUNDLE, LOG.key.vkey, PINS[:2]).outcome is Outcome.UNPINNED
    assert verified(LOG.bundle([SECOND], scope="run"), LOG.key.vkey, PINS[:2]).outcome is Outcome.OK


def test_what_is_not_sealed_is_incomplete() -> None:
    """Entries after the sealed head are chained and no more; the chain is named."""
    log = Log()
    log.run(FIRST)
    assert verified(log.bundle(), log.key.vkey, PINS).outcome is Outcome.INCOMPLETE
    pin = log.seal()
    log.append(FIRST, facts={"events": ["effect.late"]})
    report = verified(log.bundle(), log.key.vkey, [pin])
    assert report.outcome is Outcome.INCOMPLETE
    assert f"1 entry is chained, but not sealed: run_{FIRST.hex} after entry 5" in report.found[0]


def test_an_erased_payload_breaks_no_proof() -> None:
    """A payload that is gone is counted; what commits to it is proved all the same."""
    log = log_of_three()
    log.chains[FIRST][1] = replace(log.chains[FIRST][1], payload=None, salt=None)
    report = verified(log.bundle(payloads=True), log.key.vkey, list(log.notes.values()))
    assert report.outcome is Outcome.OK
    assert any("what 1 payload said: they were erased, or taken out by hand" in what for what in report.not_proved)


def test_bytes_that_are_no_text_survive() -> None:
    """A body that is no UTF-8 is exported and hashed byte for byte."""
    log = Log()
    log.append(FIRST, facts={"events": ["run.started"]}, body=b'\xff\x00"')
    pin = log.seal()
    report = verified(log.bundle(), log.key.vkey, [pin])
    assert report.outcome is Outcome.OK
    assert any("what 1 body of entries said: no object of JSON" in what for what in report.not_proved)


def test_only_a_receipt_does_without_the_tree() -> None:
    """A bundle of a run that keeps the other leaves back is none: they might show another version of the run."""
    report = pinned(LOG.bundle([SECOND], scope="run", leaves=False))
    assert report.outcome is Outcome.UNUSABLE


def test_nothing_is_no_proof() -> None:
    """A bundle without an entry is incomplete, however well it is sealed."""
    report = pinned(LOG.bundle([], scope="run"))
    assert report.outcome is Outcome.INCOMPLETE
    assert "there is no entry in it" in report.found


def adding(record: dict[str, Any]) -> Callable[[Records], None]:
    """A change that adds a line."""
    return lambda records: records.append(record)


def test_only_policies_that_entries_name_are_counted() -> None:
    """A policy whose text is here is one that an entry names: any other text, or one that is there twice, is found."""
    other = "version: 1\n# nobody's\n"
    line = {"policy": {"hash": hashlib.sha256(other.encode()).hexdigest(), "text": other}}
    bundle = LOG.bundle()
    assert any("1 policy text has the hash by which decisions name it" in what for what in pinned(bundle).proved)
    for more in (line, {"policy": {"hash": POLICY_HASH, "text": POLICY}}):
        report = pinned(rewritten(bundle, adding(more)))
        assert report.outcome is Outcome.TAMPERED
        assert f"no entry here names policy {more['policy']['hash']}, or its text is here twice" in report.found[0]
    report = pinned(rewritten(bundle, lambda records: records.pop()))
    assert report.outcome is Outcome.OK
    assert any("what 1 policy said that entries name: no text is here" in what for what in report.not_proved)


def test_a_key_that_is_there_twice_is_found() -> None:
    """Each key the log has had stands once: a bundle has one form."""
    report = pinned(rewritten(BUNDLE, lambda records: records.insert(1, records[1])))
    assert report.outcome is Outcome.TAMPERED
    assert "line 3: a key is there twice" in report.found[0]


def test_leaves_in_another_order_are_found() -> None:
    """Leaves about other chains stand in the tree's order."""

    def swap(records: Records) -> None:
        first, second = [at for at, record in enumerate(records) if "leaf" in record][:2]
        records[first], records[second] = records[second], records[first]

    report = pinned(rewritten(LOG.bundle([FIRST]), swap))
    assert report.outcome is Outcome.TAMPERED
    assert "leaves are not ordered by their index" in report.found[0]


def test_the_report_names_what_was_verified() -> None:
    """Runs that were asked for are named, so that nobody takes another one's proof for them."""
    assert f"of run_{SECOND.hex}:" in pinned(LOG.bundle([SECOND], scope="run")).proved[0]
    told = offline.tell(pinned(LOG.bundle([SECOND], scope="receipt", leaves=False)), as_json=False)
    assert told.startswith("verify: OK (a receipt)\n")


# --- Keys ---


def rotated_log() -> tuple[Log, str, str]:
    """A log whose key was replaced after its first checkpoint; the keys before and after."""
    log = Log()
    own = offline.tenant_chain(log.tenant)
    old, new = log.key, SigningKey(name=f"{ORIGIN}/2")
    log.append(own, facts={"events": ["key.rotated"], "name": old.name, "public": old.public.hex(), "before": None})
    log.run(FIRST)
    log.seal()
    facts = {"events": ["key.rotated"], "name": new.name, "public": new.public.hex(), "before": old.name}
    log.append(own, facts=facts)
    log.rotate(new)
    log.run(SECOND)
    log.seal()
    return log, old.vkey, new.vkey


@pytest.mark.parametrize("given_key", [1, 2], ids=["old", "new"])
def test_rotations_link_old_keys_and_new(given_key: int) -> None:
    """Who has only the old key verifies what the new one signed, and the other way round."""
    log = rotated_log()
    report = verified(log[0].bundle(), str(log[given_key]), list(log[0].notes.values()))
    assert report.outcome is Outcome.OK
    assert not any("who signed" in what for what in report.not_proved)


def test_one_run_and_a_receipt_bring_what_links_the_keys() -> None:
    """The old key is enough for what the new one signed, whatever was exported, however often it was changed."""
    log, old, _ = rotated_log()
    third = SigningKey(name=f"{ORIGIN}/3")
    log.rotate(third)
    log.run(THIRD)
    log.seal()
    pins = list(log.notes.values())
    for bundle in (log.bundle([THIRD], scope="run"), log.bundle([THIRD], scope="receipt", leaves=False, after=2)):
        report = verified(bundle, old, pins)
        assert report.outcome is Outcome.OK
        assert any("/3+" in what and "the one that was given endorsed" in what for what in report.proved)
        assert verified(bundle, third.vkey, pins).outcome is Outcome.OK


@pytest.mark.parametrize("by", ["nobody", "another", "itself", "a checkpoint", "no hex"])
def test_an_endorsement_that_is_none_links_nothing(by: str) -> None:
    """Without the old key's own signature over the new one, it says nothing about what the new one signed."""
    log, old, new = rotated_log()

    def forge(records: Records) -> None:
        key = next(one["key"] for one in records if "key" in one and one["key"]["vkey"] == new)
        said = endorsement(VerifierKey.parse(new))
        key["endorsed"] = {
            "nobody": None,
            "another": SigningKey().private.sign(said).hex(),
            "itself": log.key.private.sign(said).hex(),
            "a checkpoint": offline.read_checkpoint(log.notes[2]).signatures[0][2].hex(),
            "no hex": "x",
        }[by]

    bundle = rewritten(log.bundle([SECOND], scope="run"), forge)
    assert verified(bundle, old, list(log.notes.values())).outcome is Outcome.TAMPERED
    if by == "no hex":
        return
    report = verified(bundle, new, list(log.notes.values()))
    assert report.outcome is Outcome.OK
    assert any("who signed" in what for what in report.not_proved)


def test_a_rotation_that_only_the_new_key_seals_is_none() -> None:
    """Whoever adds a key of their own and seals it with that very key is not believed."""
    log = log_of_three()
    old, thief = log.key, SigningKey(name=f"{ORIGIN}/2")
    log.key = thief
    facts = {"events": ["key.rotated"], "name": thief.name, "public": thief.public.hex(), "before": old.name}
    log.append(offline.tenant_chain(log.tenant), facts=facts)
    log.seal()
    report = verified(log.bundle(), old.vkey, PINS)
    assert report.outcome is Outcome.TAMPERED
    assert "links to the one that was given" in report.found[0] or "two pins" not in report.found[0]


def test_a_wrong_key_proves_nothing() -> None:
    """A key of another origin is refused; another key of this origin means another hand."""
    other = SigningKey(name="langgraph-control/other")
    assert verified(BUNDLE, other.vkey).outcome is Outcome.UNUSABLE
    report = verified(BUNDLE, SigningKey().vkey)
    assert report.outcome is Outcome.TAMPERED
    assert "is signed by the key that was given" in report.found[0]


@pytest.mark.parametrize("spoil", [str.upper, lambda key: key[:-4], lambda key: key.replace("+", "-"), lambda _: ""])
def test_a_key_that_was_mistyped_is_refused(spoil: Callable[[str], str]) -> None:
    """A key whose own hash does not fit it, or that is none, is named as that."""
    assert verified(BUNDLE, spoil(LOG.key.vkey)).outcome is Outcome.UNUSABLE


def test_a_bundle_of_before_a_rotation_needs_the_key_before() -> None:
    """The new key says nothing about what was signed before it, and which key does is said."""
    log, old, new = rotated_log()
    before = Log(key=LOG.key)
    before.run(FIRST)
    before.seal()
    before.key = SigningKey(name=f"{ORIGIN}/2")
    report = verified(BUNDLE, before.key.vkey, PINS)
    assert report.outcome is Outcome.UNUSABLE
    assert "verify it by the key before, or export it again" in report.found[0]
    assert {old, new} == set(log.keys)


# --- Tampering with the bundle itself; the last line always made to fit ---


def edit_body(records: Records) -> None:
    """Change what a client said."""
    at = list(entries_of(records, SECOND))[2]
    records[at]["entry"]["body"] = records[at]["entry"]["body"].replace("support-agent", "someone-else")


def edit_facts(records: Records) -> None:
    """Change what the database decided."""
    records[list(entries_of(records, SECOND))[2]]["entry"]["facts"] = '{"at":3,"events":["action.denied"]}'


def delete_entry(records: Records) -> None:
    """Take an entry out."""
    del records[list(entries_of(records, SECOND))[2]]


def swap_entries(records: Records) -> None:
    """Exchange two entries."""
    second, third, *_ = list(entries_of(records, SECOND))[1:]
    records[second], records[third] = records[third], records[second]


def cut_tail(records: Records) -> None:
    """Leave out the last entries."""
    del records[list(entries_of(records, SECOND))[3] : list(entries_of(records, SECOND))[4] + 1]


def forget_head(records: Records) -> None:
    """Cut the tail, and take out the leaf that says so."""
    cut_tail(records)
    del records[next(entries_of(records, SECOND)) - 1]


def change_policy(records: Records) -> None:
    """Put another policy under the hash."""
    next(one for one in records if "policy" in one)["policy"]["text"] = POLICY + "# kinder\n"


def change_root(records: Records) -> None:
    """Put another root into the newest checkpoint."""
    newest = next(one for one in records if "checkpoint" in one)["checkpoint"]
    lines = newest["note"].split("\n")
    newest["note"] = "\n".join([lines[0], lines[1], "A" * 43 + "=", *lines[3:]])


def change_tenant(records: Records) -> None:
    """Say that it belongs to another tenant."""
    records[0]["tenant"] = "other"


def duplicate_run(records: Records) -> None:
    """Bring a run twice."""
    at = next(at for at, one in enumerate(records) if "run" in one)
    records[at:at] = records[at : at + 7]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edit_body, f"entry 3 of run_{SECOND.hex}: its hash"),
        (edit_facts, f"entry 3 of run_{SECOND.hex}: its hash"),
        (delete_entry, f"entry 3 of run_{SECOND.hex} is missing"),
        (swap_entries, f"entry 2 of run_{SECOND.hex} is missing"),
        (cut_tail, f"run_{SECOND.hex} was sealed with 5 entries, and ends with entry 3"),
        (forget_head, "leaf 1 of the tree of 3 leaves is missing"),
        (change_policy, "the text of policy"),
        (change_root, "the signature of the checkpoint of size 3"),
        (change_tenant, "is not in the tree"),
        (duplicate_run, "is there twice"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_tampering_is_found_and_named(change: Callable[[Records], None], said: str) -> None:
    """Each change to a bundle is found, whatever was made to fit around it, and its place is named."""
    report = pinned(rewritten(BUNDLE, change))
    assert report.outcome is Outcome.TAMPERED
    assert said in report.found[0]


def test_an_edit_with_all_hashes_made_anew_is_found() -> None:
    """Hashes that fit the edit lead to another head than the one that was sealed."""
    forged = log_of_three()
    forged.key, forged.notes, forged.leaves, forged.keys = LOG.key, LOG.notes, LOG.leaves, LOG.keys
    report = pinned(forged.bundle())  # salts differ, and with them everything
    assert report.outcome is Outcome.TAMPERED
    assert f"run_{FIRST.hex} up to entry 5 is not what was sealed in leaf 0" in report.found[0]


def test_two_heads_of_one_length_are_found() -> None:
    """A run that was rewritten to the same length and sealed once more has two heads there."""
    log = log_of_three()
    pins = list(log.notes.values())
    log.chains[FIRST] = []
    log.run(FIRST, 5)
    log.leaves.append((FIRST, 5, log.chains[FIRST][-1].hash))
    log.seal()
    for bundle in (log.bundle(), log.bundle([FIRST], scope="run")):
        report = verified(bundle, log.key.vkey, [*pins, log.notes[4]])
        assert report.outcome is Outcome.TAMPERED
        assert f"run_{FIRST.hex} was sealed twice at entry 5" in report.found[0]


def test_a_run_that_was_sealed_shorter_is_found() -> None:
    """A run that was cut after it was sealed, and sealed again, has a later leaf with fewer entries."""
    log = log_of_three()
    pins = list(log.notes.values())
    del log.chains[FIRST][3:]
    log.seal()
    for bundle in (log.bundle(), log.bundle([FIRST], scope="run")):
        report = verified(bundle, log.key.vkey, [*pins, log.notes[4]])
        assert report.outcome is Outcome.TAMPERED
        assert f"run_{FIRST.hex} was sealed with 5 entries, and then with 3: two versions" in report.found[0]


def test_chains_stand_in_the_order_of_their_ids() -> None:
    """Chains come in the order of their ids, by which one that is there twice is known; no exporter breaks it."""

    def swap(records: Records) -> None:
        begin = next(at for at, one in enumerate(records) if "run" in one)
        records[begin : begin + 14] = records[begin + 7 : begin + 14] + records[begin : begin + 7]

    report = pinned(rewritten(LOG.bundle(), swap))
    assert report.outcome is Outcome.TAMPERED
    assert "chains are ordered by id" in report.found[0]


def test_two_versions_of_a_chain_are_found() -> None:
    """A run that was rewritten after it was sealed, and sealed again, contradicts its first leaf, wherever that is."""
    log = log_of_three()
    pins = list(log.notes.values())
    log.chains[FIRST] = []
    log.run(FIRST, 6)
    log.seal()
    for bundle in (log.bundle(), log.bundle([FIRST], scope="run")):
        report = verified(bundle, log.key.vkey, [*pins, log.notes[4]])
        assert report.outcome is Outcome.TAMPERED
        assert "is not what was sealed in leaf 0" in report.found[0]

    def hide(records: Records) -> None:
        head = records.pop(next(at for at, one in enumerate(records) if "head" in one and one["head"]["index"] == 0))
        last = max(at for at, one in enumerate(records) if "entry" in one)
        leaf = [0, str(FIRST), head["head"]["seq"], head["head"]["head"]]
        records.insert(last + 1, {"leaf": leaf})

    report = verified(rewritten(log.bundle(), hide), log.key.vkey, pins)
    assert "kept apart from it" in report.found[0]


def test_what_only_a_pin_finds() -> None:
    """Everything made anew with a stolen key fits the key, and not the pin."""
    forged = Log(key=LOG.key)
    for run in (FIRST, SECOND, THIRD):
        forged.run(run, 4)
        forged.seal()
    assert verified(forged.bundle(), LOG.key.vkey).outcome is Outcome.UNPINNED
    report = pinned(forged.bundle())
    assert report.outcome is Outcome.TAMPERED
    assert "not the one that was pinned with 1 leaves" in report.found[0]


def test_a_restore_is_named_as_one_cause() -> None:
    """A tree that is not the one that was pinned may have been taken back by a restore; it counts all the same."""
    restored = Log(key=LOG.key, chains={FIRST: LOG.chains[FIRST]}, leaves=LOG.leaves[:1], notes={1: LOG.notes[1]})
    own = offline.tenant_chain(restored.tenant)
    facts = {"at": 1_700_000_000_000_000, "events": ["restore.accepted", "freeze.lifted"], "person": "ana"}
    restored.append(own, facts=facts)
    restored.seal()
    restored.run(SECOND)
    restored.seal()
    report = pinned(restored.bundle())
    assert report.outcome is Outcome.TAMPERED
    assert "taken back by the restore that was accepted on 2023-11-14 by ana" in report.found[0]
    assert verified(restored.bundle(), LOG.key.vkey, list(restored.notes.values())).outcome is Outcome.OK
    report = verified(restored.bundle(), LOG.key.vkey, [*PINS, *restored.notes.values()])
    assert (report.outcome, "before a restore" in report.found[0]) == (Outcome.TAMPERED, True)


def test_a_log_that_is_shorter_than_a_pin_is_incomplete() -> None:
    """A pin newer than the bundle is named: the bundle is old, or the log was cut back. Who knows it is old says so."""
    short = Log(key=LOG.key, chains={FIRST: LOG.chains[FIRST]}, leaves=LOG.leaves[:1], notes={1: LOG.notes[1]})
    report = pinned(short.bundle())
    assert report.outcome is Outcome.INCOMPLETE
    assert "the newest pin is of 3 leaves, and the bundle's tree has 1" in report.found[0]
    assert verified(short.bundle(), LOG.key.vkey, PINS, newer_pins=False).outcome is Outcome.OK


def test_a_forked_log_is_found() -> None:
    """Checkpoints of which one does not extend the other are found, by their proofs and by the leaves."""
    fork = Log(key=LOG.key, chains={FIRST: LOG.chains[FIRST], SECOND: LOG.chains[SECOND]})
    fork.seal(SECOND)
    note = fork.notes[1]

    def swap(records: Records) -> None:
        records[next(at for at, one in enumerate(records) if "checkpoint" in one) + 2]["checkpoint"]["note"] = note

    report = pinned(rewritten(BUNDLE, swap))
    assert report.outcome is Outcome.TAMPERED
    assert "the log was forked" in report.found[0]
    assert "two versions" in verified(BUNDLE, LOG.key.vkey, [*PINS, note]).found[0]


def test_a_run_that_is_sealed_and_not_in_the_bundle_is_named() -> None:
    """A bundle of everything that lacks a sealed run is incomplete, and the run is named."""
    report = pinned(LOG.bundle([FIRST, THIRD]))
    assert report.outcome is Outcome.INCOMPLETE
    assert f"run_{SECOND.hex} was sealed with 5 entries in leaf 1" in report.found[0]


def test_a_payload_that_was_changed_or_added_is_found() -> None:
    """A payload is held against the commitment; one where the hash commits to none was added later.

    The commitment is over salt and payload in one: bytes moved from one into the other are found by the salt's length.
    """
    bundle = LOG.bundle(payloads=True)

    def change(records: Records) -> None:
        records[next(entries_of(records, FIRST))]["entry"]["payload"] = '{"n":9}'

    def add(records: Records) -> None:
        records[list(entries_of(records, FIRST))[4]]["entry"] |= {"payload": "{}", "salt": "AAAA"}

    def move(records: Records) -> None:
        entry = records[next(entries_of(records, FIRST))]["entry"]
        both = base64.b64decode(entry["salt"]) + entry["payload"].encode()
        entry |= {"payload": "", "salt": base64.b64encode(both).decode()}

    def move_back(records: Records) -> None:
        entry = records[next(entries_of(records, FIRST))]["entry"]
        salt = base64.b64decode(entry["salt"])
        text = salt[8:] + entry["payload"].encode()
        entry |= {"payload": stored(text), "salt": base64.b64encode(salt[:8]).decode()}

    for moved in (move, move_back):
        report = pinned(rewritten(bundle, moved))
        assert report.outcome is Outcome.TAMPERED
        assert f"entry 1 of run_{FIRST.hex}: its salt has" in report.found[0]
    assert "payload was changed" in pinned(rewritten(bundle, change)).found[0]
    assert "added later" in pinned(rewritten(bundle, add)).found[0]


def test_a_finish_that_counts_wrong_is_found() -> None:
    """The entry that ends a run counts the entries up to it."""
    log = Log()
    log.append(FIRST, facts={"events": ["run.finished"], "entries": 7})
    log.seal()
    report = verified(log.bundle(), log.key.vkey)
    assert "counts another number" in report.found[0]


# --- Damage ---


def test_each_byte_counts() -> None:
    """One bit flipped in any byte of a bundle is found."""
    chance = random.Random(4711)
    bundle = LOG.bundle([FIRST], scope="run", payloads=True)
    assert pinned(bundle).outcome is Outcome.OK
    for at in range(len(bundle)):
        flipped = bytearray(bundle)
        flipped[at] ^= 1 << chance.randrange(8)
        assert pinned(bytes(flipped)).outcome is not Outcome.OK, at


@given(st.integers(0, len(BUNDLE) * 8 - 1))
def test_a_flipped_bit_is_found(bit: int) -> None:
    """One bit flipped anywhere is found, and is called tampering, a cut or no bundle."""
    flipped = bytearray(BUNDLE)
    flipped[bit // 8] ^= 1 << bit % 8
    assert pinned(bytes(flipped)).outcome in (Outcome.TAMPERED, Outcome.INCOMPLETE, Outcome.UNUSABLE)


@given(st.integers(0, len(BUNDLE) - 1))
def test_a_bundle_that_was_cut_is_never_ok(length: int) -> None:
    """A bundle that ends early, wherever, is found."""
    assert pinned(BUNDLE[:length]).outcome is Outcome.INCOMPLETE


def test_a_flipped_byte_names_the_entry() -> None:
    """A byte changed within an entry is reported as that entry."""
    at = BUNDLE.index(b"support-agent", BUNDLE.index(str(SECOND).encode()))
    report = pinned(BUNDLE[:at] + b"S" + BUNDLE[at + 1 :])
    assert f"entry 1 of run_{SECOND.hex}" in report.found[0]


# --- Bad input ---


def test_a_future_version_is_refused() -> None:
    """A version this verifier does not know is no finding about the record."""
    report = pinned(rewritten(BUNDLE, lambda records: records[0].update(bundle=2, more="x")))
    assert report.outcome is Outcome.UNUSABLE
    assert "version 2" in report.found[0]


def test_pins_of_another_origin_are_refused() -> None:
    """A file of pins that belongs to another log cannot be compared."""
    other = SigningKey(name="langgraph-control/other").note(3, bytes(32), origin="langgraph-control/other")
    assert verified(BUNDLE, LOG.key.vkey, [other]).outcome is Outcome.UNUSABLE
    assert verified(BUNDLE, LOG.key.vkey, ["no checkpoint\n"]).outcome is Outcome.UNUSABLE
    forged = PINS[0].replace("\n1\n", "\n2\n")
    assert verified(BUNDLE, LOG.key.vkey, [forged]).outcome is Outcome.UNUSABLE


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"entry":1}',
        b'{"entry":{},"run":{}}',
        b'{"unknown":1}',
        b'{ "entry":{}}',
        b'{"leaf":[0.0]}',
        b'{"leaf":[NaN]}',
        b'{"leaf":[1e9]}',
        b'{"leaf":[' + b"9" * 5000 + b"]}",
        b'{"entry":"\\ud800"}',
        b'{"run":{"after":0,"after":0,"id":"x","previous":"y"}}',
        b'{"head":"\\u0041"}',
        '{"head":"ä"}'.encode(),
        b"\xff\xfe",
        b'{"entry":{}} ',
    ],
)
def test_a_line_that_is_none_is_found(line: bytes) -> None:
    """What no exporter writes is damage, and the line is named."""
    lines = BUNDLE.splitlines(keepends=True)
    at = next(at for at, one in enumerate(lines) if one.startswith(b'{"entry"'))
    report = pinned(b"".join([*lines[:at], line + b"\n", *lines[at:]]))
    assert report.outcome is Outcome.TAMPERED
    assert f"line {at + 1}, where entry 1 of run_{FIRST.hex} should stand" in report.found[0]


@pytest.mark.parametrize(
    "value", ["AB==", "A A=", "", 7, None, {"base64": "YQ=="}, {"base64": "/w"}, {"base64": "/x=="}]
)
def test_a_value_written_in_another_way_is_found(value: object) -> None:
    """Stored bytes have one form: base64 that is not canonical, or text as base64, is refused."""
    bundle = LOG.bundle(payloads=True)

    def change(records: Records) -> None:
        entry = records[next(entries_of(records, FIRST))]["entry"]
        entry["salt" if isinstance(value, str) else "payload"] = value

    assert pinned(rewritten(bundle, change)).outcome is Outcome.TAMPERED


class _Endless(io.RawIOBase):
    """A file with a beginning that never ends: each further byte is the same."""

    def __init__(self, begin: bytes, rest: bytes) -> None:
        self.begin, self.rest, self.given = begin, rest, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.begin[: len(buffer)] or self.rest * len(buffer)
        self.begin = self.begin[len(buffer) :]
        self.given += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("begin", [b"", BUNDLE[: BUNDLE.index(b"\n") + 1]])
def test_a_line_of_gigabytes_is_not_read(begin: bytes) -> None:
    """A line without an end is given up after the most that a line may have, whatever follows."""
    endless = _Endless(begin, b"[")
    tracemalloc.start()
    report = offline.verify(offline_lines(endless), keys=[offline.read_key(LOG.key.vkey)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.outcome is Outcome.UNUSABLE
    assert endless.given < 2 * offline.LINE_BYTES_MAX
    assert peak < 4 * offline.LINE_BYTES_MAX


def offline_lines(raw: io.RawIOBase) -> Iterator[bytes]:
    """The lines of a raw file."""
    return offline.lines_of(io.BufferedReader(raw))


def test_a_line_that_is_just_too_deep_is_found() -> None:
    """Nesting that can be read and not be written again is damage, at whatever depth that is."""
    head = BUNDLE.splitlines(keepends=True)[0]
    for depth in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit() + 20):
        nested = b"[" * depth + b"]" * depth
        entry = b'{"entry":{"body":%b,"commitment":null,"facts":"","hash":"","payload":null,"salt":null,"seq":1}}\n'
        for line in (b'{"policy":%b}\n' % nested, entry % nested):
            assert pinned(head + line).outcome is Outcome.TAMPERED


@pytest.mark.parametrize("event", ["run.finished", "entries.dropped", "key.rotated"])
@pytest.mark.parametrize("events", [5, None, "run", {"run.finished": 1}, True])
def test_facts_that_are_none_are_found(event: str, events: object) -> None:
    """Facts in which events are no list are damage, not an error of the verifier."""
    log = Log()
    chain = offline.tenant_chain(log.tenant)
    log.append(chain, facts={"events": events, "x": event})
    log.seal()
    assert verified(log.bundle(), log.key.vkey).outcome is Outcome.TAMPERED


@pytest.mark.parametrize("path", ["\0", "x" * 5000, "/", "\ud800"])
def test_a_path_that_cannot_be_read_is_said(path: str, tmp_path: Path) -> None:
    """What is no path of a file, of a bundle, of pins or of a key, is a finding like any other."""
    bundle = tmp_path / "bundle"
    bundle.write_bytes(BUNDLE)
    assert offline.verify_file(path, keys=[LOG.key.vkey]).outcome is Outcome.UNUSABLE
    assert offline.verify_file(str(bundle), keys=[LOG.key.vkey], pins=path).outcome is Outcome.UNUSABLE
    assert offline.verify_file(str(bundle), keys=[path]).outcome is Outcome.UNUSABLE


@pytest.mark.parametrize("kind", ["leaf", "dropped"])
def test_nothing_is_kept_for_a_tree_that_nobody_signed(kind: str) -> None:
    """A checkpoint of any size without a right signature has no memory taken for its leaves."""
    key = SigningKey()
    size = offline.LEAVES_MAX

    def forge(records: Records) -> None:
        del records[1:]
        records.append({"checkpoint": {"consistency": [], "note": key.note(size, bytes(32))}})
        leaf = {"leaf": [size - 1, str(FIRST), 1, "00" * 32]}
        records += {"leaf": [leaf], "dropped": [{"dropped": [1, str(FIRST), 1, "00" * 32]}, leaf]}[kind]

    tracemalloc.start()
    report = pinned(rewritten(BUNDLE, forge))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.outcome is Outcome.TAMPERED
    assert "no checkpoint of the bundle is signed" in report.found[0]
    assert peak < 10_000_000


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_exhausts_nothing(opening: bytes) -> None:
    """A line of nothing but openings is damage, found in no time."""
    nested = opening * (offline.LINE_BYTES_MAX // len(opening) - 1)
    lines = BUNDLE.splitlines(keepends=True)
    report = pinned(lines[0] + nested + b"\n")
    assert report.outcome is Outcome.TAMPERED
    assert pinned(nested + b"\n").outcome is Outcome.UNUSABLE


def test_a_long_bundle_needs_little_memory() -> None:
    """Twenty thousand entries that are made while they are read take the memory of one."""
    log = Log()
    run = uuid4()

    def lines() -> Iterator[bytes]:
        log.run(FIRST)
        log.seal()
        whole = LOG.bundle([FIRST], scope="run").splitlines(keepends=True)
        yield from (
            line
            for line in whole
            if not line.startswith((b'{"run"', b'{"head"', b'{"entry"', b'{"leaf"', b'{"end"', b'{"policy"'))
        )
        yield orjson.dumps({"run": {"after": 0, "id": str(run), "previous": "0" * 64}}) + b"\n"
        prefix, previous = offline.chain_prefix("default", run), bytes(32)
        for seq in range(1, 20_001):
            previous = offline.entry_hash(prefix, seq=seq, previous=previous, facts=b"{}", commitment=b"", body=b"{}")
            entry = {
                "body": "{}",
                "commitment": None,
                "facts": "{}",
                "hash": previous.hex(),
                "payload": None,
                "salt": None,
                "seq": seq,
            }
            yield orjson.dumps({"entry": entry}) + b"\n"

    tracemalloc.start()
    report = offline.verify(lines(), keys=[offline.read_key(LOG.key.vkey)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.entries == 20_000
    assert report.outcome is Outcome.INCOMPLETE  # it has no last line
    assert peak < 2_000_000


# --- The command ---


def test_the_file_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run on files, it prints what was proved and what was not, and ends with the outcome's number."""
    (tmp_path / "bundle.jsonl").write_bytes(BUNDLE)
    (tmp_path / "pins").write_text("\n".join(PINS), "utf-8")
    (tmp_path / "key").write_text(LOG.key.vkey + "\n", "utf-8")
    bundle, pins, key = (str(tmp_path / name) for name in ("bundle.jsonl", "pins", "key"))
    assert offline.main([bundle, "--key", key, "--pin", pins]) == 0
    said = capsys.readouterr().out
    assert said.startswith("verify: OK\nproved:\n  - 15 entries of 3 chains")
    assert max(map(len, said.splitlines())) <= 80
    assert offline.main([bundle, "--key", LOG.key.vkey]) == 5
    assert offline.main([bundle, "--key", LOG.key.vkey, "--pin", pins, "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))["outcome"] == "ok"
    assert offline.main([bundle + ".not", "--key", key]) == 2
    assert offline.main([bundle, "--key", key, "--pin", pins + ".not"]) == 2
    assert offline.main([key, "--key", key]) == 2
