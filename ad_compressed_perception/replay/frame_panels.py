# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One frame with the results of a task's variants side by side, for the recording of a replay."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Result, Trajectory
from ad_compressed_perception.core.timing import FrameTiming
from ad_compressed_perception.image.encode import encode_jpeg
from ad_compressed_perception.replay.plan import ReplayPlan
from ad_compressed_perception.report.panels import Panel, side_by_side, with_steering
from ad_compressed_perception.report.series import AGREEMENT_AXES, AgreementAxis
from ad_compressed_perception.tasks import create_task

_PANEL_WIDTH = 400
_QUALITY = 80


def add_steering(result: Result, manifest: Manifest) -> Result:
    """Return a path with the steering-wheel angle of its model; other results as they are."""
    if not isinstance(result, Trajectory):
        return result
    settings = create_task(manifest).settings
    return with_steering(result, settings.steering_ratio, settings.wheelbase_m)


def agreement_texts(axis: AgreementAxis, agreements: Mapping[str, float]) -> list[str]:
    """Return each compared variant's agreement on a frame, such as ``int8: F1 0.800``."""
    unit = axis.unit.split(",")[0]
    return [f"{name}: {unit} {value:.3f}" for name, value in agreements.items() if math.isfinite(value)]


def frame_jpeg(
    plan: ReplayPlan,
    task: str,
    bgr: NDArray[np.uint8],
    results: Mapping[str, Result],
    timings: Mapping[str, FrameTiming],
    agreements: Mapping[str, float],
) -> bytes:
    """Return a JPEG of the frame once for each variant, its result drawn on it.

    Args:
        plan: the nodes.
        task: of the results.
        bgr: (H, W, 3) uint8 frame.
        results: variant's name to result, the baseline first.
        timings: variant's name to timing.
        agreements: compared variant's name to its agreement.

    Raises:
        DataError: a mask that is not of the frame's size.
    """
    panels = []
    for name, result in results.items():
        infer_ms = timings[name].stages_ms.get("infer") if name in timings else None
        details = "" if infer_ms is None else f"infer {infer_ms:.1f} ms"
        panels.append(Panel(add_steering(result, plan.manifest(task, name)), name, details))
    headline = " | ".join([task, *agreement_texts(AGREEMENT_AXES[task], agreements)])
    return encode_jpeg(side_by_side(bgr, panels, headline=headline, panel_width=_PANEL_WIDTH), _QUALITY)
