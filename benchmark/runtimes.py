# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a model's baseline for ExecuTorch, PyTorch and LiteRT, and compares with ONNX Runtime fp32.

    python benchmark/runtimes.py FRAMES MODEL... [--verify 40] [--calibrate 32] [--out FILE.json]

One row a file: agreement (detection: F1, segmentation: share of equal pixels, planning: largest difference of
the steering output, rad, or of all outputs where it has none), speed as the ratio of processor times of one
thread, baseline and file interleaved on the same frames, integer coverage and size. What cannot be written
says why.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.compress import choose_samples
from ad_compressed_perception.compression.pass_runner import Samples, run_passes
from ad_compressed_perception.compression.passes.export.executorch import write_executorch
from ad_compressed_perception.compression.passes.export.litert import write_litert
from ad_compressed_perception.compression.passes.export.torch_program import write_torch
from ad_compressed_perception.compression.recipe import load_recipe
from ad_compressed_perception.compression.verification.task_scores import create_score
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.progress import no_progress
from ad_compressed_perception.core.results import LabelMask
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.tasks.prepare import Preparer

CELLS = (
    ("executorch", "fp32", ".pte", {}),
    ("executorch", "int8", ".pte", {}),
    ("torch", "fp32", ".pt2", {}),
    ("torch", "bf16", ".pt2", {"precision": "bf16"}),
    ("litert", "fp32", ".tflite", {}),
    ("litert", "int8", ".tflite", {}),
)
WRITERS = {"executorch": write_executorch, "litert": write_litert}


def main() -> int:
    """Measure all models; return 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frames", help="BAG, BAG:TOPIC or a folder of images")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--verify", type=int, default=40)
    parser.add_argument("--calibrate", type=int, default=32)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for folder in given.models:
        for row in measured(load_manifest(folder), given.frames, given.calibrate, given.verify):
            rows.append({"model": folder.name, **row})
            print(json.dumps(rows[-1]), flush=True)
            if given.out is not None:
                given.out.write_text(json.dumps(rows, indent=1))
    return 0


def measured(manifest: Manifest, frames: str, calibrate: int, verify: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each runtime and precision."""
    recipe = copy(load_recipe("optimize"))
    terms = recipe.recipe.verify.model_copy(update={"frames": verify})
    recipe.recipe = recipe.recipe.model_copy(update={"verify": terms})
    samples = choose_samples(recipe, frames, calibrate)
    baseline = open_pipeline(manifest, options={"threads": 1})
    (name,) = (spec.name for spec in baseline.session.info.inputs)
    with tempfile.TemporaryDirectory(prefix="adcp-runtimes-") as scratch:
        work = Path(scratch)
        _, model, changed = run_passes(
            read_model(manifest.checked_path(manifest.baseline)), recipe, manifest, samples, read_host(),
            work, work / "checkpoints", no_progress,
        )  # fmt: skip
        for backend, precision, suffix, options in CELLS:
            row = {"backend": backend, "precision": precision}
            path = work / f"{backend}_{precision}{suffix}"
            try:
                if backend == "torch":
                    write_torch(model, path)
                else:
                    WRITERS[backend](model, path, precision, feeds(samples, changed, name))  # type: ignore[arg-type]
                session = create_backend(backend).load(path, {"threads": 1, **options})
                variant = Pipeline(create_task(changed), session, precision)
                yield {
                    **row,
                    "mb": path.stat().st_size / 1e6,
                    **compared(manifest, baseline, variant, samples),
                }
                variant.close()
            except AdcpError as error:
                yield {**row, "error": str(error)}
    baseline.close()


def feeds(samples: Samples, manifest: Manifest, name: str) -> Iterator[Feeds]:
    """Yield the calibration frames as inputs."""
    prepare = Preparer(manifest.input)
    for frame in samples.calibration:
        yield {name: prepare(frame)[0].copy()}


def compared(manifest: Manifest, baseline: Pipeline, variant: Pipeline, samples: Samples) -> dict[str, Any]:
    """Return agreement and the ratio of processor times over the verification frames."""
    score = create_score(manifest, load_recipe("optimize").recipe.verify)
    steering = dict(manifest.output.options).get("steering_output")
    times: list[list[float]] = [[], []]
    equal, differences = [], []
    for index, frame in enumerate(samples.verification):
        outputs: list[Any] = [None, None]
        results: list[Any] = [None, None]
        for which in ((0, 1), (1, 0))[index % 2]:
            pipeline = (baseline, variant)[which]
            given, geometry = pipeline.task.prepare(frame)
            start = process_time()
            outputs[which] = pipeline.session.infer(given)
            times[which].append(process_time() - start)
            results[which] = score.decode(pipeline.task, outputs[which], geometry)
        score.add(*results)
        names = [steering] if steering else list(outputs[0])
        differences.append(max(float(np.abs(outputs[0][n] - outputs[1][n]).max()) for n in names))
        if isinstance(results[0], LabelMask):
            equal.append(float((results[0].label_ids == results[1].label_ids).mean()))
    info = variant.session.info
    return {
        "agreement": float(np.mean(equal)) if equal else score.figures().score,
        "informative_frames": score.figures().informative_frames,
        "largest_difference": max(differences),
        "speed": float(np.median(times[0]) / np.median(times[1])),
        "baseline_ms": float(np.median(times[0]) * 1e3),
        "precision_run": info.precision,
        "integer_coverage": info.integer_coverage,
        "load_ms": info.load_ms,
    }


if __name__ == "__main__":
    sys.exit(main())
