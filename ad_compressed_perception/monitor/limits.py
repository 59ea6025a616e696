# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The limits that a running variant is watched by: parameters, else those of its own accept gate."""

from __future__ import annotations

from pydantic import Field

from ad_compressed_perception.monitor.frame_health import HealthLimits
from ad_compressed_perception.monitor.gate import Gate, ModelInfo
from ad_compressed_perception.report.schemas.pairs import LimitsReport

_DEFAULT = "default"


class WatchLimits(HealthLimits):
    """Limits of a task, as parameters of the monitor; ``limits_of`` says what hold for a variant."""

    min_agreement: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="least agreement with the baseline, 0..1; 0: that of the variant's gate",
    )
    max_p99_ms: float = Field(
        0.0,
        ge=0.0,
        le=1e9,
        description="largest end-to-end 99th percentile, ms; 0: that of the variant's gate (WARN only), "
        "where it has one",
    )
    max_deadline_miss_share: float = Field(
        0.1, ge=0.0, le=1.0, description="largest share of results after the deadline; 1: any"
    )
    max_fallback_share: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="largest share of results that a standby made or that are of an earlier frame; WARN "
        "wherever there are some, ERROR above",
    )
    min_compared_share: float = Field(
        0.2, ge=0.0, le=1.0, description="least share of the frames that form pairs; WARN below; 0: any"
    )
    warn_margin: float = Field(
        0.1, ge=0.0, le=1.0, description="share of the way to a limit before it, from which on it is a WARN"
    )
    min_pairs: int = Field(
        20, ge=1, le=4096, description="informative pairs, and results, below which a figure raises no alarm"
    )


def limits_of(
    options: WatchLimits, info: ModelInfo | None, window_s: float, *, is_baseline: bool
) -> LimitsReport:
    """Return the limits in force for a variant, and where each comes from.

    Args:
        options: the task's parameters.
        info: what the node published about its model; None before.
        window_s: in which they are checked.
        is_baseline: it is what others are compared with, so that agreement is none of its limits.
    """
    sources: dict[str, str] = {}
    gate = info.gate if info else None
    whose = f"gate of {info.model}/{info.variant}" if info else ""
    found = LimitsReport(
        max_deadline_miss_share=options.max_deadline_miss_share,
        max_dropped_share=options.max_dropped_share,
        max_fallback_share=options.max_fallback_share,
        window_s=window_s,
        min_pairs=options.min_pairs,
        sources=sources,
    )
    always = ("max_deadline_miss_share", "max_dropped_share", "max_fallback_share")
    sources |= dict.fromkeys(always, "parameter")
    if options.max_p99_ms:
        found.max_p99_ms, sources["max_p99_ms"] = options.max_p99_ms, "parameter"
    elif gate is not None and gate.max_p99_ms is not None:
        found.max_p99_ms, found.timed, sources["max_p99_ms"] = gate.max_p99_ms, gate.timed, whose
    if not is_baseline:
        found.min_compared_share, sources["min_compared_share"] = options.min_compared_share, "parameter"
        if options.min_agreement:
            found.min_agreement, sources["min_agreement"] = options.min_agreement, "parameter"
        elif gate is not None:
            found.min_agreement, sources["min_agreement"] = gate.min_agreement, whose
        else:
            why = info.gate_problem or "it has no recipe" if info else "its node published nothing about it"
            found.min_agreement = Gate().min_agreement
            sources["min_agreement"] = f"{_DEFAULT} of a gate, for that of the variant is unknown: {why}"
    found.sources = sources
    return found


def of_pairs_only(limits: LimitsReport) -> LimitsReport:
    """Return the limits of a head: times and frames are watched once, for its whole model."""
    names = ("min_agreement", "min_compared_share")
    return LimitsReport(
        min_agreement=limits.min_agreement,
        min_compared_share=limits.min_compared_share,
        window_s=limits.window_s,
        min_pairs=limits.min_pairs,
        sources={name: text for name, text in limits.sources.items() if name in names},
    )
