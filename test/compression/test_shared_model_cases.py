# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files like those of public fault reports: the passes that failed on them make a variant that agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from support.compression import small_recipe, write_images

pytestmark = pytest.mark.shared
PRUNE = {"prune_channels": {"ratio": 0.5, "epochs": 0, "round_to": 2, "importance": "magnitude"}}
PERCENTILE: list[Any] = [
    *("upgrade_opset", "simplify", "infer_shapes", "equalize_channels"),
    {"quantize_int8": {"calibration": "percentile"}},
]
CASES: list[tuple[str, list[Any], bool]] = [
    ("model_constant_output", ["infer_shapes", PRUNE], True),
    ("model_groupnorm_input_size", ["infer_shapes", "embed_preprocessing"], False),
    ("model_if_subgraph", PERCENTILE, False),
    ("model_if_subgraph", ["upgrade_opset", "cast_float16"], False),
    ("model_name_clash", PERCENTILE, False),
]


@pytest.mark.parametrize(
    ("case", "passes", "trains"), CASES, ids=[f"{case}-{len(passes)}" for case, passes, _ in CASES]
)
def test_passes_take_the_file(
    case: str, passes: list[Any], trains: bool, shared_dir: Path, tmp_path: Path
) -> None:
    """Random weights, so task raw: what counts is that the outputs are the baseline's, but for the rounding.

    Channels that are pruned without training change outputs, and may be rejected; the others must agree.
    """
    if trains:
        pytest.importorskip("torch_pruning", reason="needs the extra [train]")
    file = next((shared_dir / "cases" / case).rglob("*.onnx"))
    imported = import_model(file, tmp_path / "model", ImportRequest(task="raw"))
    images = write_images(tmp_path / "images", 40)
    recipe = small_recipe(tmp_path / "r", passes=passes)
    result = compress_model(imported.manifest, recipe, str(images), work=tmp_path / "work")
    assert result.manifest.variant_path(result.name).is_file()
    if not trains:
        assert result.verdict.status == "accepted", result.verdict.reasons


def test_pruning_says_that_a_depthwise_deconvolution_fixes_the_channels(
    shared_dir: Path, tmp_path: Path
) -> None:
    """All channels of this file run through it; before, torch's own words about shapes were the answer."""
    pytest.importorskip("torch_pruning", reason="needs the extra [train]")
    file = shared_dir / "cases" / "model_depthwise_deconv" / "dwtranspose.onnx"
    imported = import_model(file, tmp_path / "model", ImportRequest(task="raw"))
    images = write_images(tmp_path / "images", 40)
    recipe = small_recipe(tmp_path / "r", passes=["infer_shapes", PRUNE])
    with pytest.raises(RecipeError, match="deconvolutions fix their number"):
        compress_model(imported.manifest, recipe, str(images), work=tmp_path / "work")
