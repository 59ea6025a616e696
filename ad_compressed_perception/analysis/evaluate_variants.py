# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several variants on the same labeled frames, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from ad_compressed_perception.analysis.evaluate import EvaluationResult, Watch, evaluate, use_settings
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.data.labeled.dataset import LabeledData
from ad_compressed_perception.tasks.pipeline import Pipeline


def evaluate_variants(
    open_variant: Callable[[str], Pipeline],
    names: Sequence[str],
    data: LabeledData,
    indices: Sequence[int],
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    watches: Mapping[str, Watch] | None = None,
) -> list[EvaluationResult]:
    """Return the accuracy of every variant, in the order given; one is in memory at a time.

    Args:
        open_variant: loads one by its name.
        names: of the variants.
        data: labeled frames of their task.
        indices: which of them, ascending.
        settings: of the task, that replace each variant's.
        progress: called with (variant, done, total).
        watches: by variant: called with every frame and its result.

    Raises:
        AdcpError: a variant cannot be loaded or fails, or a frame cannot be read or compared.
    """
    results = []
    for name in names:
        with closing(open_variant(name)) as pipeline:
            use_settings(pipeline, **settings)
            advance, watch = partial(progress, name), (watches or {}).get(name)
            results.append(evaluate(pipeline, data, indices, advance, watch=watch))
    return results
