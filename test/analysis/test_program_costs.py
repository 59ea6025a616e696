# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp inspect`` counts programs of PyTorch and ExecuTorch as the ONNX file that they were made of."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ad_compressed_perception.analysis.inspect import inspect_file, usual_backend
from ad_compressed_perception.core.errors import AdcpError
from support.exported import noise_frames, two_convolutions
from support.onnx_files import FIRST_MACS, PARAMETERS, SECOND_MACS

pytest.importorskip("torch", reason="the extra [train] is not installed")
NEEDS_EXECUTORCH = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None, reason="the extra [executorch] is not installed"
)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("two.pt2", "fp32"),
        pytest.param("two.pte", "fp32", marks=NEEDS_EXECUTORCH),
        pytest.param("two.pte", "int8", marks=NEEDS_EXECUTORCH),
    ],
)
def test_a_program_costs_what_its_graph_costs(tmp_path: Path, name: str, precision: str) -> None:
    from ad_compressed_perception.compression.passes.export.executorch import write_executorch
    from ad_compressed_perception.compression.passes.export.torch_program import write_torch

    source, path = two_convolutions(tmp_path), tmp_path / name
    if path.suffix == ".pte":
        write_executorch(source, path, precision, noise_frames(2))  # type: ignore[arg-type]
    else:
        write_torch(source, path)

    found = inspect_file(path, backend=usual_backend(path))

    assert found.costs.macs == FIRST_MACS + SECOND_MACS
    assert found.costs.parameters == PARAMETERS
    assert found.info.precision == precision
    assert [layer.macs for layer in found.layers if layer.record.is_compute] == [FIRST_MACS, SECOND_MACS]


def test_a_damaged_program_is_named(tmp_path: Path) -> None:
    for name in ("cut.pte", "cut.pt2"):
        path = tmp_path / name
        path.write_bytes(b"PK\x03\x04ET12" + bytes(60))
        with pytest.raises(AdcpError, match=name):
            inspect_file(path, backend=usual_backend(path))
