# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backends and precisions in one run: what is wrong is called wrong and has no speed."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from ad_compressed_perception.analysis.parity_agreement import AgreementOfCell
from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.choose_variant import missing_runtime
from ad_compressed_perception.cli.main import app
from ad_compressed_perception.core.manifest import Variant, Verdict, file_sha256, load_manifest
from ad_compressed_perception.core.registry import BACKENDS
from ad_compressed_perception.core.results import (
    Classification,
    Detections,
    HeadResults,
    LabelMask,
    RawOutputs,
    Trajectory,
)
from ad_compressed_perception.report.parity_markdown import render_parity
from ad_compressed_perception.report.schemas.parity import Parity
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_road_simulation.faults.kinds import SWITCH
from support.compression import write_images
from support.models import write_detector, write_segmenter

NEEDS_FAULTS = pytest.mark.skipif(
    not any(entry.name == "fault_injection" for entry in entry_points(group=BACKENDS)),
    reason="the package is not installed, so that its backend for tests has no entry point",
)


def parity(*words: object, status: int = 0) -> Parity:
    result = CliRunner().invoke(app, ["parity", *map(str, words), "--json", "--rounds", "4"])
    assert result.exit_code == status, result.output
    return Parity.parse(result.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    write_detector(folder / "model")
    write_images(folder / "images", 4)
    return folder


def test_every_backend_agrees_and_the_figures_are_there(place: Path, tmp_path: Path) -> None:
    found = parity(
        place / "model", "--frames", place / "images", "--out", tmp_path / "out",
        "--no-convert", "--precisions", "fp32",
    )  # fmt: skip

    assert found.reference == "fp32@onnxruntime fp32" == next(iter(found.cells))
    right = {name: one for name, one in found.cells.items() if one.status == "ok"}
    if not missing_runtime("openvino"):
        assert "fp32@openvino fp32" in right
    for one in right.values():
        assert one.agreement is not None and one.agreement.measure == "f1" and one.agreement.value == 1.0
        # Two squares of 32 pixels on each of three images (one calibrates), in cells of 8 pixels.
        assert one.agreement.evidence >= 6
        assert one.speedup is not None and one.infer_ms is not None and one.infer_ms.count == 4
    for one in found.cells.values():
        # numpy alone takes less than a mebibyte more; a runtime's libraries take several.
        assert one.memory is not None and one.memory.peak_bytes >= one.memory.running_bytes > 1 << 20
        assert one.load_ms is not None and one.load_ms > 0.0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.json", "report.md", "report.html"}
    assert CliRunner().invoke(app, ["report", str(tmp_path / "out")]).exit_code == 0


def test_what_is_not_installed_is_listed_with_what_installs_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)

    found = parity(place / "model", "--backends", "litert")

    (missing,) = [one for one in found.missing if one.backend == "litert"]
    assert missing.install == "pip install ai-edge-litert"
    listed = json.loads(CliRunner().invoke(app, ["backends", "--json"]).stdout)["backends"]
    assert {one["name"]: one["install"] for one in listed}["litert"] == missing.install
    assert {one["name"]: one["install"] for one in listed}["onnxruntime"] == ""


@NEEDS_FAULTS
@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("implausible", "wrong", "f1|without a result"),
        ("nan", "wrong", "4 frames without a result"),
        ("exit", "failed", "the process that ran it"),
    ],
)
def test_a_backend_with_wrong_numbers_is_wrong_and_never_fast(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, status: str, reason: str
) -> None:
    """Also one that ends its process: the others are measured all the same."""
    monkeypatch.setenv(SWITCH, "1")
    faulty = f"fp32@fault_injection:kind={kind}:probability=1.0"

    found = parity(
        place / "model", "--frames", place / "images", "--also", faulty, "--backends", "onnxruntime",
        status=3 if status == "wrong" else 0,
    )  # fmt: skip

    cell = found.cells[f"{faulty} fp32"]
    assert cell.status == status
    assert cell.speedup is None and cell.infer_ms is None
    assert found.best != f"{faulty} fp32"
    assert any(re.search(reason, line) for line in cell.reasons), cell.reasons
    first = render_parity(found).findings[0]
    assert first.level in ("alarm", "warning") and faulty in first.text


