"""Whether there are people enough for a quorum: each fills one place, in however many of the roles they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Shortage", "alone_problem", "shortage"]

GROUP: Final = "group:"
"""Begins a member of a role that stands for any number of people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Roles that ask for more people than are in them.

    Args:
        roles: the roles, by name.
        asked: how many people they ask for.
        there: how many are in them.
    """

    roles: tuple[str, ...]
    asked: int
    there: int

    def __str__(self) -> str:
        names = " and ".join(self.roles)
        short = f"{names} has fewer people than the {self.asked} asked for"
        if len(self.roles) > 1:
            are = "is" if self.there == 1 else "are"
            short = (
                f"{names} ask for {self.asked} people, one for each place, and in all of them there {are} {self.there}"
            )
        return f"{short}, so nobody could ever approve; name more people, or ask for fewer"


def shortage(quorum: Mapping[str, int], roles: Mapping[str, Collection[str]]) -> Shortage | None:
    """Return which roles of a quorum cannot be filled by distinct people; None where all can.

    Left out are roles of groups, whose people nobody can count, and roles that are not there.

    Args:
        quorum: role → how many distinct people.
        roles: role → members.
    """
    asked = {role: count for role, count in sorted(quorum.items()) if role in roles and _can_be_counted(roles[role])}
    alone = next((role for role, count in asked.items() if count > len(roles[role])), None)
    if alone is not None:
        return Shortage(roles=(alone,), asked=asked[alone], there=len(roles[alone]))
    seated: dict[str, str] = {}  # person → the role they fill a place of
    for role, count in asked.items():
        for _ in range(count):
            short = _seat_one_more(role, roles, seated)
            if short:
                everybody = {person for one in short for person in roles[one]}
                return Shortage(
                    roles=tuple(sorted(short)), asked=sum(asked[one] for one in short), there=len(everybody)
                )
    return None


def alone_problem(
    alone: str, quorum: Mapping[str, int], roles: Mapping[str, Collection[str]], actors: Collection[str]
) -> str | None:
    """Return why nobody of a role could ever decide alone in an emergency, or nobody review that; None: somebody can.

    Whoever asks neither decides nor reviews, and whoever decided alone does not review: somebody else does, of those
    who would have been asked.

    Args:
        alone: the role of which one person may decide alone.
        quorum: role → people who would have been asked.
        roles: role → members.
        actors: who asks in every request of the rule; empty where that may be anybody.
    """
    if any(not _can_be_counted(roles.get(role, (GROUP,))) for role in (alone, *quorum)):
        return None
    asking = {actor.strip().lower() for actor in actors} if len(actors) == 1 else set()
    deciding = {person.strip().lower() for person in roles[alone]} - asking
    reviewing = {person.strip().lower() for role in quorum for person in roles[role]} - asking
    if not deciding:
        return f"whoever asks is the only one in {alone}, and may not decide that; name more people"
    if all(reviewing <= {person} for person in deciding):
        return (
            f"nobody in {' or '.join(sorted(quorum))} could review what the only one in {alone} decided alone, so the"
            " review would stay open for ever; name more people"
        )
    return None


def _seat_one_more(role: str, roles: Mapping[str, Collection[str]], seated: dict[str, str]) -> list[str]:
    """Fill one more place of a role, moving others to other roles of theirs; return the roles that are short."""
    moved: dict[str, str] = {}  # role → who of it is asked to make room
    wanted: dict[str, str] = {}  # person → the role that wants them
    short = [role]
    for wanting in short:  # grows while it is gone through
        for person in roles[wanting]:
            if person in wanted:
                continue
            wanted[person] = wanting
            if person not in seated:
                _move(person, role, wanted, moved, seated)
                return []
            if seated[person] not in short:
                moved[seated[person]] = person
                short.append(seated[person])
    return short


def _move(person: str, role: str, wanted: dict[str, str], moved: dict[str, str], seated: dict[str, str]) -> None:
    """Seat somebody who is free, and let each of those on the way take the place that wants them."""
    seated[person] = wanted[person]
    while wanted[person] != role:
        person = moved[wanted[person]]
        seated[person] = wanted[person]


def _can_be_counted(members: Collection[str]) -> bool:
    return not any(member.startswith(GROUP) for member in members)
