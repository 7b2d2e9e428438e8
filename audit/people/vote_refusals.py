"""Why a person's word on a request does not count: what each stable word means, and what to do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["REFUSALS"]

REFUSALS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "closed": ("The request is closed already.", "Look at it again; somebody else decided, or it was replaced."),
        "expired": ("The request has expired.", "Have the agent ask again, if the change is still wanted."),
        "unknown_person": (
            "This login belongs to no person in any of the policy's roles.",
            "Map the login to a person (langgraph-control login add) or add the person to the policy and publish it.",
        ),
        "is_requester": ("Whoever asked for a change does not approve it.", "Ask a colleague with the role."),
        "not_in_role": ("The voter has none of the roles that this request asks for.", "Ask somebody who has."),
        "already_voted": ("This person has voted on the request already.", "Another person has to say yes."),
        "comment_missing": ("The policy asks for a comment with this vote.", "Say why, with --comment or comment=."),
        "is_editor": ("Whoever changed the arguments does not approve them.", "Ask a colleague with the role."),
        "approved_before": (
            "Whoever approved another change of this run does not approve this one.",
            "Ask another person with the role.",
        ),
        "no_break_glass": (
            "The policy lets nobody decide this alone.",
            "Have the people vote whom the request asks for; the policy's break_glass says who may do without.",
        ),
        "has_begun": ("It has begun: its arguments stand.", "Wait for its outcome."),
        "used": ("It was done with this vote.", "Have it taken back by the system's own means, or by a saga's undo."),
        "no_vote": ("This person has said yes to nothing here.", "Look at the request's votes."),
        "broke_glass": ("Whoever decided alone does not review that.", "Have somebody else of the role look at it."),
        "nothing_to_review": (
            "Nobody decided this alone, so there is nothing to look at afterwards.",
            "See what there is: langgraph-control reviews.",
        ),
        "unknown_role": (
            "The policy has no role of that name.",
            "Write it as the policy does, or name none for all of your own.",
        ),
        "not_your_role": (
            "Nobody lets others vote in a role that they do not have.",
            "Name one of your own roles, or none for all of them.",
        ),
        "to_yourself": ("A delegation to oneself changes nothing.", "Name another person."),
        "over_already": ("That delegation would be over before it begins.", "Name a later end."),
        "too_long": ("A delegation lasts a year at most.", "Name an earlier end, and give it again then."),
        "unknown_delegation": ("There is no such delegation.", "Take its name from the list."),
        "not_yours": ("Only who gave a delegation, or an admin, ends it.", "Ask one of them."),
        "unknown_request": ("There is no such request for this login's tenant.", "Take the name from the inbox."),
        "nobody_in_particular": (
            "This login belongs to nobody in particular, so there is nobody whose requests these would be.",
            "Say who: --as PERSON; or sign in, with --auth.",
        ),
        "not_yourself": (
            "This login may not vote as somebody else.",
            "Leave out --as; it works with Control.local's logins only.",
        ),
    }
)
"""Why a vote was refused, by the stable word the record has: what it means, and what to do."""
