# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp evaluate`` from the model to the figures, on data on which the tiny models are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, compare, evaluate, use_settings
from ad_compressed_perception.cli import evaluate as verb
from ad_compressed_perception.core.errors import AdcpError, DataError, ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Variant, Verdict, file_sha256, load_manifest
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import stamps_of, write_bag
from support.labeled import (
    LABEL_MAP,
    SCENES,
    steering_images,
    true_angle,
    write_boxes,
    write_csv,
    write_masks,
)
from support.models import WRITERS, write_detector, write_planner, write_segmenter

app = typer.Typer()
app.command("evaluate")(verb.evaluate)


def adcp(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, words, catch_exceptions=False)


def document(*arguments: object) -> dict[str, Any]:
    result = adcp(*arguments, "--json")
    assert result.exit_code == 0, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def figures(parsed: dict[str, Any], variant: str = "fp32") -> dict[str, float]:
    return {name: one["value"] for name, one in parsed["variants"][variant]["figures"].items()}


def write_drive(folder: Path, count: int = 24) -> Path:
    """Write a drive whose log holds the tiny planner's angles."""
    stamps = stamps_of(count)
    write_csv(
        folder / "steering.csv",
        [(stamp, true_angle(index, count)) for index, stamp in enumerate(stamps)],
    )
    (folder / "images").mkdir()
    for stamp, image in zip(stamps, steering_images(count), strict=True):
        cv2.imwrite(str(folder / "images" / f"{stamp}.png"), image)
    return folder


def test_detector_that_finds_everything(tmp_path: Path) -> None:
    """Cells are boxed exactly, in every image: mAP and AP50 are 1."""
    model = write_detector(tmp_path / "model")
    parsed = document(model, "--data", write_boxes(tmp_path / "coco", SCENES))

    assert parsed["schema"] == "adcp-evaluation/1"
    assert figures(parsed) == pytest.approx({"map": 1.0, "ap50": 1.0})
    assert parsed["settings"] == DETECTION_SETTINGS
    assert parsed["data"]["classes"] == ["car", "person", "sign"]
    car = parsed["variants"]["fp32"]["per_class"]["car"]
    assert car == pytest.approx({"ap": 1.0, "ap50": 1.0, "objects": 2})


def test_detector_that_misses(tmp_path: Path) -> None:
    """With a threshold above every score nothing is found: 0, and the threshold is reported."""
    model = write_detector(tmp_path / "model")
    data = write_boxes(tmp_path / "coco", SCENES)
    parsed = document(model, "--data", data, "--score-threshold", "1.0")
    assert figures(parsed) == {"map": 0.0, "ap50": 0.0}
    assert parsed["settings"]["score_threshold"] == 1.0


def test_segmenter_with_a_label_map(tmp_path: Path) -> None:
    """All pixels right: IoU 1 for both classes; background does not occur and has no figure."""
    model = write_segmenter(tmp_path / "model")
    parsed = document(model, "--data", write_masks(tmp_path / "masks"))
    assert figures(parsed) == {
        "miou": 1.0,
        "iou_cold": 1.0,
        "iou_warm": 1.0,
        "iou_background": None,
    }


def test_segmenter_that_is_half_wrong(tmp_path: Path) -> None:
    """The map swaps the meaning of one id: all warm ground truth, half of it labeled cold."""
    swapped = {
        "classes": {
            "cold": {"mask_ids": [77], "labels": ["blue", "green"]},
            "warm": {"mask_ids": [4, 9], "labels": ["red"]},
        },
        "ignore_ids": LABEL_MAP["ignore_ids"],
    }
    (tmp_path / "map.yaml").write_text(json.dumps(swapped))
    model = write_segmenter(tmp_path / "model")
    data = write_masks(tmp_path / "masks")
    parsed = document(model, "--data", data, "--label-map", tmp_path / "map.yaml")
    assert figures(parsed) == {
        "miou": pytest.approx(0.25),
        "iou_cold": 0.0,
        "iou_warm": pytest.approx(0.5),
        "iou_background": None,
    }


def test_planner_on_a_folder_and_on_a_bag(tmp_path: Path) -> None:
    """The log holds the planner's own outputs; the same frames from a raw bag give the same figures."""
    model = write_planner(tmp_path / "model")
    drive = write_drive(tmp_path / "drive")
    bag = write_bag(tmp_path / "bag", steering_images(24), "sqlite3", compressed=False)
    for spec in (drive, drive / "steering.csv", f"{drive}/steering.csv@{bag}"):
        parsed = document(model, "--data", spec)
        expected = {"rmse_rad": 0.0, "mae_rad": 0.0, "correlation": 1.0}
        assert figures(parsed) == pytest.approx(expected, abs=1e-5)
        assert parsed["lower_is_better"] == ["mae_rad", "rmse_rad"]
        assert parsed["variants"]["fp32"]["interval"]["block_length"] > 1, "a drive is a series"


def test_last_quarter_and_limit(tmp_path: Path) -> None:
    model = write_planner(tmp_path / "model")
    drive = write_drive(tmp_path / "drive")
    quarter = document(model, "--data", drive, "--from", "0.75")
    assert quarter["data"] == {
        "source": str(drive),
        "available": 24,
        "evaluated": 6,
        "classes": [],
    }
    assert document(model, "--data", drive, "--limit", "5")["data"]["evaluated"] == 5
    still = [note for note in quarter["variants"]["fp32"]["notes"] if "straight ahead" in note]
    assert len(still) == 1


