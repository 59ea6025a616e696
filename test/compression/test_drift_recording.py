# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drift references that a compression records beside its variant, or why it records none."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.drift_recording import PREFIX
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.compression.verification.terminal_output import tables
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.drift.manifest_references import find_reference
from support.compression import small_recipe, write_images
from support.drift import PERIOD_NS, START_NS, driving_image
from support.models import write_planner, write_segmenter

# All 300 frames of 75 s, calibration and verification in turn: consecutive together.
EVERY_FRAME = {"calibration": {"frames": 30}, "verify": {"frames": 270}}


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    for index in range(300):
        cv2.imwrite(str(folder / f"{START_NS + index * PERIOD_NS}.png"), driving_image(index))
    return folder


def line_of(result: CompressionResult) -> str:
    (line,) = [str(part) for part in tables(result) if str(part).startswith(PREFIX)]
    assert line in result.report.notes
    return line


def test_consecutive_frames_of_more_than_a_minute_make_a_reference_of_baseline_and_variant(
    tmp_path: Path, drive: Path
) -> None:
    model, work = write_segmenter(tmp_path / "model"), tmp_path / "work"
    recipe = small_recipe(tmp_path / "recipe", **EVERY_FRAME)

    result = compress_model(load_manifest(model), recipe, str(drive), work=work)

    assert line_of(result).startswith(f"{PREFIX} recorded for fp32 and small, 300 frames, 7")  # 75 s in all
    stored = load_manifest(work / "tiny_segmenter")
    for name in ("fp32", "small"):
        reference, reason = find_reference(stored, name)
        assert reference is not None, reason
        assert reference.model_sha256 == stored.variant(name).sha256
        assert (reference.width, reference.height) == (128, 96)
        # Where the recording lies on this computer is nobody's business on a car.
        assert reference.camera == drive.name
    # The model's own folder was not asked for: it stays as it was.
    assert load_manifest(model).drift_reference is None

    # Another variant made of a short recording keeps what is known of the others, and has none itself.
    short = write_images(tmp_path / "short", 40)
    other = small_recipe(tmp_path / "other")
    again = compress_model(load_manifest(model), other, str(short), work=work, name="other")
    assert "too few" in line_of(again)
    stored = load_manifest(work / "tiny_segmenter")
    assert set(stored.drift_reference or {}) == {"fp32", "small"}
    assert "no reference for 'other'" in find_reference(stored, "other")[1]

    # Made anew from other frames, "small" is another file: what was recorded with the old one is gone.
    changed = small_recipe(tmp_path / "changed", calibration={"frames": 4})
    compress_model(load_manifest(model), changed, str(short), work=work)
    assert set(load_manifest(work / "tiny_segmenter").drift_reference or {}) == {"fp32"}


def test_frames_chosen_at_even_steps_of_a_drive_leave_all_of_it_to_the_reference(
    tmp_path: Path, drive: Path
) -> None:
    """As the shipped recipes choose them: 32 of 300 frames."""
    model, work = write_segmenter(tmp_path / "model"), tmp_path / "work"

    result = compress_model(load_manifest(model), small_recipe(tmp_path / "recipe"), str(drive), work=work)

    assert line_of(result).startswith(f"{PREFIX} recorded for fp32 and small, 300 frames, 7")
    assert set(load_manifest(work / "tiny_segmenter").drift_reference or {}) == {"fp32", "small"}


def test_frames_that_are_too_few_are_named_as_the_reason_for_no_reference(tmp_path: Path) -> None:
    """40 frames in a row are 2 s: a reference of them would call every other road a change."""
    model = write_planner(tmp_path / "model")
    short = write_images(tmp_path / "short", 40)
    every = small_recipe(tmp_path / "every", calibration={"frames": 10}, verify={"frames": 30})
    some = small_recipe(tmp_path / "some")

    in_a_row = compress_model(load_manifest(model), every, str(short), work=tmp_path / "work")
    apart = compress_model(load_manifest(model), some, str(short), work=tmp_path / "work", name="apart")

    assert line_of(in_a_row).startswith(f"{PREFIX} none, 1.9 s of consecutive frames are too few of 60 s")
    assert line_of(apart).startswith(f"{PREFIX} none, 1.9 s of consecutive frames are too few of 60 s")
    assert "adcp replay --learn" in line_of(apart)
    assert load_manifest(tmp_path / "work" / "tiny_planner").drift_reference is None


def test_the_shared_drive_of_20_s_gives_no_reference_and_the_reason(tmp_path: Path, shared_dir: Path) -> None:
    bag = shared_dir / "bags" / "udacity_ch2_20s"
    model = write_planner(tmp_path / "model")
    recipe = small_recipe(tmp_path / "recipe", calibration={"frames": 8}, verify={"frames": 24})

    result = compress_model(load_manifest(model), recipe, str(bag), work=tmp_path / "work")

    assert line_of(result).startswith(f"{PREFIX} none, ")
    assert "too few of 60 s" in line_of(result)
