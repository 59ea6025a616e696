# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency of a variant's plans: none, fixed, or as measured on this host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np

from ad_compressed_perception.analysis.paired_rounds import interleaved_order
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline

MEASURED = "measured"
EXPERT = "expert"
MAX_MS = 10_000.0
_WARM_UP = 5

Latency = tuple[float, ...]
"""Milliseconds from which the latency of each plan is drawn; one value is a fixed latency, empty is zero."""


def parse_latency(text: str, variants: Sequence[str]) -> dict[str, Latency] | None:
    """Read ``measured``, ``none``, ``MS`` or ``VARIANT=MS,...``; None means measured.

    The reference driver ``expert`` has no latency unless it is named.

    Raises:
        DataError: any other text, a negative time, an unknown or a missing variant.
    """
    stripped = text.strip()
    if stripped == MEASURED:
        return None
    if stripped == "none":
        return dict.fromkeys(variants, ())
    if "=" not in stripped:
        fixed = (_milliseconds(stripped, text),)
        return {name: () if name == EXPERT else fixed for name in variants}
    pairs = [part.partition("=") for part in stripped.split(",") if part.strip()]
    times: dict[str, Latency] = {name.strip(): (_milliseconds(value, text),) for name, _, value in pairs}
    unknown = [name for name in times if name not in variants]
    if unknown:
        raise DataError(f"latency names {unknown[0]!r}, which is not driven; driven: {', '.join(variants)}")
    missing = [name for name in variants if name not in times and name != EXPERT]
    if missing:
        raise DataError(f"latency {text} leaves out {missing[0]!r}: add {missing[0]}=MS")
    return {name: times.get(name, ()) for name in variants}


def _milliseconds(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0.0 <= number <= MAX_MS:
        raise DataError(
            f"cannot read latency {text!r}: write measured, none, milliseconds (0 to {MAX_MS:.0f}) "
            "or VARIANT=MS,..."
        )
    return number


def draw_latency(latency_ms: Latency, seed: int) -> Callable[[], float]:
    """Return a function that draws seconds; the same seed draws the same quantiles for every variant."""
    if not latency_ms:
        return lambda: 0.0
    rng = np.random.default_rng([seed, 0x1A7])
    ordered = np.sort(np.asarray(latency_ms, np.float64))
    return lambda: float(np.quantile(ordered, rng.random())) * 1e-3


def measure_latency(
    manifest: Manifest,
    variants: Sequence[str],
    frames: Sequence[Frame],
    *,
    rounds: int = 100,
    advance: Advance | None = None,
) -> dict[str, Latency]:
    """Time every variant end to end (prepare, infer, post), interleaved and one at a time.

    Args:
        manifest: holds the variants.
        variants: names; the reference driver has no latency.
        frames: camera images, used in rotation.
        rounds: number of timed runs per variant.
        advance: called with the rounds done and the total.

    Returns:
        Variant to ``rounds`` values in milliseconds.

    Raises:
        AdcpError: a variant that cannot be loaded or fails.
    """
    models = [name for name in variants if name != EXPERT]
    times: dict[str, list[float]] = {name: [] for name in models}
    with ExitStack() as stack:
        pipelines = []
        for name in models:
            pipelines.append(open_pipeline(manifest, name, task="planning", allow_rejected=True))
            stack.callback(pipelines[-1].close)
        for round_index in range(-_WARM_UP, rounds if models else 0):
            for index in interleaved_order(len(models), round_index % (2 * len(models))):
                _, stages_ms = pipelines[index].run(frames[round_index % len(frames)])
                if round_index >= 0:
                    times[models[index]].append(sum(stages_ms.values()))
            if advance is not None and round_index >= 0:
                advance(round_index + 1, rounds)
    return {name: tuple(round(ms, 4) for ms in times.get(name, ())) for name in variants}