def with_variant(model: Path, shift: float) -> Path:
    """Add a rejected variant of the planner whose angle is off by ``shift`` rad."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load(model / "fp32.onnx")
    bias = numpy_helper.from_array(np.array([shift], np.float32), "shift")
    graph.graph.initializer.append(bias)
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            if name == "steering":
                node.output[index] = "unshifted"
    graph.graph.node.append(helper.make_node("Add", ["unshifted", "shift"], ["steering"]))
    onnx.save(graph, model / "shifted.onnx")
    manifest = load_manifest(model)
    manifest.variants["shifted"] = Variant(
        file="shifted.onnx",
        sha256=file_sha256(model / "shifted.onnx"),
        derived_from="fp32",
        verdict=Verdict(status="rejected", reasons=["it drifts"]),
    )
    save_manifest(manifest, model)
    return model


def test_variants_are_compared_in_pairs(tmp_path: Path) -> None:
    """A shift of 0.1 rad on every frame: the difference is 0.1 with hardly any interval."""
    model = with_variant(write_planner(tmp_path / "model"), 0.1)
    parsed = document(model, "--data", write_drive(tmp_path / "drive"), "--variant", "fp32,shifted")

    assert parsed["variants"]["shifted"]["verdict"] == "rejected", "evaluated all the same"
    difference = parsed["comparison"]["shifted"]["difference"]
    assert parsed["comparison"]["shifted"]["reference"] == "fp32"
    assert difference["rmse_rad"] == pytest.approx({"value": 0.1, "low": 0.1, "high": 0.1}, abs=1e-5)
    assert difference["correlation"]["value"] == pytest.approx(0.0, abs=1e-5)


def test_tables_on_the_terminal(tmp_path: Path) -> None:
    model = write_detector(tmp_path / "model")
    result = adcp(model, "--data", write_boxes(tmp_path / "coco", SCENES), "--per-class")
    assert result.exit_code == 0
    for expected in ("map (95 %)", "1.0000 (1.0000 to 1.0000)", "Score threshold 0.01", "by class", "sign"):
        assert expected in result.stdout


def test_results_on_other_frames_are_not_compared(tmp_path: Path) -> None:
    manifest = load_manifest(write_planner(tmp_path / "model"))
    data = open_labeled(str(write_drive(tmp_path / "drive")), manifest)
    pipeline = open_pipeline(manifest)
    first, second = evaluate(pipeline, data, [0, 1, 2]), evaluate(pipeline, data, [3, 4, 5])
    with pytest.raises(DataError, match="same frames"):
        compare(first, second)
    with pytest.raises(DataError, match="no frame to evaluate"):
        evaluate(pipeline, data, [])


def test_data_of_another_task(tmp_path: Path) -> None:
    planner = load_manifest(write_planner(tmp_path / "planner"))
    detector = load_manifest(write_detector(tmp_path / "detector"))
    data = open_labeled(str(write_drive(tmp_path / "drive")), planner)
    with pytest.raises(DataError, match="data for planning cannot evaluate 'tiny_detector'"):
        evaluate(open_pipeline(detector), data)


def test_settings_are_checked(tmp_path: Path) -> None:
    pipeline = open_pipeline(load_manifest(write_detector(tmp_path / "model")))
    with pytest.raises(ManifestError, match="score_threshold"):
        use_settings(pipeline, score_threshold=2.0)
    use_settings(pipeline, score_threshold=0.2)
    assert pipeline.task.settings.score_threshold == 0.2
    assert pipeline.task.settings.nms_iou_threshold == 0.45, "the others stay"


@pytest.mark.parametrize("task", sorted(WRITERS))
def test_wrong_data_is_one_line(tmp_path: Path, task: str) -> None:
    """The error on an empty folder names the files that the task needs."""
    model = WRITERS[task](tmp_path / "model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as error:
        adcp(model, "--data", tmp_path / "empty")
    assert "\n" not in str(error.value)
    assert "is evaluated on a" in str(error.value)


def test_wrong_use_is_one_line(tmp_path: Path) -> None:
    model = write_planner(tmp_path / "model")
    drive = write_drive(tmp_path / "drive")
    cases: list[tuple[list[object], type[AdcpError], str]] = [
        (["--variant", "int8"], ManifestError, "has no variant 'int8'"),
        (["--label-map", "camvid_road"], DataError, "planning has no labels"),
        (["--from", "0.9", "--to", "0.1"], DataError, "0 <= from < to <= 1"),
        (["--backend", "abacus"], AdcpError, "unknown backend 'abacus'"),
    ]
    for arguments, kind, expected in cases:
        with pytest.raises(kind, match=expected):
            adcp(model, "--data", drive, "--work", tmp_path / "work", *arguments)
    usage = adcp(model, "--data", drive, "--score-threshold", "0.5")
    assert usage.exit_code == 2
    (model / "fp32.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="sha256"):
        adcp(model, "--data", drive)


REFERENCE = [
    # Reference figures of the shared baselines; 0.005 is far inside their intervals, so that
    # only a change of preparation, decoding or matching can leave it.
    ("yolox_nano", "data/coco64", [], "map", 0.340),
    ("pulp_dronet_v2", "data/udacity_ch2", [], "rmse_rad", 0.125),
    ("pulp_dronet_v2", "data/udacity_ch2", ["--from", "0.75"], "rmse_rad", 0.110),
    ("road_segmentation_adas_0001", "data/camvid/val", ["--label-map", "camvid_road"], "iou_road", 0.974),
]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("model", "data", "options", "figure", "expected"), REFERENCE)
def test_shared_baselines(
    shared_dir: Path, model: str, data: str, options: list[str], figure: str, expected: float
) -> None:
    folder = Path(__file__).resolve().parents[2] / "config" / "reference_models" / model
    parsed = document(folder, "--data", shared_dir / data, *options)
    assert figures(parsed)[figure] == pytest.approx(expected, abs=0.005)
