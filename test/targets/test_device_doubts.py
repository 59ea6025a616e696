# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs of a device that look right and are not: other terms, other files, copies, another processor.

The tiny detector with a mask head; ONNX Runtime is the device unless a test says otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256, load_manifest
from ad_compressed_perception.targets.device_verdict import judge_outputs
from ad_compressed_perception.targets.export import ExportRequest, export_model
from ad_compressed_perception.targets.outputs import read_device_run
from ad_compressed_perception.targets.rule_file import load_target
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import write_images, write_recipe
from support.device import copy_of, run_on_device, write_trtexec
from support.several_heads import write_two_heads


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an exported folder with the device's outputs in it."""
    root = tmp_path_factory.mktemp("doubts")
    recipe = write_recipe(root / "recipe.yaml", accept={"max_drop": 0.1, "max_p99_ms": 1000.0})
    request = ExportRequest(str(write_images(root / "images", 40)), recipe=str(recipe))
    model = load_manifest(write_two_heads(root / "model"))
    export_model(model, load_target("onnxruntime"), request, root / "device")
    done = run_on_device(root / "device")
    assert done.returncode == 0, done.stderr
    return root / "device"


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def lower_the_terms(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(path.read_text().replace("max_drop: 0.1", "max_drop: 0.9"))


def judge_by_another_threshold(folder: Path) -> None:
    def change(document: Any) -> None:
        document["changed_manifest"]["outputs"]["objects"]["settings"] = {"score_threshold": 0.9}

    change_json(folder / "export.json", change)


def keep_the_first_frames(folder: Path) -> None:
    for path in (folder / "export.json", folder / "outputs" / "index.json"):
        change_json(path, lambda document: document["frames"].__delitem__(slice(20, None)))


def run_another_file(folder: Path) -> None:
    change_json(folder / "outputs/index.json", lambda index: index.update(model_file_sha256="1" * 64))


def one_file_for_all(folder: Path) -> None:
    def change(index: Any) -> None:
        for frame in index["frames"]:
            frame.update({key: index["frames"][0][key] for key in ("file", "sha256")})

    change_json(folder / "outputs" / "index.json", change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lower_the_terms, "recipe.yaml was changed since it was exported"),
        (judge_by_another_threshold, "export.json was changed since it was exported"),
        (keep_the_first_frames, "export.json was changed since it was exported"),
        (run_another_file, "of another model.onnx"),
        (one_file_for_all, "one file for several frames"),
    ],
)
def test_what_makes_the_verdict_another_one_is_refused(
    exported: Path, change: Callable[[Path], None], text: str, tmp_path: Path
) -> None:
    folder = copy_of(exported, tmp_path / "changed")
    change(folder)

    with pytest.raises(DataError, match=text):
        judge_outputs(folder)


@pytest.mark.parametrize("ms", [None, 0.0, -5.0])
def test_one_frame_without_a_time_leaves_the_limit_on_times_open(
    exported: Path, ms: float | None, tmp_path: Path
) -> None:
    """A percentile of the other frames would leave out the one frame that hung."""
    folder = copy_of(exported, tmp_path / "untimed")
    assert judge_outputs(folder).report.gate.verdict.status == "accepted"
    change_json(folder / "outputs" / "index.json", lambda index: index["frames"][7].update(ms=ms))

    report = judge_outputs(folder).report

    assert report.gate.verdict.status == "inconclusive"
    assert "max_p99_ms 1000 was not checked" in report.gate.verdict.reasons[0]
    assert report.latency.infer.variant_p99_ms is None


def put(folder: Path, outputs: Callable[[str], list[np.ndarray]]) -> None:
    """Write other outputs of each frame, with a consistent index."""

    def change(index: Any) -> None:
        for frame in index["frames"]:
            path = folder / "outputs" / frame["file"]
            np.savez(path, *outputs(frame["name"]))
            frame["sha256"] = file_sha256(path)

    change_json(folder / "outputs" / "index.json", change)


