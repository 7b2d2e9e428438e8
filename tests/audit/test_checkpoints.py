"""Signed checkpoints are C2SP signed notes: Go's tools read them, and one bit changed anywhere is found."""

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.seals.checkpoints import (
    Checkpoint,
    NotACheckpointError,
    SignedCheckpoint,
    VerifierKey,
    sign,
)
from langgraph_control.audit.seals.signers import key_hash

# Made by golang.org/x/mod/sumdb/note.
ORIGIN = "langgraph-control/0123456789abcdef0123456789abcdef"
GO_SECRET = base64.b64decode("AVCvU6aWL3kgLW3VvFtTJWYLXuHizmjBXrFGmyeSfZW0")[1:]
GO_KEY = f"{ORIGIN}+4d178785+AQkbcW3ILUEsc5hb9GNKg6P4CNSL8ae/dIGgWlS0OuS7"
GO_OTHER_KEY = f"{ORIGIN}-2+66716b69+ARsmyA4OLfV4MBLgENZmr3BeXfXkdNio/jhudMe0uPfd"
GO_NOTE = (
    f"{ORIGIN}\n3\nrraz/idLcKFPsGel5VeCZNsPqbUa9bpQHhWPMp4G53c=\n\n"
    f"— {ORIGIN} TReHhTZv+QerHI+EGgyGvJe7tFeXm4QEqvJES55z2ieC+TmtuDvdhnFAZ1Of1NCBzgLiJGpd63vAq6BL2PKAnUkTjgI=\n"
)


class Signing:
    """A signer whose key is in memory."""

    def __init__(self, name: str, secret: bytes) -> None:
        self._name, self._key = name, Ed25519PrivateKey.from_private_bytes(secret)

    def name(self) -> str:
        """Its name."""
        return self._name

    def public_key(self) -> bytes:
        """Its public key."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """A signature."""
        return self._key.sign(message)

    def verifier(self) -> VerifierKey:
        """Its verifier key."""
        return VerifierKey(name=self._name, public=self.public_key())


GO = Signing(ORIGIN, GO_SECRET)
OTHER = Signing(f"{ORIGIN}/2", bytes(32))


def test_what_go_signs_is_read() -> None:
    """A note and a key made by Go's own tool are read and verified, and signing the same gives the same bytes."""
    key = VerifierKey.parse(GO_KEY)
    found = SignedCheckpoint.parse(GO_NOTE)
    assert found.signed_by([VerifierKey.parse(GO_OTHER_KEY), key]) == (key,)
    assert (found.checkpoint.origin, found.checkpoint.size) == (ORIGIN, 3)
    assert sign(found.checkpoint, [GO]) == GO_NOTE
    assert (str(key), GO.verifier()) == (GO_KEY, key)


def test_signatures_by_others_are_passed_over() -> None:
    """Of two signatures each key finds its own; a note that none of the keys signed is signed by nobody."""
    both = SignedCheckpoint.parse(sign(SignedCheckpoint.parse(GO_NOTE).checkpoint, [OTHER, GO]))
    assert both.signed_by([GO.verifier()]) == (GO.verifier(),)
    assert both.signed_by([OTHER.verifier(), GO.verifier()]) == (OTHER.verifier(), GO.verifier())
    assert both.signed_by([VerifierKey.parse(GO_OTHER_KEY)]) == ()


@given(bit=st.integers(0, 8 * len(GO_NOTE.encode()) - 1))
def test_a_changed_bit_is_found(bit: int) -> None:
    """A note with any bit the other way is refused, or is signed by nobody."""
    number = int.from_bytes(GO_NOTE.encode()) ^ 1 << bit
    try:
        changed = number.to_bytes(len(GO_NOTE.encode())).decode()
        signed = SignedCheckpoint.parse(changed).signed_by([GO.verifier()])
    except (UnicodeDecodeError, NotACheckpointError):
        return
    assert signed == ()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "x",
        GO_NOTE[:-1],
        GO_NOTE + "\n",
        GO_NOTE.replace("\n3\n", "\n03\n"),
        GO_NOTE.replace("\n3\n", "\n-3\n"),
        GO_NOTE.replace("\n3\n", f"\n{10**19}\n"),
        GO_NOTE.replace("53c=", "53d="),  # the same bytes, written otherwise
        GO_NOTE.replace("\n\n", "\nmore\n\n"),
        GO_NOTE.replace("—", "-"),
        GO_NOTE.partition("\n\n")[0] + "\n\n",
        GO_NOTE + GO_NOTE.partition("\n\n")[2] * 16,
        GO_NOTE + f"— {ORIGIN} AAAA\n",
        GO_NOTE + "— " + "x" * 20_000 + " AAAAAAAA\n",
    ],
)
def test_what_is_no_checkpoint(note: str) -> None:
    """Text that is not a signed checkpoint to the letter is refused, however little is wrong with it."""
    with pytest.raises(NotACheckpointError):
        SignedCheckpoint.parse(note)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "a b+4d178785+AQ==",
        GO_KEY[:-4],
        GO_KEY.replace("4d178785", "4d178786"),
        GO_KEY.replace("+AQ", "+Ag"),
    ],
)
def test_what_is_no_key(text: str) -> None:
    """A verifier key with a wrong hash, kind or length is refused."""
    with pytest.raises(NotACheckpointError):
        VerifierKey.parse(text)


def test_a_wrong_signature_by_a_known_key_is_no_stranger() -> None:
    """A note that says it is signed by a key that counts, and is not, is refused, though another signature is right."""
    checkpoint = SignedCheckpoint.parse(GO_NOTE).checkpoint
    false = sign(replace(checkpoint, size=4), [OTHER]).rpartition("\n\n")[2]
    note = sign(checkpoint, [GO]) + false
    with pytest.raises(NotACheckpointError, match="wrong signature"):
        SignedCheckpoint.parse(note).signed_by([GO.verifier(), OTHER.verifier()])


@given(size=st.integers(0, 2**62), root=st.binary(min_size=32, max_size=32), secret=st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_what_is_read(size: int, root: bytes, secret: bytes) -> None:
    """Whatever tree is signed with whatever key, reading gives it back, and the key verifies it."""
    signer = Signing("name", secret)
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=root)
    read = SignedCheckpoint.parse(sign(checkpoint, [signer]))
    assert (read.checkpoint, read.signed_by([signer.verifier()])) == (checkpoint, (signer.verifier(),))
    assert VerifierKey.parse(str(signer.verifier())) == signer.verifier()
    assert read.signatures[0][1] == key_hash("name", signer.public_key())
