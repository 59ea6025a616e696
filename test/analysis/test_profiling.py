# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles: every executed layer is measured once, by every runtime that can, and the shares add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ad_compressed_perception.analysis.profile import profile_file, profile_variant
from ad_compressed_perception.backends.onnxruntime_profile import read_profile
from ad_compressed_perception.cli import backends, inspect
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import load_manifest
from support.models import write_segmenter
from support.onnx_files import FIRST_MACS, SECOND_MACS, write_int8, write_two_convolutions

app = typer.Typer()
app.command("inspect")(inspect.inspect)
app.command("backends")(backends.backends)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_both_convolutions_are_measured_with_their_macs(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    path = write_two_convolutions(tmp_path / "fp32.onnx")

    profile = profile_file(path, backend=backend, runs=3)

    macs = [layer.macs for layer in profile.layers if layer.macs]
    assert macs == [FIRST_MACS, SECOND_MACS]
    assert sum(layer.share for layer in profile.layers) == pytest.approx(1.0)
    assert sum(total.ms for total in profile.operators) == pytest.approx(profile.layers_ms)
    assert profile.operators[0].ms == max(total.ms for total in profile.operators)


def test_integer_layers_keep_their_precision(tmp_path: Path) -> None:
    path = write_int8(write_two_convolutions(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx")

    profile = profile_file(path, runs=2)

    # The profile's layers are joined by name to the executed graph, which has their precision.
    assert {(t.operator, t.precision) for t in profile.operators} >= {("QLinearConv", "int8")}


def test_unnamed_operators_are_distinguished(tmp_path: Path) -> None:
    # A profile identifies operators by name only; exporters may omit the name.
    import onnx

    folder = write_segmenter(tmp_path / "segmenter")
    model = onnx.load(folder / "fp32.onnx")
    for node in model.graph.node:
        node.name = ""
    path = tmp_path / "unnamed.onnx"
    onnx.save(model, path)

    profile = profile_file(path, runs=2)

    convolutions = [layer for layer in profile.layers if layer.operator == "Conv"]
    assert len({layer.name for layer in convolutions}) == 2


def test_a_variant_is_profiled_on_images_of_its_own_size(tmp_path: Path) -> None:
    manifest = load_manifest(write_segmenter(tmp_path / "segmenter"))

    profile = profile_variant(manifest, "fp32", runs=2)

    # 64 x 48 pixels, 3 -> 3 channels with 3x3 kernels, then 3 -> 4 with 1x1.
    assert [layer.macs for layer in profile.layers if layer.macs] == [64 * 48 * 81, 64 * 48 * 12]


def test_the_command_adds_the_profile_to_its_document(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "segmenter")

    call = ["inspect", str(folder), "--profile", "--runs", "2"]
    document = json.loads(CliRunner().invoke(app, [*call, "--json"], catch_exceptions=False).stdout)
    shown = CliRunner().invoke(app, call, catch_exceptions=False).stdout

    assert document["profile"]["variant"] == "fp32"
    assert document["profile"]["runs"] == 2
    assert sum(row["share"] for row in document["profile"]["operators"]) == pytest.approx(1.0, abs=0.01)
    assert "by operator" in shown
    assert "costliest" in shown


def test_a_profile_without_a_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("[]")

    with pytest.raises(BackendError, match="without a complete run"):
        read_profile(path, 0, [])


def test_a_profile_that_a_full_disk_cut_off_is_named(tmp_path: Path) -> None:
    """ONNX Runtime reports no error when it cannot write all of it."""
    path = tmp_path / "run.json"
    path.write_text('[{"cat": "Session", "name": "model_ru')

    with pytest.raises(BackendError, match=r"profile .*run.json is incomplete: make room .* TMPDIR"):
        read_profile(path, 0, [])