def variant_of(folder: Path, name: str, change: Any, verdict: Verdict | None = None) -> None:
    """Add a variant to a model: its baseline with changed weights."""
    manifest = load_manifest(folder)
    model = onnx.load(str(manifest.variant_path(manifest.baseline)))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(change(tensor.name, values), tensor.name))
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    manifest.variants[name] = Variant(file=path.name, sha256=file_sha256(path), verdict=verdict)
    save_manifest(manifest, folder)


def test_a_variant_that_lost_a_label_or_was_rejected_is_wrong(tmp_path: Path) -> None:
    """The red square is 6 % of the image: a share of equal pixels of 0.9 hides that its label is gone."""
    folder = write_segmenter(tmp_path / "model")

    def without_red(name: str, values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        if name == "head_b":
            changed[3] = -1000.0
        return changed

    variant_of(folder, "blind", without_red)
    variant_of(folder, "refused", lambda _name, values: values, Verdict(status="rejected", reasons=["slow"]))
    write_images(tmp_path / "images", 8)

    result = CliRunner().invoke(
        app,
        ["parity", str(folder), "--frames", str(tmp_path / "images"), "--backends", "onnxruntime"]
        + ["--max-drop", "0.5", "--json", "--rounds", "8"],
    )
    found = Parity.parse(result.stdout)

    assert result.exit_code == 3
    blind, refused = found.cells["blind@onnxruntime fp32"], found.cells["refused@onnxruntime fp32"]
    assert blind.status == refused.status == "wrong"
    assert blind.agreement is not None and (blind.agreement.value or 0.0) > 0.9
    assert blind.reasons == ["label 'red' is lost"]
    assert refused.reasons == ["its accept gate rejected it"]


def test_where_the_reference_finds_nothing_a_variant_is_undecided(tmp_path: Path) -> None:
    """On black images F1 would be 1 for anything that is as blind; the baseline's file has its outputs."""
    folder = write_detector(tmp_path / "model")
    variant_of(folder, "other", lambda _name, values: values)
    (tmp_path / "black").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "black" / f"{index}.png"), np.zeros((64, 64, 3), np.uint8))

    found = parity(folder, "--frames", tmp_path / "black", "--no-convert", "--precisions", "fp32")

    other = found.cells["other@onnxruntime fp32"]
    assert (other.status, other.speedup) == ("undecided", None)
    for name, one in found.cells.items():
        if name.startswith("fp32@") and one.status == "ok":
            assert one.agreement is not None and one.agreement.measure == "outputs"


def test_a_precision_that_is_not_executed_is_not_listed_as_if_it_were(place: Path) -> None:
    if missing_runtime("openvino"):
        pytest.skip("openvino is not installed")
    found = parity(
        place / "model", "--frames", place / "images", "--backends", "openvino", "--precisions", "bf16"
    )
    session = create_backend("openvino").load(place / "model" / "fp32.onnx", {"precision": "bf16"})
    cell = found.cells["fp32@openvino bf16"]
    if session.info.precision == "bf16":
        assert cell.executed_precision == "bf16" and not cell.reasons
    else:
        assert cell.status == "failed" and cell.speedup is None
        assert cell.reasons == ["bf16 was asked for, fp32 is executed here"]


def test_a_variant_that_falls_back_to_another_device_has_no_speed(tmp_path: Path) -> None:
    """Its manifest asks for the GPU. Failed before: only what a user wrote was compared with what ran."""
    if "CUDAExecutionProvider" in create_backend("onnxruntime").status().providers:
        pytest.skip("this build of ONNX Runtime has the GPU")
    folder = write_detector(tmp_path / "model")
    variant_of(folder, "on_gpu", lambda _name, values: values)
    manifest = load_manifest(folder)
    manifest.variants["on_gpu"] = manifest.variants["on_gpu"].model_copy(
        update={"options": {"provider": "cuda"}}
    )
    save_manifest(manifest, folder)
    write_images(tmp_path / "images", 4)

    found = parity(folder, "--frames", tmp_path / "images", "--backends", "onnxruntime")

    cell = found.cells["on_gpu@onnxruntime fp32"]
    assert (cell.status, cell.speedup) == ("failed", None)
    assert cell.reasons == ["CUDAExecutionProvider was asked for, CPUExecutionProvider runs it"]


