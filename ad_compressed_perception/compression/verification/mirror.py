# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Does the baseline see in a mirrored image the mirrored scene? If not, its input may be prepared wrongly.

A model that gets pixels of a wrong scale still varies from frame to frame and is confident.
But what it says no longer depends on the scene alone, so that the result on the mirrored image is not the
mirrored result. Measured on six models (docs/guides/verdict.md): at the right scale 0.67 to 0.94 (objects,
labels), with pixels 255 times as large 0.02 to 0.58. It is a warning, not a verdict: text, a sign with an
arrow, or a road that is always on one side, has no mirror image.
"""

from __future__ import annotations

from ad_compressed_perception.analysis.mirrored import mirrored_frame, mirrored_result
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Trajectory
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.metrics.agreement import Agreement, agreement, pool
from ad_compressed_perception.tasks.pipeline import Pipeline

FRAMES = 8
"""Frames that are mirrored, evenly chosen."""

LIMIT = 0.6
"""Objects and labels: agreement below it is warned of."""

PLANNING_LIMIT = 0.03
"""Paths: symmetry below it is warned of; planners that steer well are between 0.04 and 0.88."""


def mirror_agreement(pipeline: Pipeline, frames: FrameSample) -> float | None:
    """Return how well the results on mirrored images agree with the mirrored results, 0..1.

    F1 of objects, mean IoU of labels, share of equal classes; of paths
    ``1 - sum |k + k'| / sum (|k| + |k'|)``
    with the curvatures k of image and k' of mirrored image.

    Args:
        pipeline: the model.
        frames: of which at most ``FRAMES`` are run.

    Returns:
        None where nothing could be compared: no object, no curve, no result.

    Raises:
        AdcpError: a frame cannot be read, the runtime failed.
    """
    if pipeline.task.name == RAW:  # what a mirrored output would be is not known
        return None
    pooled: Agreement | None = None
    sums, sizes = 0.0, 0.0
    step = max(1, len(frames) // FRAMES)
    for number, frame in enumerate(frames):
        if number % step or number // step >= FRAMES:
            continue
        try:
            result = pipeline.run(frame)[0]
            found = mirrored_result(pipeline.run(mirrored_frame(frame))[0], frame.pixels.shape[1])
            if isinstance(result, Trajectory) and isinstance(found, Trajectory):
                sums += abs(result.curvature_per_m - found.curvature_per_m)
                sizes += abs(result.curvature_per_m) + abs(found.curvature_per_m)
            else:
                pooled = pool(pooled, agreement(result, found))
        except (ResultError, DataError):
            continue
    if sizes > 0.0:
        return 1.0 - sums / sizes
    if pooled is None or pooled.score is None:
        return None
    counts = getattr(pooled, "overall", None)
    if counts is not None and counts.matched + counts.missed + counts.extra == 0:
        return None
    return pooled.score


def mirror_warning(pipeline: Pipeline, manifest: Manifest, frames: FrameSample) -> str | None:
    """Return a sentence with the figure where it is below the limit, else None.

    Raises:
        AdcpError: as ``mirror_agreement``.
    """
    found = mirror_agreement(pipeline, frames)
    if found is None or found >= (PLANNING_LIMIT if manifest.task == "planning" else LIMIT):
        return None
    spec = manifest.input
    return (
        f"warning: on mirrored images the baseline's results agree with its mirrored results by {found:.2f} "
        f"only; does the manifest's input fit the model (scale {spec.scale:.4g}, color order {spec.color}, "
        f"mean {spec.mean}, std {spec.std}, size {spec.width}x{spec.height})?"
    )
