# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Types and shapes of tensors behind operators that ONNX itself does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.onnx_graph.shape_stand_ins import use_stand_ins
from ad_compressed_perception.onnx_graph.subgraphs import copied

if TYPE_CHECKING:
    from onnx import ModelProto

Shape = tuple[int | None, ...]
_FLOAT = "tensor(float)"


def runtime_types(model: ModelProto, names: list[str]) -> dict[str, tuple[str, Shape]]:
    """Return type (``tensor(float)``) and shape of tensors by ONNX Runtime; {} where it cannot."""
    copy = copied(model)
    present = {value.name for value in copy.graph.output}
    for name in names:
        if name not in present:
            copy.graph.output.add().name = name
    try:
        session = open_session(copy, as_written=True)
    except ModelFileError:  # who runs the model says why it cannot
        return {}
    return {
        value.name: (value.type, tuple(size if isinstance(size, int) else None for size in value.shape))
        for value in session.get_outputs()
        if value.name in names
    }


def output_shape(model: ModelProto, name: str) -> Shape | None:
    """Return the shape of an output by ONNX Runtime: inferred, else that of a run on zeros; None if neither.

    Raises:
        ModelFileError: ONNX Runtime cannot load the graph.
    """
    import numpy as np
    from onnx import helper

    inferred = runtime_types(model, [name]).get(name, ("", ()))[1]
    if inferred and None not in inferred:
        return inferred
    session = open_session(model)
    try:
        feeds = {
            value.name: np.zeros(
                [dimension.dim_value for dimension in value.type.tensor_type.shape.dim],
                helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
            )
            for value in model.graph.input
        }
        return tuple(session.run([name], feeds)[0].shape)
    except Exception:  # as above; sizes that are not fixed, for one
        return None


def infer_types(model: ModelProto) -> ModelProto:
    """Return the model with the types and shapes of all tensors that can be inferred."""
    import onnx
    from onnx import TensorProto, helper

    inferred = onnx.shape_inference.infer_shapes(model)
    substitute = copied(inferred)
    use_stand_ins(substitute)
    typed = [value for value in inferred.graph.value_info if value.type.WhichOneof("value")]
    typed = [v for v in typed if v.type.WhichOneof("value") != "tensor_type" or v.type.tensor_type.elem_type]
    typed = [copied(value) for value in typed]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(typed)
    known = {value.name for value in (*typed, *inferred.graph.output, *inferred.graph.input)}
    for value in onnx.shape_inference.infer_shapes(substitute).graph.value_info:
        if value.name not in known:
            inferred.graph.value_info.append(value)
            known.add(value.name)
    unknown = [name for node in inferred.graph.node for name in node.output if name and name not in known]
    if unknown:
        for name, (kind, shape) in runtime_types(inferred, unknown).items():
            if kind == _FLOAT:
                value = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
                inferred.graph.value_info.append(value)
    return inferred