def boxes(*lefts: float, labels: tuple[str, ...] = ("car", "person"), class_id: int = 0) -> Detections:
    corners = np.array([[left, 0, left + 10, 10] for left in lefts], np.float32).reshape(-1, 4)
    ids = np.full(len(lefts), class_id, np.int64)
    return Detections(corners, np.linspace(1, 0.5, len(lefts), dtype=np.float32), ids, labels)


def judged(reference: Any, found: Any, precision: str = "fp32", lossy: bool = False) -> tuple[str, list[str]]:
    agreement = AgreementOfCell()
    for one, other in zip(reference, found, strict=True):
        agreement.add(one, other, {}, {})
    _, status, reasons = agreement.judge(precision, lossy, 0.05)
    return status, reasons


def steering(angle_rad: float) -> Trajectory:
    return Trajectory(np.zeros((1, 2)), np.zeros(1), 0.0, 1.0, angle_rad)


def test_limits_of_float_precisions() -> None:
    """F1 0.99, equal pixels 0.995, 0.001 rad: one of 50 boxes, one pixel of 100, 2 mrad are beyond them."""
    many = [boxes(*range(0, 500, 10))]
    assert judged(many, many) == ("ok", [])
    fewer = [boxes(*range(0, 490, 10))]
    assert judged(many, fewer) == ("wrong", ["f1 0.9899 is below 0.99"])
    assert judged(many, fewer, lossy=True)[0] == "ok"

    mask = np.zeros((10, 10), np.uint8)
    mask[:5] = 1
    other = mask.copy()
    other[0, 0] = 0
    labels = ("road", "car")
    assert judged([LabelMask(mask, labels)], [LabelMask(mask, labels)])[0] == "ok"
    assert judged([LabelMask(mask, labels)], [LabelMask(other, labels)])[0] == "wrong"

    drive = [steering(0.0), steering(0.1)]
    assert judged(drive, [steering(0.0009), steering(0.1)])[0] == "ok"
    assert judged(drive, [steering(0.002), steering(0.1)])[0] == "wrong"
    assert judged(drive, [steering(math.nan), steering(0.1)])[0] == "wrong"
    # A planner that always steers the same agrees with any constant.
    assert judged([steering(0.1)] * 5, [steering(0.1)] * 5)[0] == "undecided"


def test_what_the_measure_does_not_see_is_wrong_too() -> None:
    """Failed before: steering, F1 at an overlap of a half and the strongest label agreed in all of these."""
    drive = [replace(steering(angle), stop_probability=0.9) for angle in (0.0, 0.1)]
    for change in ({"speed_mps": 14.0}, {"stop_probability": 0.1}, {"stop_probability": math.nan}):
        other = [replace(one, **change) for one in drive]
        for lossy in (False, True):
            assert judged(drive, other, lossy=lossy)[0] == "wrong", (change, lossy)
    # A lossy variant may differ by what its verdict allows, the baseline's own file may not.
    for change in ({"speed_mps": 1.3}, {"stop_probability": 0.8}, {"clear_distance_m": 7.0}):
        other = [replace(one, **change) for one in drive]
        assert judged(drive, other)[0] == "wrong", change
        assert judged(drive, other, lossy=True) == ("ok", [])
    # One frame of eight may be chance at a limit of 5 %: its lower end is 0.6 %. Two of two are not: 22 %.
    eight = [*drive, *[drive[0]] * 6]
    once = [replace(drive[0], stop_probability=0.1), *eight[1:]]
    assert judged(eight, once, lossy=True) == ("ok", [])
    assert judged(eight, once)[0] == "wrong"
    shifted = [replace(one, points_xy_m=one.points_xy_m + 0.1) for one in drive]
    assert judged(drive, shifted)[1] == [
        "2 of 2 frames differ, the first in a point of the path 0.141 m apart"
    ]

    objects = boxes(*range(0, 500, 20))
    wider = replace(objects, boxes_xyxy=objects.boxes_xyxy + np.array([0, 0, 2, 0], np.float32))
    assert judged([objects], [wider]) == ("wrong", ["mean overlap of matched boxes 0.8333 is below 0.95"])
    assert judged([objects], [wider], lossy=True) == ("ok", [])

    labels = ("red", "green")
    lights = [Classification(np.array([0.9, 0.1], np.float32)[order], np.array(order), labels)
              for order in ([0, 1], [1, 0])]  # fmt: skip
    flat = [replace(one, scores=0.5 + (one.scores - 0.5) / 2) for one in lights]
    assert judged(lights, lights)[0] == "ok"
    assert judged(lights, flat)[0] == "wrong"


