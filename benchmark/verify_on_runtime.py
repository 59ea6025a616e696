# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Verifies a variant's file on another runtime, and adds it to the model as a variant of its own.

    python benchmark/verify_on_runtime.py models/road_detection int8_openvino_small int8_onnxruntime IMAGES

The file is not stored twice. IMAGES are frames that did not calibrate it. The gate's terms are those of the
recipe that made the file, save for two: a runtime that the file was not made for executes fewer layers in
integers, so it is the speed-up itself that must be reached (``--min-speedup``), and no integer coverage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ad_compressed_perception.analysis.processor import host_record
from ad_compressed_perception.analysis.sizes import measure_both
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.recipe import load_recipe
from ad_compressed_perception.compression.verification.coverage import measure_coverage
from ad_compressed_perception.compression.verification.frame_log import FrameLog
from ad_compressed_perception.compression.verification.gate import decide
from ad_compressed_perception.compression.verification.outcome import gate_figures, manifest_figures
from ad_compressed_perception.compression.verification.task_scores import check_terms, create_score
from ad_compressed_perception.compression.verification.verify import verify
from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.host import read_host, tool_versions
from ad_compressed_perception.core.manifest import Manifest, Variant, load_manifest
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest


def main() -> int:
    """Verify and store; return 0 where the variant was accepted, 3 where it was not, 1 after an error."""
    parser = argparse.ArgumentParser(description="Verify a variant's file on another runtime.")
    parser.add_argument("model", type=Path)
    parser.add_argument("variant", help="whose file it is")
    parser.add_argument("name", help="of the new variant")
    parser.add_argument("images", help="BAG, BAG:TOPIC or a folder of images")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--min-speedup", type=float, default=1.5)
    given = parser.parse_args()
    try:
        manifest = load_manifest(given.model)
        entry = verified(
            manifest, given.variant, given.images, backend=given.backend, min_speedup=given.min_speedup
        )
        save_manifest(
            manifest.model_copy(update={"variants": {**manifest.variants, given.name: entry}}), given.model
        )
    except AdcpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    assert entry.verdict is not None
    print(entry.verdict.status, *entry.verdict.reasons, sep="\n")
    return 0 if entry.verdict.status == "accepted" else 3


def verified(manifest: Manifest, name: str, images: str, *, backend: str, min_speedup: float) -> Variant:
    """Return the entry of a variant's file on another backend, with its verdict."""
    original = manifest.variant(name)
    recipe = load_recipe(original.recipe or name)
    terms = recipe.recipe.accept.model_copy(update={"min_integer_coverage": None, "min_speedup": min_speedup})
    check_terms(manifest, recipe.recipe.verify, terms)
    source = open_frames(images)
    frames = FrameSample(source, list(range(len(source))))
    baseline = open_pipeline(manifest)
    variant = open_pipeline(manifest, name, backend=backend)
    coverage = measure_coverage(variant.session)
    score = create_score(manifest, recipe.recipe.verify)
    found = verify(baseline, variant, frames, score, log=FrameLog())
    first = manifest.variant(manifest.baseline)
    sizes = measure_both(
        (manifest.variant_path(manifest.baseline), first.backend, first.options),
        (manifest.variant_path(name), backend, {}),
    )
    return original.model_copy(
        update={
            "backend": backend,
            "options": {},
            "precision": variant.session.info.precision,
            "verdict": decide(terms, gate_figures(found, coverage, sizes)),
            "figures": manifest_figures(found, coverage, sizes, []),
            "provenance": {
                "source_sha256": first.sha256,
                "same_file_as": name,
                "verified_on": f"{len(frames)} frames of {source.describe}, sha256 {frames.sha256()}",
                "accept": terms.model_dump(exclude_none=True),
                "verify": recipe.recipe.verify.model_dump(exclude_none=True),
                "versions": tool_versions(),
                "host": host_record(read_host()),
            },
        }
    )


if __name__ == "__main__":
    sys.exit(main())
