# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What all rules of a target have: what breaks it has as consequence, what mends it, and who says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.targets.facts import Fault, GraphFacts

Consequence = Literal["fails", "falls_back", "slower"]
"""The tool refuses the model; the node runs elsewhere or in float; it runs, and costs time."""


class Source(StrictModel):
    """The public document that a rule follows."""

    document: str = Field(min_length=3, description="its name, with the version where it has one")
    section: str = Field(min_length=2, description="the part of it")
    url: str = Field(pattern=r"^https://\S+$", description="where it is")


class Rule(StrictModel, ABC):
    """One rule; its subclasses say what is looked at, and the file of the target with which values."""

    consequence: Consequence = Field(description="what happens to a node that breaks it")
    text: str = Field(min_length=5, description="what is wrong and what follows, for the user")
    mend: str = Field(min_length=3, description="the pass, recipe or verb that mends it, or the way out")
    mend_of: dict[str, str] = Field(default_factory=dict, description="likewise, of single operators")
    source: Source

    @abstractmethod
    def find(self, facts: GraphFacts) -> Iterator[Fault]:
        """Yield every place where a graph breaks the rule."""

    def remedy(self, fault: Fault) -> str:
        """Return what mends a fault."""
        return self.mend_of.get(fault.operator, self.mend)