def test_raw_outputs_of_another_shape_are_wrong() -> None:
    """Failed before: that there was nothing to compare was blamed on the reference."""
    agreement = AgreementOfCell()
    for _ in range(2):
        ours, theirs = {"y": np.arange(4.0)}, {"y": np.arange(4.0)[None]}
        agreement.add(RawOutputs(ours), RawOutputs(theirs), ours, theirs)
    _, status, reasons = agreement.judge("fp32", False, 0.05)
    assert (status, reasons) == ("wrong", ["its outputs have other names or shapes"])


def test_a_few_objects_decide_nothing() -> None:
    """Four of a whole drive that agree could be those that any detector finds."""
    assert judged([boxes(0.0, 50.0)] * 2, [boxes(0.0, 50.0)] * 2) == (
        "undecided",
        ["the reference finds only 4 objects on these frames that could agree"],
    )
    assert judged([boxes(0.0, 50.0)] * 3, [boxes(0.0, 50.0)] * 3) == ("ok", [])


def test_a_rare_label_is_not_hidden_by_frequent_ones() -> None:
    """5 persons lost beside 600 cars leave F1 at 0.996."""
    frames = [boxes(*range(0, 1200, 10)) for _ in range(5)]
    persons = [boxes(0.0, class_id=1) for _ in range(5)]
    status, reasons = judged(frames + persons, [*frames, *[boxes() for _ in range(5)]])
    assert (status, reasons) == ("wrong", ["label 'person' is lost"])


def test_each_head_of_several_is_judged_by_its_own_measure() -> None:
    """A planner off by 2 mrad is wrong, however well the boxes of the other head agree."""
    objects = boxes(*range(0, 500, 10))
    reference = [HeadResults({"objects": objects, "path": steering(angle)}) for angle in (0.0, 0.1)]
    found = [HeadResults({"objects": objects, "path": steering(angle)}) for angle in (0.002, 0.1)]
    assert judged(reference, reference) == ("ok", [])
    assert judged(reference, found) == ("wrong", ["head 'path': steering, rad 0.002 is above 0.001"])
    lost = [HeadResults({"objects": boxes(), "path": one["path"]}) for one in reference]
    assert judged(reference, lost)[1] == [
        "head 'objects': f1 0 is below 0.99",
        "head 'objects': label 'car' is lost",
    ]

    agreement = AgreementOfCell()
    for one, other in zip(reference, found, strict=True):
        agreement.add(one, other, {}, {})
    agreement.fail("it ended")
    figures, _, reasons = agreement.judge("fp32", False, 0.05)
    assert (figures.measure, figures.failed_frames) == ("steering, rad of path", 1)
    assert reasons[0] == "1 frames without a result: it ended"


def test_not_a_number_in_an_output_is_no_agreement() -> None:
    agreement = AgreementOfCell()
    for _ in range(3):
        agreement.add(boxes(), boxes(), {"y": np.arange(4.0)}, {"y": np.array([0.0, 1.0, 2.0, np.nan])})
    figures, status, _ = agreement.judge("fp32", False, 0.05)
    assert (figures.measure, status) == ("outputs", "wrong")
    assert figures.output_error is None, "infinite, which a document writes as null"
