# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A manifest with outputs: one inference, each head decoded as if the model had this task alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

import ad_compressed_perception as adcp
from ad_compressed_perception.core.errors import AdcpError, ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.results import Detections, HeadResults, LabelMask
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.report.overlay import draw_result
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.models import draw_scene, write_detector
from support.several_heads import write_two_heads


def change(folder: Path, **fields: Any) -> Path:
    path = folder / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data.update(fields)
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))
    return folder


def test_both_heads_give_what_models_of_one_task_give(tmp_path: Path) -> None:
    model = adcp.load(write_two_heads(tmp_path / "two"))
    alone = adcp.load(write_detector(tmp_path / "detector"))
    found, expected = model(draw_scene(0)), alone(draw_scene(0))
    assert isinstance(found, HeadResults)
    assert list(found) == ["objects", "surface"]
    objects, surface = found["objects"], found["surface"]
    assert isinstance(objects, Detections)
    assert isinstance(expected, Detections)
    np.testing.assert_array_equal(objects.boxes_xyxy, expected.boxes_xyxy)
    assert isinstance(surface, LabelMask)
    assert surface.label_ids.shape == (96, 128)
    assert surface.labels[surface.label_ids[20, 20]] == "blue"
    assert surface.labels[surface.label_ids[90, 4]] == "background"
    # Both are drawn: the mask's tint and a box's border.
    assert (draw_result(draw_scene(0), found) != draw_scene(0)).any()


def test_the_session_runs_once_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = open_pipeline(load_manifest(write_two_heads(tmp_path / "two")))
    counted = []
    infer = pipeline.session.infer
    monkeypatch.setattr(pipeline.session, "infer", lambda feeds: counted.append(1) or infer(feeds))
    result, stages_ms = pipeline.run(Frame(draw_scene(0), "BGR"))
    assert isinstance(result, HeadResults)
    assert len(counted) == 1
    assert set(stages_ms) == {"prepare", "infer", "post"}
    pipeline.close()


def test_settings_are_given_head_by_head(tmp_path: Path) -> None:
    folder = write_two_heads(tmp_path / "two")
    assert len(adcp.load(folder)(draw_scene(0))["objects"].scores) == 3  # type: ignore[index]
    strict = adcp.load(folder, settings={"objects": {"score_threshold": 1.0}})
    assert len(strict(draw_scene(0))["objects"].scores) == 0  # type: ignore[index]
    with pytest.raises(ManifestError, match="has no head 'lanes'; it has: objects, surface"):
        adcp.load(folder, settings={"lanes": {"score_threshold": 1.0}})
    with pytest.raises(ManifestError, match="score_threshold"):
        adcp.load(folder, settings={"objects": {"score_threshold": 7.0}})


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"task": "detection", "labels": ["car"]}, "outputs is for task multi_task"),
        ({"outputs": None, "output": {"decoder": "argmax"}}, "task multi_task needs outputs"),
        ({"outputs": {"shadow": {"task": "raw"}}}, "a head cannot be called 'shadow'"),
        ({"outputs": {"Objects": {"task": "raw"}}}, "pattern"),
        ({"outputs": {"a": {"task": "segmentation", "decoder": "argmax"}}}, "task segmentation needs labels"),
        ({"outputs": {"a": {"task": "detection", "labels": ["car"]}}}, "task detection needs a decoder"),
        ({"outputs": {"a": {"task": "multi_task"}}}, "outputs.a.task"),
        ({"output": {"decoder": "argmax"}}, "outputs describes every head: take output away"),
        ({"labels": ["car"]}, "labels belong to the heads"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, fields: dict[str, Any], line: str) -> None:
    folder = change(write_two_heads(tmp_path / "two"), **fields)
    with pytest.raises(ManifestError, match=line):
        load_manifest(folder)


def test_a_head_sees_its_own_outputs_only_and_names_one_that_is_missing(tmp_path: Path) -> None:
    folder = write_two_heads(tmp_path / "two")
    heads = yaml.safe_load((folder / "model.yaml").read_text())["outputs"]
    heads["surface"]["outputs"] = ["mask"]
    change(folder, outputs=heads)
    with pytest.raises(ModelFileError, match="no output 'mask'; the file has: output, mask_scores"):
        open_pipeline(load_manifest(folder))


def test_a_head_without_a_valid_result_fails_the_frame_by_name(tmp_path: Path) -> None:
    folder = write_two_heads(tmp_path / "two")
    model = onnx.load(folder / "fp32.onnx")
    bias = next(one for one in model.graph.initializer if one.name == "mask_b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), "mask_b"))
    onnx.save(model, folder / "fp32.onnx")
    change(folder, variants={"fp32": {"file": "fp32.onnx", "sha256": _sha256(folder / "fp32.onnx")}})
    with pytest.raises(AdcpError, match="two_heads/surface"):
        adcp.load(folder)(draw_scene(0))


def _sha256(path: Path) -> str:
    from ad_compressed_perception.core.manifest import file_sha256

    return file_sha256(path)


def test_a_manifest_with_heads_survives_saving_and_loading(tmp_path: Path) -> None:
    from ad_compressed_perception.workspace.save_manifest import save_manifest

    manifest = load_manifest(write_two_heads(tmp_path / "two"))
    save_manifest(manifest, tmp_path / "again")
    again = load_manifest(tmp_path / "again")
    assert again.outputs == manifest.outputs
    assert (again.task, again.output.decoder) == ("multi_task", "multi_task")


def test_a_model_of_one_task_has_no_heads(tmp_path: Path) -> None:
    manifest = load_manifest(write_detector(tmp_path / "one"))
    assert "outputs" not in (tmp_path / "one" / "model.yaml").read_text()
    assert "inputs" not in (tmp_path / "one" / "model.yaml").read_text()
    with pytest.raises(ManifestError, match="has one task, detection, and no heads"):
        manifest.head("objects")
