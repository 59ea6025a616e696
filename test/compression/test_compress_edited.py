# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A variant with an input and output of its own: stored, verified and run with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ad_compressed_perception.analysis.benchmark import parse_benchmark_variant, run_benchmark
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.recipe import load_recipe, shipped_recipes
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import small_recipe, write_images
from support.models import WRITERS, draw_scene


def compress(folder: Path, task: str, passes: list[Any]) -> CompressionResult:
    manifest = load_manifest(WRITERS[task](folder / "model"))
    images = write_images(folder / "images", 40)
    recipe = small_recipe(folder, passes=passes, accept={"max_drop": 0.5})
    return compress_model(manifest, recipe, str(images), work=folder / "work")


@pytest.mark.parametrize("task", WRITERS)
def test_bytes_as_input_change_no_result(tmp_path: Path, task: str) -> None:
    result = compress(tmp_path, task, ["simplify", "embed_preprocessing"])

    assert result.verification.agreement.score == 1.0
    assert result.verdict.status == "accepted"
    stored = load_manifest(result.manifest.folder)
    variant = stored.variant("small")
    assert variant.input is not None
    assert (variant.input.dtype, variant.input.layout) == ("uint8", "NHWC")
    assert variant.output is None
    # From the stored files, as a node would.
    pipeline = open_pipeline(stored, "small")
    try:
        pipeline.run(Frame(draw_scene(0), "BGR"))
    finally:
        pipeline.close()


def test_quantization_calibrates_on_the_changed_input(tmp_path: Path) -> None:
    passes = [
        "simplify",
        "embed_preprocessing",
        {"input_size": {"width": 32, "height": 24}},
        {"trim_output": {"argmax": "in_graph"}},
        "quantize_int8",
        "deduplicate_initializers",
    ]
    result = compress(tmp_path, "segmentation", passes)

    variant = result.variant
    assert variant.input is not None
    assert variant.output is not None
    assert variant.input.shape == (1, 24, 32, 3)
    assert variant.output.options["layout"] == "LABELS"
    # Squares of half the images' height: at half size only their edges move.
    assert result.verification.agreement.score > 0.8
    assert result.verification.latency.variant_end_to_end_p50_ms > result.verification.latency.variant_p50_ms


def test_a_benchmark_feeds_each_variant_its_own_input(tmp_path: Path) -> None:
    result = compress(tmp_path, "segmentation", ["simplify", "embed_preprocessing"])

    variants = [parse_benchmark_variant("fp32"), parse_benchmark_variant("small")]
    benchmark = run_benchmark(result.manifest, variants, rounds=2, warmup_rounds=1)

    assert [figures.stages_ms["infer"].count for figures in benchmark.variants.values()] == [2, 2]


def test_a_refused_edit_names_pass_and_operator_and_stores_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^pass input_size: .* Conv 'balance'"):
        compress(tmp_path, "planning", [{"input_size": {"factor": 0.5, "multiple_of": 8}}])
    assert not (tmp_path / "work").exists()


def test_the_fast_recipes_are_shipped_and_their_passes_known() -> None:
    for name in ("fast_segmentation", "fast_segmentation_int8", "fast_segmentation_small"):
        assert name in shipped_recipes()
        assert load_recipe(name).passes[0].name == "optimize"


@pytest.mark.shared
def test_the_road_stays_at_a_quarter_of_the_pixels(tmp_path: Path, shared_dir: Path) -> None:
    # Every eighth validation image; on all 101 of them it is 0.969 against the baseline's 0.975.
    model = Path(__file__).parents[2] / "config" / "reference_models" / "road_segmentation_adas_0001"
    passes = [
        "upgrade_opset",
        "simplify",
        "infer_shapes",
        {"input_size": {"factor": 0.5}},
        "trim_output",
        "deduplicate_initializers",
    ]
    accept = {"max_drop": 0.5, "min_frames": 2}
    fields: dict[str, Any] = {"calibration": {"frames": 2}, "verify": {"frames": 4}, "accept": accept}
    recipe = small_recipe(tmp_path, passes=passes, **fields)
    images = shared_dir / "data" / "camvid" / "val" / "images"

    result = compress_model(load_manifest(model), recipe, str(images), work=tmp_path / "work")

    pipeline = open_pipeline(result.manifest, "small", allow_rejected=True)
    common = union = 0
    for path in sorted(images.glob("*.jpg"))[::8]:
        image = cv2.imread(str(path))
        ground_truth = cv2.imread(str(path.parents[1] / "masks" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        labels, _ = pipeline.run(Frame(image, "BGR"))
        road, seen = np.isin(labels.label_ids, (1, 3)), ground_truth != 11
        common += int((road & (ground_truth == 3)).sum())
        union += int(((road | (ground_truth == 3)) & seen).sum())
    pipeline.close()
    assert common / union >= 0.965
