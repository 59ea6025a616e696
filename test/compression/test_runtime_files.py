# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline as files of other runtimes, for the table of all backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.runtime_files import ParityFrames, make_cells
from ad_compressed_perception.core.manifest import file_sha256, load_manifest
from ad_compressed_perception.core.progress import no_progress
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import draw_scene, write_segmenter


def resize_to_computed_size(folder: Path) -> None:
    """Let the segmenter resize its features to a size that an exporter computes from their shape."""
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    nodes = model.graph.node
    place = next(index for index, node in enumerate(nodes) if node.name == "head")
    added = [
        helper.make_node("Shape", ["features"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["batch_and_channels"]),
        helper.make_node("Concat", ["batch_and_channels", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["features", "", "", "sizes"], ["resized"], mode="nearest"),
    ]
    for offset, node in enumerate(added):
        nodes.insert(place + offset, node)
    nodes[place + len(added)].input[0] = "resized"
    for name, values in {"zero": [0], "two": [2], "size": [48, 64]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    manifest = load_manifest(folder)
    manifest.variants["fp32"].sha256 = file_sha256(path)
    save_manifest(manifest, folder)


def test_sizes_that_are_fixed_are_computed_before_a_conversion(tmp_path: Path) -> None:
    """Failed before: no torch program has Shape, so a reference segmenter had no cell of torch."""
    pytest.importorskip("torch")
    folder = write_segmenter(tmp_path / "model")
    resize_to_computed_size(folder)
    frames = ParityFrames(compared=[Frame(draw_scene(number), "BGR") for number in range(2)])

    cells, missing = make_cells(
        load_manifest(folder), frames, tmp_path, 1, (["torch"], ["fp32"]), no_progress
    )

    assert [(one.backend, one.precision) for one in cells] == [("torch", "fp32")], missing
    converted, original = cells[0].open(), open_pipeline(load_manifest(folder))
    for frame in frames.compared or ():
        assert np.array_equal(converted.run(frame)[0].label_ids, original.run(frame)[0].label_ids)
    converted.close()
    original.close()
