# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the guard: what takes the place of a primary model that fails, and when."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.serving.guard import GuardSettings
from ad_compressed_perception.serving.ladder import LadderSettings

AUTOMATIC = -1.0
_LEAST_S = 0.25
"""Longer than what frames take on a computer that other programs keep busy."""
_UNKNOWN_S = 0.5
_FIRST_S = 1.0
"""As long as no frame has shown how long the model runs."""
_FACTOR = 5.0
_WARM_UPS = 2.0


class GuardOptions(StrictModel):
    """Without fallback_variant, fallback_model and hold_last_ms nothing is guarded."""

    setup_names: ClassVar[tuple[str, ...]] = ("fallback_variant", "fallback_model", "fallback_backend")

    fallback_variant: str = Field(
        "",
        description="variant that answers a frame on which the model fails, loaded beside it; baseline: the "
        "manifest's; empty: none, unless fallback_model is given",
    )
    fallback_model: str = Field("", description="folder of that variant's model.yaml; empty: the same model")
    fallback_backend: str = Field("", description="its runtime; empty: the one the manifest names")
    frame_timeout_ms: float = Field(
        AUTOMATIC,
        ge=AUTOMATIC,
        le=60000.0,
        description="time in work after which a frame is answered by the fallback, and the model that does "
        "not return is replaced; -1: deadline_ms, else two periods of camera_rate_hz, else 500 ms, "
        "but at least 250 ms and five times the model's median time, where there is a fallback or "
        "hold_last_ms; 0: none",
    )
    hold_last_ms: float = Field(
        0.0,
        ge=0.0,
        le=10000.0,
        description="how long the last result is published again, under its own stamp, for frames that no "
        "model answers; 0: not at all",
    )
    guard_level: Literal["auto", "primary", "standby", "hold", "stop"] = Field(
        "auto", description="who answers; auto: the guard decides"
    )
    guard_hysteresis_s: float = Field(
        5.0, ge=0.1, le=3600.0, description="shortest time between two changes of level, seconds"
    )
    guard_probation_frames: int = Field(
        20,
        ge=1,
        le=100000,
        description="good frames in a row, beside the fallback, before the model answers again",
    )
    deadline_ms: float = Field(
        0.0,
        ge=0.0,
        le=1e6,
        description="end-to-end deadline of a result, for /diagnostics and guard_miss_rate; 0: none",
    )
    guard_miss_rate: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="share of results after deadline_ms (lower 95 % bound over 100 frames) above which a "
        "faster fallback answers; 1: none",
    )
    guard_min_agreement: float = Field(
        0.0, ge=0.0, le=1.0, description="agreement with the shadow below which the fallback answers; 0: any"
    )
    guard_on_drift: bool = Field(
        True, description="let the fallback answer while the drift alarm says that the model is worse"
    )
    heartbeat_timeout_s: float = Field(
        0.0,
        ge=0.0,
        le=3600.0,
        description="time without a message on ~/heartbeat after which the fallback answers; 0: any",
    )

    @property
    def has_standby(self) -> bool:
        """Whether a standby is to be loaded."""
        return bool(self.fallback_variant or self.fallback_model)

    @model_validator(mode="after")
    def _together(self) -> GuardOptions:
        if self.fallback_backend and not self.has_standby:
            raise ValueError("fallback_backend needs fallback_variant or fallback_model")
        if self.guard_level == "standby" and not self.has_standby:
            raise ValueError("guard_level standby needs fallback_variant or fallback_model")
        if AUTOMATIC < self.frame_timeout_ms < 0.0:
            raise ValueError("frame_timeout_ms is -1 (chosen), 0 (none) or a time")
        if self.frame_timeout_ms > 0.0 and not (self.has_standby or self.hold_last_ms):
            raise ValueError("frame_timeout_ms needs fallback_variant, fallback_model or hold_last_ms")
        if self.heartbeat_timeout_s and not self.has_standby:
            raise ValueError("heartbeat_timeout_s needs fallback_variant or fallback_model")
        return self

    def settings(self) -> GuardSettings:
        """Return what the guard goes by."""
        ladder = LadderSettings(
            self.guard_hysteresis_s, self.guard_probation_frames, self.hold_last_ms * 1e-3
        )
        return GuardSettings(ladder, self.deadline_ms, self.guard_miss_rate, self.guard_min_agreement)


def chosen_limit_s(
    options: GuardOptions, camera_rate_hz: float, run_ms: float, warmup_ms: float = 0.0
) -> float:
    """Return the time in work after which a frame is given to the fallback, seconds; 0: never.

    Args:
        options: of the guard.
        camera_rate_hz: 0 where it is not known.
        run_ms: median time of the model for a frame; NaN where it is not known.
        warmup_ms: of its runs at loading, three as a rule: what a slow model's first frame is judged by.
    """
    if options.frame_timeout_ms != AUTOMATIC:
        return options.frame_timeout_ms * 1e-3
    if not (options.has_standby or options.hold_last_ms):
        return 0.0
    period_s = 2.0 / camera_rate_hz if camera_rate_hz else _UNKNOWN_S
    first_s = max(_FIRST_S, _WARM_UPS * warmup_ms * 1e-3)
    run_s = first_s if math.isnan(run_ms) else _FACTOR * run_ms * 1e-3
    return max(options.deadline_ms * 1e-3 or period_s, _LEAST_S, run_s)
