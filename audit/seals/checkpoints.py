"""Signed checkpoints of the tree: what a C2SP tlog-checkpoint says, in a C2SP signed note with Ed25519 signatures.

Both formats are those of https://c2sp.org/tlog-checkpoint and https://c2sp.org/signed-note, so that tools of the
transparency-log family read them, too.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from langgraph_control.audit.seals.signers import ED25519, Signer, key_hash

__all__ = ["Checkpoint", "NotACheckpointError", "SignedCheckpoint", "VerifierKey", "endorsement", "sign"]

NOTE_BYTES_MAX: Final = 16_384
SIGNATURES_MAX: Final = 16
SIGNATURE_BYTES: Final = 68
"""The key's hash and an Ed25519 signature; other kinds are longer, and one that is shorter was cut."""

NAME: Final = re.compile(r"[!-*,-~]+")
"""A key's name or an origin: printable ASCII without blanks and without the plus sign, at which keys are split."""

_NOTE: Final = re.compile(
    r"(?P<text>(?P<origin>[!-*,-~]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n)\n"
    r"(?P<signatures>(?:— [!-*,-~]+ [A-Za-z0-9+/]+=*\n)+)"
)


class NotACheckpointError(ValueError):
    """The text is no signed checkpoint, or the key no verifier key; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What the tree was at a moment.

    Args:
        origin: the tree's name.
        size: in leaves.
        root: its root hash, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key and its name.

    Args:
        name: as signatures give it.
        public: of Ed25519, 32 bytes.
    """

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``NAME+HASH+BASE64`` says.

        Args:
            text: as :meth:`__str__` writes it.

        Raises:
            NotACheckpointError: it is no such key.
        """
        name, plus, rest = text.strip().partition("+")
        digits, _, encoded = rest.partition("+")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not plus or not NAME.fullmatch(name) or key[:1] != ED25519 or len(key) != 33:  # noqa: PLR2004 - one byte more
            raise NotACheckpointError("no verifier key: it has the form NAME+HASH+BASE64, of Ed25519")
        if digits != key_hash(name, key[1:]).hex():
            raise NotACheckpointError("no verifier key: its hash is not that of its name and key")
        return cls(name=name, public=key[1:])

    def __str__(self) -> str:
        """Return the key as people pass it on."""
        encoded = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{key_hash(self.name, self.public).hex()}+{encoded}"


def endorsement(key: VerifierKey) -> bytes:
    """Return what a key signs to say which one comes after it. It reads like no checkpoint: the second line is no size.

    Args:
        key: the one that comes after it.
    """
    return f"langgraph-control/next-key/v1\n{key}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint with its signatures.

    Args:
        checkpoint: what is signed.
        signatures: the signer's name, the hash of its key, and the signature, each.
    """

    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, note: str) -> Self:
        """Return what a note says; whether it is signed with a key that counts is for :meth:`signed_by`.

        Args:
            note: the whole text.

        Raises:
            NotACheckpointError: it is no signed checkpoint, to the letter.
        """
        if len(note) > NOTE_BYTES_MAX or (found := _NOTE.fullmatch(note)) is None:
            raise NotACheckpointError("no signed checkpoint")
        lines = found["signatures"].splitlines()
        if len(lines) > SIGNATURES_MAX:
            raise NotACheckpointError(f"a checkpoint with more than {SIGNATURES_MAX} signatures")
        signatures = tuple(_signature(line) for line in lines)
        root, size = base64.b64decode(found["root"]), int(found["size"])
        checkpoint = Checkpoint(origin=found["origin"], size=size, root=root)
        if checkpoint.text() != found["text"]:  # base64 has more than one way to end
            raise NotACheckpointError("a checkpoint whose root is not written in the one right way")
        return cls(checkpoint=checkpoint, signatures=signatures)

    def signed_by(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Return those of the keys that signed it. Signatures by others are passed over.

        Args:
            keys: the keys that count.

        Raises:
            NotACheckpointError: a signature says that it is by one of the keys and is not.
        """
        signed = self.checkpoint.text().encode()
        found: list[VerifierKey] = []
        for key in keys:
            for name, hashed, signature in self.signatures:
                if (name, hashed) != (key.name, key_hash(key.name, key.public)):
                    continue
                try:
                    Ed25519PublicKey.from_public_bytes(key.public).verify(signature, signed)
                except InvalidSignature:
                    raise NotACheckpointError(f"a checkpoint with a wrong signature by {name}") from None
                if key not in found:
                    found.append(key)
        return tuple(found)


def sign(checkpoint: Checkpoint, signers: Sequence[Signer]) -> str:
    """Return a checkpoint as a note signed by each signer.

    Args:
        checkpoint: what is signed.
        signers: at least one.
    """
    text = checkpoint.text()
    lines = []
    for signer in signers:
        signature = key_hash(signer.name(), signer.public_key()) + signer.sign(text.encode())
        lines.append(f"— {signer.name()} {base64.b64encode(signature).decode()}\n")
    return text + "\n" + "".join(lines)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    _, name, encoded = line.split(" ")
    try:
        both = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        both = b""
    if len(both) < SIGNATURE_BYTES or base64.b64encode(both).decode() != encoded:
        raise NotACheckpointError("a checkpoint with a signature that is none")
    return name, both[:4], both[4:]
