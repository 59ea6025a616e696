# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of its model: the verdict, and the terms of the accept gate that it was judged by.

The terms travel with the node, so that a monitor on another computer watches by the same limits.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ad_compressed_perception.core.errors import AdcpError, ResultError
from ad_compressed_perception.core.manifest import Manifest, Verdict
from ad_compressed_perception.core.yaml_file import YamlError, parse_yaml
from ad_compressed_perception.pass_api.terms import AcceptSpec, VerifySpec


class Gate(BaseModel):
    """Terms of an accept gate that hold for running nodes, too; defaults are those of the gate itself."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    max_drop: float = Field(AcceptSpec().max_drop, ge=0.0, le=1.0)
    strict_extra: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="by how much the strict figure was lower than the gated one; published results have no "
        "boxes below the threshold, so that only the strict one can be computed from them",
    )
    max_p99_ms: float | None = Field(None, gt=0.0)
    timed: Literal["inference", "end_to_end"] = "inference"
    lateral_tolerance_m: float = Field(VerifySpec().lateral_tolerance_m, gt=0.0)
    lateral_tolerance_per_m: float = Field(VerifySpec().lateral_tolerance_per_m, ge=0.0)
    labels: list[str] | None = None

    @property
    def min_agreement(self) -> float:
        """The least agreement of published results."""
        return max(0.0, 1.0 - self.max_drop - self.strict_extra)


class HeadInfo(BaseModel):
    """What a node states about one head of its model."""

    model_config = ConfigDict(extra="ignore")

    task: str = Field(description="of the head; results of task raw are not published")
    gate: Gate | None = None
    gate_problem: str = ""


class ModelInfo(BaseModel):
    """The message of ``~/model_info``, as JSON; unknown keys of later versions are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str
    variant: str
    task: str
    verdict: Verdict | None = None
    gate: Gate | None = Field(None, description="null where the manifest has no terms, as for a baseline")
    gate_problem: str = Field("", description="why the recipe's terms could not be read")
    every_nth: int = Field(1, ge=1)
    backend: str = Field("", description="runtime; these four are empty from nodes of earlier versions")
    requested_provider: str = Field("", description="device or execution provider asked for")
    provider: str = Field("", description="the one that runs the model")
    precision: str = Field("", description="as executed; unknown where the runtime does not say it")
    heads: dict[str, HeadInfo] = Field(
        default_factory=dict, description="of a model with several: each with its own terms"
    )

    def of_head(self, head: str) -> ModelInfo:
        """Return the information with the terms of one head; a head that it does not name has none."""
        own = self.heads.get(head) or HeadInfo(task="", gate_problem=f"its model has no head {head}")
        return self.model_copy(update={"gate": own.gate, "gate_problem": own.gate_problem})


def gate_of(manifest: Manifest, variant: str, head: str = "") -> Gate | None:
    """Return the terms that a variant (or one head of it) was judged by; None where its manifest has none.

    They are those of its recipe's text, or stand in its provenance where it was judged by others.

    Raises:
        ResultError: the terms in the manifest cannot be read; one line.
    """
    chosen = manifest.variant(variant)
    text = chosen.provenance.get("recipe_text")
    if not isinstance(text, str) and "accept" not in chosen.provenance:
        return None
    try:
        recipe = parse_yaml(text) if isinstance(text, str) else chosen.provenance
        accept = AcceptSpec.model_validate(recipe.get("accept") or {})
        verify = VerifySpec.model_validate(recipe.get("verify") or {})
    except (YamlError, ValidationError, AttributeError, TypeError, AdcpError) as error:
        first = " ".join(str(error).split())[:200]
        raise ResultError(f"terms of {manifest.name}/{variant} in its manifest: {first}") from error
    figures, own = chosen.figures.get("agreement"), (accept.heads or {}).get(head)
    if head:
        figures = (figures.get("heads") or {}).get(head) if isinstance(figures, dict) else None
    return Gate(
        max_drop=accept.max_drop if own is None or own.max_drop is None else own.max_drop,
        strict_extra=_strict_extra(figures),
        max_p99_ms=accept.max_p99_ms,
        timed=accept.timed,
        lateral_tolerance_m=verify.lateral_tolerance_m,
        lateral_tolerance_per_m=verify.lateral_tolerance_per_m,
        labels=verify.labels,
    )


def model_info(manifest: Manifest, variant: str, every_nth: int = 1) -> ModelInfo:
    """Return what a node that runs a variant says of it."""
    gate, problem = _terms(manifest, variant)
    heads = {}
    for head, each in (manifest.outputs or {}).items():
        own, its_problem = _terms(manifest, variant, head)
        heads[head] = HeadInfo(task=each.task, gate=own, gate_problem=its_problem)
    return ModelInfo(
        model=manifest.name,
        variant=variant,
        task=manifest.task,
        verdict=manifest.variant(variant).verdict,
        gate=gate,
        gate_problem=problem,
        every_nth=every_nth,
        heads=heads,
    )


def _terms(manifest: Manifest, variant: str, head: str = "") -> tuple[Gate | None, str]:
    """Return the terms, or why they cannot be read."""
    try:
        return gate_of(manifest, variant, head), ""
    except ResultError as error:
        return None, str(error)


def parse_model_info(text: str) -> ModelInfo:
    """Return the information in a message; raise ResultError where it is none."""
    try:
        return ModelInfo.model_validate_json(text)
    except ValidationError as error:
        raise ResultError(f"not a model's information: {' '.join(str(error).split())[:200]}") from error


def _strict_extra(agreement: Any) -> float:
    """Return by how much the strict agreement was lower when the variant was verified; detection only."""
    if not isinstance(agreement, dict) or not str(agreement.get("measure", "")).startswith("F1"):
        return 0.0
    gated, strict = agreement.get("score"), agreement.get("strict_score")
    if not isinstance(gated, float) or not isinstance(strict, float):
        return 0.0
    return min(1.0, max(0.0, gated - strict))
