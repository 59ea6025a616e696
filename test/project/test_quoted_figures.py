# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cards and documents quote figures from data that neither trained nor chose, and only measured ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
if not (REPOSITORY / "benchmark" / "data_use.yaml").is_file():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY / "benchmark"))

import quoted_figures as quoted  # noqa: E402
from data_use import DataUse, load_data_use, problems  # noqa: E402

USE, FIGURES = load_data_use(), quoted.load_figures()
CARDS = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("models/*/README.md"))]


def changed(**models: dict[str, Any]) -> DataUse:
    """Return the declaration with fields of models replaced."""
    document = USE.model_dump(by_alias=True)
    for model, fields in models.items():
        document["models"][model].update(fields)
    return DataUse.model_validate(document)


def test_no_quoting_part_shares_a_source_or_seeds_with_one_that_trained_or_chose() -> None:
    assert list(problems(USE, None)) == []


@pytest.mark.shared
def test_no_frame_of_a_quoting_part_trained_or_chose(shared_dir: Path) -> None:
    assert list(problems(USE, shared_dir)) == []


@pytest.mark.parametrize(
    ("model", "quote", "expected"),
    [
        # The fault that this guards against: chosen among twelve rows on the images that give its figure.
        ("yolox_nano", "coco64", "both are of the source coco"),
        ("road_planning", "drive_last_quarter", "both are of the source udacity_ch2"),
        ("road_segmentation", "camvid_val", "both are of the source camvid"),
        ("road_detection", "road_camera_choosing_2", "overlap"),
    ],
)
def test_a_part_that_chose_cannot_quote(model: str, quote: str, expected: str) -> None:
    found = list(problems(changed(**{model: {"quote": {quote: ["map"]}}}), None))
    assert any(quote in problem and expected in problem for problem in found), found


@pytest.mark.shared
def test_a_frame_that_chose_is_found_under_another_source_and_name(shared_dir: Path, tmp_path: Path) -> None:
    for name in ("kitti_tiny", "coco64"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(name.encode())
    (tmp_path / "kitti_tiny" / "b.jpg").write_bytes(b"coco64")
    document = USE.model_dump(by_alias=True)
    one = document["models"]["yolox_nano"]
    document["models"] = {"yolox_nano": {**one, "train": ["coco64"], "choose": ["coco64"]}}
    for name in ("kitti_tiny", "coco64"):
        document["parts"][name]["images"] = name
    found = list(problems(DataUse.model_validate(document), tmp_path))
    assert found and "b.jpg is a.jpg" in found[0]


def test_every_training_and_its_images_are_declared() -> None:
    for file, model, document in quoted.trainings():
        train = [USE.parts[name] for name in USE.models[model].train]
        seed, images = document["synthetic"]["seed"], document["synthetic"]["frames"]
        last = seed + (images - 1) // 25  # images of a sequence, which takes one seed
        spans = [part.seeds for part in train if part.seeds is not None]
        assert any(low <= seed and last <= high for low, high in spans), f"{file}: seeds {seed} to {last}"
        for key in ("drive", "masks"):
            folder = str(document.get("real", {}).get(key, "")).removeprefix("${AD_SHARED}/")
            named = [part.images for part in train if part.images is not None]
            assert not folder or any(one.startswith(folder) for one in named), f"{file}: {folder}"


def test_every_declared_figure_is_measured_and_no_other_is_quoted() -> None:
    assert list(quoted.undeclared(USE, FIGURES)) == []


def test_figures_of_shipped_models_are_of_the_files_that_are_shipped() -> None:
    for one in FIGURES:
        manifest = quoted.find_model(one.model)
        if one.variant in manifest.variants:
            assert one.sha256 == manifest.variant(one.variant).sha256, f"{one.model}, {one.variant}"


@pytest.mark.parametrize("path", quoted.documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_tables_and_text_hold_measured_figures_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert quoted.with_tables(text, USE, FIGURES) == text, "python benchmark/default_models.py --tables"
    # A card quotes its own model.
    figures = [one for one in FIGURES if path.parent.parent.name != "models" or one.model == path.parent.name]
    assert list(quoted.unquoted(text, figures, card=path in CARDS)) == []


@pytest.mark.parametrize("model", ["road_detection", "road_segmentation", "road_planning"])
def test_a_figure_changed_by_hand_is_found(model: str) -> None:
    text = (REPOSITORY / "models" / model / "README.md").read_text(encoding="utf-8")
    metric = next(iter(next(iter(USE.models[model].quote.values()))))
    shown = next(one.figure.value for one in FIGURES if (one.model, one.metric) == (model, metric))
    assert f"{shown:.3f}" in text
    better = text.replace(f"{shown:.3f}", f"{shown + 0.05:.3f}")
    assert quoted.with_tables(better, USE, FIGURES) != better


@pytest.mark.parametrize(
    "line",
    [
        "It has a steering RMSE of 0.100 rad on the drive.",
        "Road IoU 0.966 on CamVid val.",
        "mAP falls by 0.6 points.",
        "| variant | mAP |\n| --- | --- |\n| `detector_int8` | 0.336 |",
    ],
)
def test_a_figure_that_is_not_declared_is_found_in_a_card(line: str) -> None:
    figures = [one for one in FIGURES if one.model == "yolox_nano"]
    assert list(quoted.unquoted(f"# Model\n\n{line}\n", figures, card=True))
    # A card has no figures of selection; another document marks their section.
    marked = f"# Model\n\n{quoted.SELECTION} They chose.\n\n{line}\n"
    assert list(quoted.unquoted(marked, figures, card=True))
    assert not list(quoted.unquoted(marked, figures, card=False))
    assert list(quoted.unquoted(f"{marked}\n## Next\n\n{line}\n", figures, card=False))
