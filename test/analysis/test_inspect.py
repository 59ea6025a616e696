# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp inspect`` and ``adcp backends``: counted costs, layers as executed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from ad_compressed_perception.cli import backends, inspect
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import Variant, Verdict, file_sha256, load_manifest
from ad_compressed_perception.onnx_graph.costs import model_costs
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import write_segmenter
from support.onnx_files import (
    FIRST_MACS,
    PARAMETERS,
    SECOND_MACS,
    save_model,
    write_int8,
    write_two_convolutions,
)

app = typer.Typer()
app.command("inspect")(inspect.inspect)
app.command("backends")(backends.backends)


def call(*arguments: str, code: int = 0) -> dict:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == code
    return json.loads(result.stdout)


def test_macs_and_parameters_of_two_convolutions(tmp_path: Path) -> None:
    costs = model_costs(write_two_convolutions(tmp_path / "fp32.onnx"))

    assert [layer.macs for layer in costs.layers] == [FIRST_MACS, SECOND_MACS]
    assert costs.macs == FIRST_MACS + SECOND_MACS
    assert costs.parameters == PARAMETERS
    assert costs.layers_without_macs == 0


def test_a_quantized_file_costs_what_its_baseline_costs(tmp_path: Path) -> None:
    fp32 = write_two_convolutions(tmp_path / "fp32.onnx")
    int8 = write_int8(fp32, tmp_path / "int8.onnx")

    # Scales and zero points are not counted as weights.
    assert model_costs(int8).macs == model_costs(fp32).macs
    assert model_costs(int8).parameters == PARAMETERS


def test_transposed_convolution_and_products(tmp_path: Path) -> None:
    weights = [
        numpy_helper.from_array(np.ones((3, 5, 2, 2), np.float32), "w"),
        numpy_helper.from_array(np.ones((8, 7), np.float32), "m"),
        numpy_helper.from_array(np.ones((7, 6), np.float32), "g"),
        numpy_helper.from_array(np.array([-1, 8], np.int64), "rows"),
    ]
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["t"], strides=[2, 2]),
        helper.make_node("Reshape", ["t", "rows"], ["r"]),
        helper.make_node("MatMul", ["r", "m"], ["p"]),
        helper.make_node("Gemm", ["p", "g"], ["y"]),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, weights, {"x": [1, 3, 4, 4]}, {"y": [40, 6]})

    # 48 inputs each reach 5 channels x 4 pixels; 5x8x8 outputs make 40 rows of 8.
    assert [layer.macs for layer in model_costs(path).layers] == [48 * 20, 40 * 7 * 8, 40 * 6 * 7]


def test_layers_of_unknown_size_are_counted_apart(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    shape: dict[str, list[int | str]] = {"x": ["n", 3, "h", 8]}
    path = save_model(tmp_path / "m.onnx", [node], [weight], shape, {"y": ["n", 4, "h", 8]})

    assert (model_costs(path).macs, model_costs(path).layers_without_macs) == (0, 1)
    # With the input size given, all sizes are known: 10 x 8 pixels, 3 x 4 channels.
    assert model_costs(path, {"x": (1, 3, 10, 8)}).macs == 960


def test_denormal_weights_are_counted(tmp_path: Path) -> None:
    assert model_costs(write_two_convolutions(tmp_path / "a.onnx", denormals=7)).denormal_weights == 7
    assert model_costs(write_two_convolutions(tmp_path / "b.onnx")).denormal_weights == 0


def test_inspecting_a_file_lists_executed_layers_with_their_macs(tmp_path: Path) -> None:
    path = write_int8(write_two_convolutions(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx")

    document = call("inspect", str(path))

    assert document["schema"] == "adcp-inspect/1"
    assert document["variants"]["int8.onnx"]["integer_coverage"] == 1.0
    compute = [row for row in document["layers"]["rows"] if row["is_compute"]]
    assert [row["macs"] for row in compute] == [FIRST_MACS, SECOND_MACS]
    assert {row["precision"] for row in compute} == {"int8"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model folder whose variant int8 was rejected by its gate."""
    folder = write_segmenter(tmp_path / "segmenter")
    manifest = load_manifest(folder)
    copy = folder / "int8.onnx"
    copy.write_bytes((folder / "fp32.onnx").read_bytes())
    manifest.variants["int8"] = Variant(
        file=copy.name, sha256=file_sha256(copy), verdict=Verdict(status="rejected", reasons=["lost"])
    )
    save_manifest(manifest, folder)
    return folder


def test_all_variants_are_summarized_rejected_ones_too(model: Path) -> None:
    document = call("inspect", str(model))

    assert list(document["variants"]) == ["fp32", "int8"]
    assert document["variants"]["int8"]["verdict"]["status"] == "rejected"
    assert document["layers"]["variant"] == "fp32"


def test_a_missing_variant_does_not_hide_the_others(model: Path) -> None:
    (model / "int8.onnx").unlink()

    document = call("inspect", str(model), code=1)

    assert list(document["variants"]) == ["fp32"]
    assert "missing" in document["errors"]["int8"]


def test_the_table_names_kernels(model: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(model), "--variant", "int8"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "rejected" in result.stdout
    assert "decoder argmax (layout: NCHW)" in result.stdout
    assert "Conv" in result.stdout


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "no.onnx")])
    assert isinstance(result.exception, BackendError)
    assert "no.onnx" in str(result.exception)


def test_backends_are_listed_with_versions() -> None:
    found = {entry["name"]: entry for entry in call("backends")["backends"]}
    assert found["onnxruntime"]["available"] is True
    assert "CPUExecutionProvider" in found["onnxruntime"]["providers"]
    assert found["openvino"]["available"] or "[openvino]" in found["openvino"]["detail"]
