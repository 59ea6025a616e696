# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models that were exported for a batch of k images: the batch becomes one where the graph allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.backends import Session
from ad_compressed_perception.core.errors import AdcpError, ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.onnx_graph.subgraphs import copied

if TYPE_CHECKING:
    from onnx import ModelProto

_TOLERANCE = 1e-3


def one_frame(model: ModelProto, session: Session) -> ModelProto | None:
    """Return the model for one image; None where it takes one already, or where the batch is not the matter.

    The batch size is replaced in the input, the outputs and the first number of constant Reshape targets.
    Whether that is right is seen by running both: on k times the same image every output of the one must be
    the first part of the other's.

    Raises:
        ModelFileError: the graph depends on its batch size; the message says what to export.
    """
    inputs = session.info.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    batch = inputs[0].shape[0]
    if batch is None or batch < 2:
        return None
    problem = ModelFileError(
        f"input {inputs[0].name!r} takes {batch} images at once, and the graph depends on that: export it "
        "with a batch of one, or with a dynamic batch"
    )
    changed = _with_batch_of_one(model, batch)
    image = _image(inputs[0])
    try:
        expected = session.infer({inputs[0].name: image})
        found = _run(changed, {inputs[0].name: image[:1]})
    except AdcpError as error:
        raise problem from error
    for name, values in expected.items():
        one = found.get(name)
        if one is None or not _is_first_part(one, values, batch):
            raise problem
    return changed


def _with_batch_of_one(model: ModelProto, batch: int) -> ModelProto:
    from onnx import numpy_helper

    changed = copied(model)
    graph = changed.graph
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and dimensions[0].dim_value == batch:
            dimensions[0].dim_value = 1
    del graph.value_info[:]
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape" and len(node.input) > 1}
    for tensor in graph.initializer:
        if tensor.name in targets:
            sizes = numpy_helper.to_array(tensor).copy()
            if sizes.size and sizes.reshape(-1)[0] == batch:
                sizes.reshape(-1)[0] = 1
                tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
    return changed


def _image(spec: TensorSpec) -> NDArray[Any]:
    """Return the same noise for every image of the batch; open sizes become 64."""
    shape = [64 if size is None else size for size in spec.shape[1:]]
    noise = np.random.default_rng(0).random(shape)
    values = (noise * 255.0).astype(np.uint8) if spec.dtype == "uint8" else noise.astype(spec.dtype)
    return np.repeat(values[None], spec.shape[0] or 1, axis=0)


def _run(model: ModelProto, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    import tempfile
    from pathlib import Path

    from ad_compressed_perception.backends import create_backend

    with tempfile.TemporaryDirectory(prefix="adcp-import-") as folder:
        path = Path(folder) / "one.onnx"
        try:
            path.write_bytes(model.SerializeToString())
        except ValueError as error:
            raise ModelFileError(one_line(error)) from error
        session = create_backend("onnxruntime").load(path, {"warmup_runs": 0})
        try:
            return session.infer(feeds)
        finally:
            session.close()


def _is_first_part(one: NDArray[Any], whole: NDArray[Any], batch: int) -> bool:
    if one.ndim != whole.ndim or not one.size or one.size * batch != whole.size:
        return False
    return bool(np.allclose(whole[: one.shape[0]], one, rtol=_TOLERANCE, atol=_TOLERANCE))
