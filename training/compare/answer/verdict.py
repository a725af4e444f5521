"""The verdict on a claim: supported, refuted or undecided."""

from dataclasses import dataclass
from typing import Literal

Decision = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """The decision of a rule on a claim, with the numbers that it rests on.

    Attributes:
        claim: in one sentence.
        about: the method or the variant that it is judged for; "" for the claim as a whole.
        decision: of the rule.
        sentence: the numbers.
    """

    claim: str
    about: str
    decision: Decision
    sentence: str
