# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures acceptance on frames of several sources: ``python benchmark/accept_on_sources.py MODEL SOURCES``.

MODEL is a folder with variants, a SOURCE is as for ``adcp compress --calibration``, or NAME=SOURCE. Each
variant is compared with the baseline on evenly chosen frames and judged by those accept terms of its
shipped recipe that limit agreement; size, time and accuracy are not measured. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ad_compressed_perception.compression.recipe import Recipe, load_recipe
from ad_compressed_perception.compression.verification.finding import Finding
from ad_compressed_perception.compression.verification.gate_parts import check_parts
from ad_compressed_perception.compression.verification.scores import AgreementFigures
from ad_compressed_perception.compression.verification.task_scores import create_score
from ad_compressed_perception.core.errors import AdcpError, ResultError
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0, or 1 after a line with the error."""
    parser = argparse.ArgumentParser(description="Judge variants on frames of several sources.")
    parser.add_argument("model", type=Path)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--frames", type=int, default=60, help="of each source")
    options = parser.parse_args(arguments)
    print(
        "| variant | source | frames | drop (95 % interval) | limit | strict drop | worst label | verdict |"
    )
    print("|---|---|---|---|---|---|---|---|")
    try:
        for named in options.sources:
            name, _, spec = named.rpartition("=")
            _judge(load_manifest(options.model), name or spec, spec, options.frames)
    except AdcpError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _judge(manifest: Manifest, name: str, spec: str, count: int) -> None:
    """Print a row for each variant."""
    source = open_frames(spec)
    places = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int))
    frames = list(source.frames(places.tolist()))
    for variant, entry in manifest.variants.items():
        if variant == manifest.baseline or entry.recipe is None:
            continue
        recipe = load_recipe(entry.recipe).recipe
        found = _compare(manifest, variant, recipe, frames)
        accept = recipe.accept
        low_high = f"{found.drop:.3f} ({found.drop_low:.3f} to {found.drop_high:.3f})"
        worst = max(found.labels, key=lambda one: one.drop, default=None)
        print(
            f"| {manifest.name}, {variant} | {name} | {found.informative_frames} of {found.frames} "
            f"| {low_high} | {accept.max_drop:g} | {1.0 - found.strict_score:.3f} | "
            f"{'' if worst is None else f'{worst.name} {worst.drop:.2f}, limit {accept.label_limit:.2g}'} | "
            f"{_verdict(recipe, found)} |",
            flush=True,
        )


def _compare(manifest: Manifest, variant: str, recipe: Recipe, frames: Sequence[Frame]) -> AgreementFigures:
    score = create_score(manifest, recipe.verify)
    baseline = open_pipeline(manifest)
    compared = open_pipeline(manifest, variant, allow_rejected=True)
    for frame in frames:
        result: Result | None
        try:
            result = score.run(compared, frame)
        except ResultError:
            result = None
        score.add(score.run(baseline, frame), result)
    baseline.close()
    compared.close()
    return score.figures()


def _verdict(recipe: Recipe, found: AgreementFigures) -> str:
    accept = recipe.accept
    parts = check_parts(accept, found.frames, found.labels, (), found.sizes, found.distances)
    kinds = {kind for kind, _ in parts}
    if found.drop_low > accept.max_drop or Finding.FAILED in kinds or found.failed_frames:
        return "rejected"
    too_few = found.informative_frames < accept.min_frames
    if too_few or not found.drop_high <= accept.max_drop or Finding.OPEN in kinds:
        return "inconclusive"
    return "accepted"


if __name__ == "__main__":
    sys.exit(main())
