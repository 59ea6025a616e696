# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model whose accuracy is known, written as other exporters would write it, has the same accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.analysis.evaluate import evaluate
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.tasks.decoders.cells import grid_cells
from ad_compressed_perception.tasks.pipeline import open_pipeline

YOLOX = Path(__file__).parents[2] / "config" / "reference_models" / "yolox_nano"
SIDE, CELLS, LABELS = 416, 3549, 80
STRIDES = (8, 16, 32)


def write_decoded(source: Path, target: Path, form: str) -> None:
    """Append decoding to the raw YOLOX: "pixels" as its own export, "columns" as Ultralytics v8's in 0..1."""
    model = onnx.load(source)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["raw" if name == "output" else name for name in node.output]
    cells, strides = grid_cells([(SIDE // stride,) * 2 for stride in STRIDES], STRIDES)
    unit = strides if form == "pixels" else strides / SIDE
    constants = {"cells": cells[None], "unit": unit[None].astype(np.float32)}
    constants |= {"parts": np.array([2, 2, 1, LABELS])}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    steps = [
        ("Split", ["raw", "parts"], ["xy", "wh", "obj", "cls"], {"axis": 2}),
        ("Add", ["xy", "cells"], ["moved"], {}),
        ("Mul", ["moved", "unit"], ["center"], {}),
        ("Exp", ["wh"], ["grown"], {}),
        ("Mul", ["grown", "unit"], ["size"], {}),
    ]
    shape = [1, CELLS, 5 + LABELS]
    if form == "pixels":
        steps.append(("Concat", ["center", "size", "obj", "cls"], ["output"], {"axis": 2}))
    else:
        shape = [1, 4 + LABELS, CELLS]
        steps += [
            ("Mul", ["obj", "cls"], ["scores"], {}),
            ("Concat", ["center", "size", "scores"], ["rows"], {"axis": 2}),
            ("Transpose", ["rows"], ["output"], {"perm": [0, 2, 1]}),
        ]
    graph.node.extend(
        helper.make_node(kind, inputs, outputs, **more) for kind, inputs, outputs, more in steps
    )
    graph.output[0].CopyFrom(helper.make_tensor_value_info("output", TensorProto.FLOAT, shape))
    if model.opset_import[0].version < 13:
        split = next(node for node in graph.node if node.input[:1] == ["raw"])
        del split.input[1:]
        split.attribute.append(helper.make_attribute("split", [2, 2, 1, LABELS]))
    onnx.checker.check_model(model)
    onnx.save(model, target)


@pytest.mark.shared
def test_a_decoded_yolox_has_the_accuracy_of_the_raw_one(tmp_path: Path, shared_dir: Path) -> None:
    original = load_manifest(YOLOX)
    images = shared_dir / "data" / "coco64"
    manifests = [original]
    fields = original.input.model_dump()
    for form, options in (("pixels", {"objectness": True}), ("columns", {"box_units": "normalized"})):
        write_decoded(shared_dir / "models" / "yolox_nano.onnx", tmp_path / f"{form}.onnx", form)
        request = ImportRequest(
            task="detection",
            labels=original.labels,
            decoder="yolo",
            decoder_options=options,
            input={key: fields[key] for key in ("color", "resize", "pad_value", "letterbox_align")},
            sample=str(images / "images"),
        )
        manifests.append(import_model(tmp_path / f"{form}.onnx", tmp_path / form, request).manifest)

    figures = []
    for manifest in manifests:
        found = evaluate(open_pipeline(manifest), open_labeled(str(images), manifest), range(8))
        figures.append({name: one.value for name, one in found.figures.items()})

    assert figures[0]["map"] > 0.2
    assert figures[1] == pytest.approx(figures[0], abs=0.002)
    assert figures[2] == pytest.approx(figures[0], abs=0.002)