def arrays(path: Path) -> list[np.ndarray]:
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def test_a_device_that_computes_in_float_is_distinguished_from_8_bits(exported: Path, tmp_path: Path) -> None:
    """The last bit changed, nothing is equal to the baseline, and nothing like 8 bits either."""
    honest = judge_outputs(exported).report.notes
    folder = copy_of(exported, tmp_path / "float")
    put(
        folder,
        lambda name: [np.nextafter(a, np.float32(1e9)) for a in arrays(folder / f"expected/{name}.npz")],
    )

    notes = judge_outputs(folder).report.notes

    assert not any("warning" in note for note in honest)
    named = [note for note in notes if "not computed in 8 bits" in note]
    assert len(named) == 2 and "'output'" in named[0] and "'mask_scores'" in named[1]


def test_outputs_that_come_a_frame_late_are_named_as_that(exported: Path, tmp_path: Path) -> None:
    """As of a pipeline that returns the last result: a verdict alone says only that they differ."""
    folder = copy_of(exported, tmp_path / "late")
    names = [one["name"] for one in json.loads((folder / "export.json").read_text())["frames"]]
    own = {path.stem: arrays(path) for path in (folder / "outputs").glob("*.npz")}
    put(folder, lambda name: own[names[max(0, names.index(name) - 1)]])

    notes = judge_outputs(folder).report.notes

    (line,) = [note for note in notes if "of another frame" in note]
    assert f"{names[1]} to {names[0]}" in line
    assert not any("of another frame" in note for note in judge_outputs(exported).report.notes)


def test_one_head_copied_from_the_baseline_is_named(exported: Path, tmp_path: Path) -> None:
    folder = copy_of(exported, tmp_path / "copied")
    own = {path.stem: arrays(path) for path in (folder / "outputs").glob("*.npz")}
    put(folder, lambda name: [own[name][0], arrays(folder / f"expected/{name}.npz")[1]])

    named = [note for note in judge_outputs(folder).report.notes if "warning" in note]

    assert len(named) == 1 and "'mask_scores'" in named[0]


def test_a_provider_that_runs_no_node_is_no_device(exported: Path, tmp_path: Path) -> None:
    """ONNX Runtime lists a provider first although every node fell back to the CPU."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider that takes no node")
    folder = copy_of(exported, tmp_path / "elsewhere")
    providers = ["AzureExecutionProvider", "CPUExecutionProvider"]
    change_json(folder / "job.json", lambda job: job["options"].update(providers=providers))

    done = run_on_device(folder)

    assert done.returncode == 1
    assert "AzureExecutionProvider runs no node" in done.stderr
    index = json.loads((exported / "outputs" / "index.json").read_text())
    assert list(index["placement"]) == ["CPUExecutionProvider"]
    assert not list(folder.glob("placement*"))


def test_labels_come_back_from_tensorrt_as_the_integers_they_are(tmp_path: Path) -> None:
    """TensorRT's trtexec writes numbers without their type; a stand-in of it runs the plan here."""
    folder = tmp_path / "model"
    folder.mkdir()
    kernel = np.random.default_rng(0).normal(0, 0.5, (5, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["scores"], "conv"),
            helper.make_node("ArgMax", ["scores"], ["labels"], "labels", axis=1),
        ],
        "labels",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("labels", TensorProto.INT64, [1, 1, 4, 4])],
        [numpy_helper.from_array(kernel, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "fp32.onnx"))
    manifest = Manifest(
        name="labels",
        task="raw",
        input={"width": 4, "height": 4, "scale": 1 / 255},
        baseline="fp32",
        variants={"fp32": Variant(file="fp32.onnx", sha256=file_sha256(folder / "fp32.onnx"))},
    )
    save_manifest(manifest, folder)
    recipe = write_recipe(tmp_path / "recipe.yaml", verify={"frames": 3})
    request = ExportRequest(str(write_images(tmp_path / "images", 14)), precision="fp32", recipe=str(recipe))
    out = tmp_path / "out"
    export_model(load_manifest(folder), load_target("tensorrt10"), request, out)
    tool = write_trtexec(tmp_path / "bin")

    done = run_on_device(out, f"{tool.parent}:{os.environ['PATH']}")
    run = read_device_run(out)

    assert done.returncode == 0, done.stderr
    assert run.outputs[0]["labels"].dtype == np.int64
    for one, expected in zip(run.outputs, run.expected, strict=True):
        np.testing.assert_array_equal(one["labels"], expected["labels"])
