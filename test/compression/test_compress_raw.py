# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Model files without a decoder from the file to a verdict: tiny files of many inputs and outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.cli.model_file import folder_of
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.compression.verification.terminal_output import tables
from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.launch_support.argument_values import task_of_model
from ad_compressed_perception.replay.plan import make_plan
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import small_recipe, write_images

HEIGHT, WIDTH = 24, 32
FLOAT, INTEGER, HALF = TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT16


def write_file(path: Path, kind: str) -> Path:
    """Write a model whose convolution sees the image's planes; ``kind`` names input and outputs.

    "odd" has an output whose height and width fit no mask, so that no decoder is guessed for it.
    """
    rng = np.random.default_rng(0)
    channels = 1 if "gray" in kind else 3
    last = "bytes" in kind
    shape: list[int | str] = [1, HEIGHT, WIDTH, channels] if last else [1, channels, HEIGHT, WIDTH]
    if "batch" in kind:
        shape[0] = "k"
    nodes, weights, image = [], [], "image"
    if last:
        nodes += [
            helper.make_node("Cast", ["image"], ["floats"], to=FLOAT),
            helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        ]
        image = "planes"
    kernel = rng.normal(0.0, 0.2, (6, channels, 3, 3)).astype(np.float32)
    weights.append(numpy_helper.from_array(kernel, "kernel"))
    strides = [2, 5] if "odd" in kind else [2, 2]
    nodes += [
        helper.make_node(
            "Conv", [image, "kernel"], ["features"], "first", pads=[1, 1, 1, 1], strides=strides
        ),
        helper.make_node("Tanh" if "half" in kind else "Relu", ["features"], ["active"]),
    ]
    size = [shape[0], 6, HEIGHT // 2, -(-WIDTH // strides[1])]
    outputs = [helper.make_tensor_value_info("active", FLOAT, size)]
    if "ids" in kind:
        nodes.append(helper.make_node("ArgMax", ["active"], ["strongest"], axis=1, keepdims=1))
        outputs.append(helper.make_tensor_value_info("strongest", INTEGER, [shape[0], 1, *size[2:]]))
    if "suppression" in kind:
        cells = HEIGHT // 2 * -(-WIDTH // strides[1])
        weights += [
            numpy_helper.from_array(np.array([1, 6, cells]), "table_shape"),
            numpy_helper.from_array(np.array([4, 2]), "parts"),
            numpy_helper.from_array(np.array([200]), "most"),
            numpy_helper.from_array(np.array([0.9], np.float32), "overlap"),
            numpy_helper.from_array(np.array([30 / 255], np.float32), "threshold"),
        ]
        nodes += [
            helper.make_node("Reshape", ["active", "table_shape"], ["table"]),
            helper.make_node("Split", ["table", "parts"], ["places", "scores"], axis=1),
            helper.make_node("Transpose", ["places"], ["boxes"], perm=[0, 2, 1]),
            helper.make_node(
                "NonMaxSuppression", ["boxes", "scores", "most", "overlap", "threshold"], ["selected"]
            ),
        ]
        outputs.append(helper.make_tensor_value_info("selected", INTEGER, ["n", 3]))
    if "half" in kind:
        nodes.append(helper.make_node("Cast", ["active"], ["halves"], to=HALF))
        outputs = [helper.make_tensor_value_info("halves", HALF, size)]
    if "constant" in kind:
        weights.append(numpy_helper.from_array(np.arange(4, dtype=np.float32), "anchors_table"))
        nodes.append(helper.make_node("Identity", ["anchors_table"], ["anchors"]))
        outputs.append(helper.make_tensor_value_info("anchors", FLOAT, [4]))
    kind_of_input = TensorProto.UINT8 if last else FLOAT
    graph = helper.make_graph(
        nodes, "any", [helper.make_tensor_value_info("image", kind_of_input, shape)], outputs, weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 40)


def compress_file(path: Path, images: Path, recipe: LoadedRecipe) -> CompressionResult:
    # A file of which a decoder could read something is compared as raw outputs where that is asked for.
    manifest = import_model(path, path.parent / "model", ImportRequest(task="raw")).manifest
    return compress_model(manifest, recipe, str(images), work=path.parent / "work")


@pytest.mark.parametrize("kind", ["gray", "bytes ids", "half", "batch ids", "constant"])
def test_any_file_with_one_image_gets_a_verdict(tmp_path: Path, images: Path, kind: str) -> None:
    recipe = small_recipe(tmp_path, accept={"max_drop": 0.1, "min_sqnr_db": 10.0})
    result = compress_file(write_file(tmp_path / "some thing.onnx", kind), images, recipe)
    agreement = result.report.agreement
    assert result.verdict.status == "accepted", result.verdict.reasons
    assert result.manifest.name == "some_thing" and agreement.informative_frames == agreement.frames
    assert {one.name for one in agreement.outputs} >= {"halves" if kind == "half" else "active"}
    numbers = agreement.outputs[0]
    assert numbers.compared_as == "numbers" and numbers.sqnr_db is not None and numbers.sqnr_db > 15.0
    assert numbers.cosine is not None and numbers.cosine > 0.99
    if "ids" in kind:
        assert agreement.outputs[1].compared_as == "whole numbers"
    if kind == "constant":
        assert agreement.outputs[1].is_constant


def test_suppression_inside_the_file_is_compared_by_rows(tmp_path: Path, images: Path) -> None:
    """Indices of cells, and a varying number of them."""
    recipe = small_recipe(tmp_path, passes=["upgrade_opset", "simplify"], accept={"max_drop": 0.5})
    result = compress_file(write_file(tmp_path / "net.onnx", "suppression"), images, recipe)
    selected = result.report.agreement.outputs[1]
    assert (selected.name, selected.compared_as) == ("selected", "rows")
    assert result.verdict.status == "accepted", result.verdict.reasons


def test_the_report_shows_outputs_and_worst_frames(tmp_path: Path, images: Path) -> None:
    """Terms that no rounding to eight bits meets: the verdict says no, and where it is worst."""
    terms = {"max_drop": 1e-9, "max_label_drop": 1e-9, "min_cosine": 0.99999999}
    recipe = small_recipe(tmp_path, accept=terms)
    result = compress_file(write_file(tmp_path / "any.onnx", "ids"), images, recipe)
    assert result.verdict.status == "rejected"
    reasons = " ".join(result.verdict.reasons)
    assert "drops by" in reasons and "cosine similarity of output 'active'" in reasons
    markdown = (result.report_folder / "report.md").read_text()
    assert "| output |" in markdown and "`strongest`" in markdown and "whole numbers" in markdown
    assert "`active`" in (result.report_folder / "report.md").read_text()
    assert "strongest" in (result.report_folder / "report.html").read_text()
    document = json.loads((result.report_folder / "report.json").read_text())
    stamps = [one["stamp_ns"] for one in document["worst_frames"]]
    assert stamps and set(stamps) <= set(document["frames"]["stamp_ns"])
    assert [one["name"] for one in document["agreement"]["outputs"]] == ["active", "strongest"]
    assert any("channel 'active[" in reason for reason in result.verdict.reasons)
    assert tables(result)


def test_a_file_is_imported_once_and_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, work = write_file(tmp_path / "net.onnx", "odd"), tmp_path / "work"
    folder = folder_of(file, work)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "net.onnx is taken for task raw" in line and "adcp import" in line
    made = (folder / "model.yaml").stat().st_mtime_ns
    assert folder_of(file, work) == folder == work / "net"
    assert (folder / "model.yaml").stat().st_mtime_ns == made
    assert folder_of(folder, work) == folder  # a folder is itself


def test_a_file_that_changed_or_another_one_of_its_name_is_named(tmp_path: Path) -> None:
    file, work = write_file(tmp_path / "net.onnx", "odd"), tmp_path / "work"
    folder = folder_of(file, work)
    write_file(file, "odd gray")
    with pytest.raises(
        ManifestError, match=r"net.onnx has changed since .*net was made .*another work folder"
    ):
        folder_of(file, work)
    (tmp_path / "other").mkdir()
    other = write_file(tmp_path / "other" / "net.onnx", "ids")
    with pytest.raises(ManifestError, match=r"is not .*net.onnx, from which"):
        folder_of(other, work)
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text().replace("imported_from", "noted"))
    with pytest.raises(ManifestError, match="another model of this name, not made from a file"):
        folder_of(file, work)


def test_a_file_has_no_folder_to_write_into(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="leave --in-place out"):
        folder_of(write_file(tmp_path / "net.onnx", "odd"), tmp_path / "work", in_place=True)


def test_no_node_launch_replay_or_label_takes_such_a_model(tmp_path: Path) -> None:
    """Each says in one line why, and what to do."""
    folder = folder_of(write_file(tmp_path / "net.onnx", "odd"), tmp_path / "work")
    manifest = load_manifest(folder)
    words = "no node runs task raw.*with a task and a decoder"
    with pytest.raises(AdcpError, match=words):
        open_pipeline(manifest, task="detection")
    with pytest.raises(AdcpError, match=words):
        task_of_model(folder)
    with pytest.raises(AdcpError, match=words):
        make_plan([folder])
    with pytest.raises(AdcpError, match="task raw, whose outputs no label is compared with"):
        open_labeled(str(tmp_path), manifest)
