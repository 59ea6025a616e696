# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's results bear the file's names, also where it merged tensors of several names into one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.backends import create_backend
from support.odd_graphs import HEIGHT, KINDS, SHAPE, WIDTH, Builder, F, node, value, write

pytest.importorskip("openvino")


def copies(operators: list[str]) -> onnx.ModelProto:
    """Return a graph whose scores are output again through operators that change nothing, and negated."""
    b = Builder()
    b.head(b.stem())
    for operator in operators:
        attributes = {"to": F} if operator == "Cast" else {}
        b.add(operator, ["scores"], f"after_{operator}", **attributes)
        b.outputs.insert(0, value(f"after_{operator}", F, SHAPE))
    b.add("Neg", ["scores"], "negative")
    b.outputs.append(value("negative", F, SHAPE))
    return b.build()


def parts() -> onnx.ModelProto:
    """Return a graph that outputs parts of its scores, copies of them and the whole, in no order."""
    b = Builder()
    b.head(b.stem())
    b.weights.append(numpy_helper.from_array(np.array([1, 2], np.int64), "sizes"))
    b.nodes.append(node("Split", ["scores", "sizes"], ["one", "two"], "split", axis=1))
    b.add("Identity", ["one"], "one_again")
    b.add("Identity", ["two"], "two_again")
    one, two = [1, 1, HEIGHT, WIDTH], [1, 2, HEIGHT, WIDTH]
    order = {"two_again": two, "one": one, "scores": SHAPE, "one_again": one, "two": two}
    b.outputs = [helper.make_tensor_value_info(name, F, shape) for name, shape in order.items()]
    return b.build()


@pytest.mark.parametrize(
    "model",
    [
        copies(["Dropout"]),
        copies(["Identity", "Dropout", "Cast"]),
        copies(["Relu", "Identity"]),
        parts(),
        *(KINDS[kind]() for kind in ("inner tensor and its copy as outputs", "image as output")),
        *(KINDS[kind]() for kind in ("constant as output", "copied image as output", "strange names")),
    ],
    ids=lambda model: ",".join(output.name for output in model.graph.output),
)
def test_every_output_has_the_values_that_onnxruntime_gives_it(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = write(model, tmp_path / "model.onnx")
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    results = []
    for backend in ("onnxruntime", "openvino"):
        session = create_backend(backend).load(path, {})
        results.append(session.infer({session.info.inputs[0].name: image}))
        assert [spec.name for spec in session.info.outputs] == [o.name for o in model.graph.output]
        session.close()
    expected, found = results
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-3)
