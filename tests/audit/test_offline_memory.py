"""What the offline verifier keeps of a bundle, measured in a process of its own, with very many lines of each kind."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest

from langgraph_control.audit.bundles import offline
from langgraph_control.audit.seals import tree
from tests.support.bundles import ORIGIN, SigningKey

TENANT = "default"
KEY = SigningKey()
CHAIN = UUID(int=7)
OWN = offline.tenant_chain(TENANT)
MEASURED = """
import sys
import offline
offline.main(["-", "--key", sys.argv[1]])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""
STATUS = Path("/proc/self/status")
pytestmark = [
    pytest.mark.skipif(not STATUS.exists(), reason="measures what a process took as Linux tells it"),
    pytest.mark.timeout(120),
]

Lines = Iterator[Mapping[str, object]]


def line(record: Mapping[str, object]) -> bytes:
    """A line as the exporter writes it."""
    return (json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n").encode()


def measured(lines: Lines, *, signed: bool = True) -> tuple[int, str]:
    """Verify a bundle that goes on with these lines; return the most memory it took, in bytes, and what was printed."""
    verifier = subprocess.Popen(
        [sys.executable, "-c", MEASURED, KEY.vkey],
        cwd=Path(offline.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert verifier.stdin is not None
    assert verifier.stdout is not None
    try:
        with verifier.stdin as bundle:
            bundle.write(line(HEADER))
            if signed:
                bundle.write(line({"checkpoint": {"consistency": [], "note": KEY.note(1 << 24, bytes(32))}}))
            for record in lines:
                bundle.write(line(record))
    except BrokenPipeError:
        pass  # it has seen enough
    with verifier.stdout as printed:
        said = printed.read().decode()
    assert verifier.wait() == 0
    return int(said.splitlines()[-1]) * 1024, " ".join(said.split())


HEADER: dict[str, object] = {
    "bundle": 1,
    "leaves": True,
    "made_at": 0,
    "made_by": "0.1.0",
    "origin": ORIGIN,
    "payloads": False,
    "scope": "all",
    "since": None,
    "tenant": TENANT,
}


@cache
def at_rest() -> int:
    """What it takes for a bundle of which nothing is to be kept."""
    return measured(iter(()))[0]


def run(chain: UUID) -> dict[str, object]:
    """A chain begins."""
    return {"run": {"after": 0, "id": str(chain), "previous": "0" * 64}}


def chained(chain: UUID, contents: Iterator[tuple[str, str]]) -> Lines:
    """A chain with entries of these facts and bodies."""
    yield run(chain)
    prefix, previous = offline.chain_prefix(TENANT, chain), bytes(32)
    for seq, (facts, body) in enumerate(contents, start=1):
        previous = offline.entry_hash(
            prefix, seq=seq, previous=previous, facts=facts.encode(), commitment=b"", body=body.encode()
        )
        entry = {"body": body, "commitment": None, "facts": facts, "hash": previous.hex(), "payload": None}
        yield {"entry": {**entry, "salt": None, "seq": seq}}


def digest(number: int) -> str:
    """Any hash."""
    return hashlib.sha256(b"%d" % number).hexdigest()


# --- Of what there may be many ---


def dropped(count: int) -> Lines:
    """Chains that retention cut, all in one month."""
    return ({"dropped": [1, str(UUID(int=number)), 1, digest(number)]} for number in range(count))


def runs(count: int) -> Lines:
    """Chains of one entry each."""
    for number in range(count):
        yield from chained(UUID(int=number), iter([('{"at":1,"events":["run.started"]}', "{}")]))


def entries(count: int) -> Lines:
    """Entries of one chain."""
    return chained(CHAIN, ((f'{{"at":{number},"events":["x"]}}', "{}") for number in range(count)))


def entries_after_retention(count: int) -> Lines:
    """Entries of one chain, another month each, where something was dropped."""
    yield from dropped(1)
    month = 31 * 86400 * 1_000_000
    yield from chained(CHAIN, ((f'{{"at":{number % 9000 * month},"events":[]}}', "{}") for number in range(count)))


def heads(count: int) -> Lines:
    """Leaves about one chain."""
    yield run(CHAIN)
    for number in range(count):
        yield {"head": {"head": digest(number), "index": number, "proof": None, "seq": number + 1}}


def leaves(count: int) -> Lines:
    """Leaves about other chains."""
    return ({"leaf": [number, str(UUID(int=number)), 1, digest(number)]} for number in range(count))


def policies(count: int) -> Lines:
    """Policies that entries name, and their texts."""
    texts = [f"version: 1\n# {number}\n" for number in range(count)]
    named = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    yield from chained(CHAIN, (("{}", f'{{"policy":"{one}"}}') for one in named))
    yield from ({"policy": {"hash": one, "text": text}} for one, text in zip(named, texts, strict=True))


def rotations(count: int) -> Lines:
    """Keys that entries name, under long names."""
    fact = {"events": ["key.rotated"], "name": "k" * 500}
    return chained(OWN, ((json.dumps({**fact, "public": digest(number)}), "{}") for number in range(count)))


def retentions(count: int) -> Lines:
    """Months that entries say were dropped, by persons of long names."""
    fact = {"at": 1, "chains": 1, "entries": 1, "events": ["entries.dropped"], "month": "2" * 9_000, "runs": 1}
    said = ({**fact, "heads": digest(number), "person": f"{number}" * 9_000} for number in range(count))
    return chained(OWN, ((json.dumps(one), "{}") for one in said))


@pytest.mark.parametrize(
    ("lines", "count", "bytes_each"),
    [
        pytest.param(dropped, 100_000, 64, id="dropped"),
        pytest.param(runs, 100_000, 16, id="run"),
        pytest.param(entries, 100_000, 0, id="entry"),
        pytest.param(entries_after_retention, 50_000, 0, id="entry after retention"),
        pytest.param(heads, 100_000, 32 + 48, id="head"),
        pytest.param(leaves, 100_000, 32, id="leaf"),
        pytest.param(policies, 20_000, 250, id="policy"),
        pytest.param(rotations, 900, 2_000, id="key that an entry names"),
        pytest.param(retentions, 2_000, 2_000, id="month that an entry names"),
    ],
)
def test_what_is_kept_of_each_line_is_what_is_said(lines: Callable[[int], Lines], count: int, bytes_each: int) -> None:
    """However many lines there are of a kind, what is kept of each is no more than the verifier's first page says."""
    took, said = measured(lines(count))
    assert "ends after line" in said, said  # it was read to its end, which is missing
    assert took - at_rest() < bytes_each * count * 1.25 + 3_000_000


# --- Of what there are few: what would be too many is refused before it is kept ---


def keys(count: int) -> Lines:
    """Keys that the log is said to have had."""
    for number in range(count):
        public = bytes.fromhex(digest(number))
        hashed = offline.key_hash_of(ORIGIN, public).hex()
        encoded = base64.b64encode(b"\x01" + public).decode()
        yield {"key": {"endorsed": None, "vkey": f"{ORIGIN}+{hashed}+{encoded}"}}


def checkpoints(count: int) -> Lines:
    """Checkpoints of a tree that grew by a leaf each time, as long as a note may be by signatures of others."""
    size = count

    @cache
    def node(level: int, index: int) -> bytes:
        if level == 0:
            return bytes.fromhex(digest(index))
        return tree.node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    grown, roots = tree.CompactRange(), list[bytes]()
    for index in range(size):
        grown = grown.append(node(0, index))
        roots.append(grown.root())
    others = "".join(f"\u2014 {'x' * 400}{number} {'A' * 500}\n" for number in range(15))
    for at in range(size, 0, -1):
        proof = [] if at == size else [one.hex() for one in tree.consistency_proof(at, size, node)]
        yield {"checkpoint": {"consistency": proof, "note": KEY.note(at, roots[at - 1]) + others}}


def months(count: int) -> Lines:
    """One chain, said to be cut by one entry of the tenant's own chain after the other."""
    return ({"dropped": [number, str(CHAIN), number, "0" * 64]} for number in range(1, count + 1))


@pytest.mark.parametrize(
    ("lines", "signed", "most", "said"),
    [
        pytest.param(keys(2_000), False, 2_000_000, "there are more than 1000 keys", id="key"),
        pytest.param(checkpoints(1_200), False, 4_000_000, "there are more than 1000 checkpoints", id="checkpoint"),
        pytest.param(
            months(500_000), True, 12_000_000, "there are more than 10000 months that were dropped", id="dropped"
        ),
        pytest.param(rotations(2_000), True, 4_000_000, "there are more than 1000 keys that entries", id="rotation"),
        pytest.param(dropped(10), False, 500_000, "what was dropped is place, chain", id="dropped, nothing signed"),
    ],
)
def test_what_would_be_too_many_is_refused(lines: Lines, signed: bool, most: int, said: str) -> None:  # noqa: FBT001
    """Kinds of which there are few have limits that no log reaches, and little is kept up to them."""
    took, printed = measured(lines, signed=signed)
    assert said in printed
    assert took - at_rest() < most + 2_000_000


def test_a_note_has_few_signatures() -> None:
    """A checkpoint with more signatures than the log ever writes is none."""
    note = KEY.note(1, bytes(32))
    signature = note.splitlines()[-1] + "\n"
    assert len(offline.read_checkpoint(note + signature * 15).signatures) == 16
    with pytest.raises(ValueError, match="more than 16 signatures"):
        offline.read_checkpoint(note + signature * 16)
