# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Remove the operators after the class scores that do not change the decoder's argmax.

The strongest class of a pixel is the same before and after any function that keeps the order of the
classes, so a final softmax or sigmoid has no effect:
``argmax_c exp(s_c) / sum_k exp(s_k) = argmax_c s_c``. A change of layout is done by the decoder instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.compression.passes.graph.decodable import require_decodable
from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest, OutputSpec
from ad_compressed_perception.core.registry import DECODERS, find
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import Graph, attribute, label, refresh_outputs, remove_dead
from ad_compressed_perception.onnx_graph.io import check_model, opset_of
from ad_compressed_perception.pass_api.passes import Feeds, Pass, PassContext, PassOptions
from ad_compressed_perception.tasks.decoders.argmax import ArgmaxDecoder

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Softmax normalizes along its axis alone from this opset on; before, it flattened all axes from that one on.
_SOFTMAXES = ("Softmax", "LogSoftmax")
_SOFTMAX_ONE_AXIS = 13
_CLASS_AXIS = {"NCHW": 1, "NHWC": 3}
# Two scores that softmax rounds to the same number differ again without it.
MAX_DIFFERING_SHARE = 1e-3


class TrimOutputOptions(PassOptions):
    """Options of trim_output."""

    argmax: Literal["drop_softmax", "in_graph", "coarse"] = Field(
        "drop_softmax",
        description="drop_softmax: end before softmax, sigmoid and layout change; coarse: before the final "
        "upsampling too, the labels are upsampled instead; in_graph: end in label ids of one byte",
    )


class TrimOutput(Pass):
    """Ends a segmentation network earlier, or in label ids, and updates the decoder's options."""

    name = "trim_output"
    options_type = TrimOutputOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the shortened model; ``context.output`` gets the new layout.

        Raises:
            ManifestError: the decoder does not compute an argmax.
            ModelFileError: there is nothing to drop, or the labels changed on a calibration frame.
        """
        import onnx

        options: TrimOutputOptions = self.options
        layout = scores_layout(context.output)
        original, before = onnx.ModelProto(), context.output
        original.CopyFrom(model)
        name = output_name(model, context.output)
        dropped, layout = _drop_tail(model, name, layout, upsampling=options.argmax == "coarse")
        if not dropped and options.argmax != "in_graph":
            last = Graph(model).producers.get(name)
            raise ModelFileError(
                f"nothing to drop: the output {name!r} comes from {label(last) if last else 'the input'}"
            )
        if options.argmax == "coarse" and not any(node.startswith("Resize") for node in dropped):
            raise ModelFileError(
                f"the output {name!r} has no final upsampling to drop: use argmax: drop_softmax"
            )
        if options.argmax == "in_graph":
            _append_argmax(model, name, _CLASS_AXIS[layout])
            layout = "LABELS"
        remove_dead(model)
        specs = refresh_outputs(model)
        check_model(model, "the model with the trimmed output")
        context.output = context.output.model_copy(
            update={"options": {**context.output.options, "layout": layout}}
        )
        require_decodable(context, specs)
        context.notes.update(dropped=dropped, output_layout=layout)
        differing = differing_share(context.manifest, (original, before), (model, context.output), context)
        context.notes["labels_differing_share"] = differing
        if options.argmax != "coarse" and differing > MAX_DIFFERING_SHARE:
            raise ModelFileError(
                f"the labels of {differing:.2%} of the pixels changed on a calibration frame: leave this out"
            )
        return model


def scores_layout(output: OutputSpec) -> str:
    """Return the layout of an argmax decoder's scores; raise ManifestError where there are none."""
    decoder = find(DECODERS, output.decoder, ManifestError)
    if not issubclass(decoder, ArgmaxDecoder):
        raise ManifestError(
            f"decoder {output.decoder!r} needs the scores themselves, not only which is the largest: "
            "passes that keep no more than the argmax are for decoder argmax"
        )
    layout = str(output.options.get("layout", "NCHW"))
    if layout == "LABELS":
        raise ManifestError("the model outputs label ids already: there are no scores to change")
    return layout


def output_name(model: ModelProto, output: OutputSpec) -> str:
    """Return the name of the output that the decoder reads; ModelFileError where it is ambiguous."""
    names = [value.name for value in model.graph.output]
    name = output.options.get("output") or names[0]
    if name not in names or (len(names) > 1 and not output.options.get("output")):
        raise ModelFileError(f"the manifest must name one output of {', '.join(names)}, it says {name!r}")
    return str(name)


def _drop_tail(model: ModelProto, name: str, layout: str, *, upsampling: bool) -> tuple[list[str], str]:
    """Remove final nodes that do not change the argmax; return their labels and the new layout."""
    dropped: list[str] = []
    while True:
        graph = Graph(model)
        node = graph.producers.get(name)
        if node is None or graph.consumers.get(name) or len(node.output) != 1:
            return dropped, layout
        transposed = _transposed_softmax(graph, node, layout)
        source = (transposed[-1] if transposed else node).input[0]
        producer = graph.producers.get(source)
        at_end = producer is None or source in graph.outputs
        if at_end or not (transposed or _keeps_argmax(node, layout, opset_of(model), upsampling)):
            return dropped, layout
        if node.op_type == "Transpose" and not transposed:
            layout = "NCHW" if layout == "NHWC" else "NHWC"
        dropped += [label(one) for one in transposed or [node]]
        # The node's input takes the output's name, so the manifest still finds it.
        node.output[0] = graph.new_name(f"{name}_dropped")
        graph.replace_uses(source, name)
        assert producer is not None
        for index, produced in enumerate(producer.output):
            if produced == source:
                producer.output[index] = name
        remove_dead(model)


def _transposed_softmax(graph: Graph, node: NodeProto, layout: str) -> list[NodeProto]:
    """Return Transpose, Softmax over the classes, Transpose back, as exporters write it below opset 13.

    That Softmax flattens all axes from its own on, so exporters transpose the classes to the last axis.
    """
    chain = [node]
    for kinds in (_SOFTMAXES, ("Transpose",)):
        before = graph.producers.get(chain[-1].input[0])
        alone = before is not None and graph.only_consumer(before.output[0]) is not None
        if before is None or not alone or before.op_type not in kinds:
            return []
        chain.append(before)
    last, first = attribute(node, "perm", []), attribute(chain[2], "perm", [])
    along = attribute(chain[1], "axis", -1) % 4
    if node.op_type != "Transpose" or len(last) != 4 or [first[axis] for axis in last] != [0, 1, 2, 3]:
        return []
    return chain if along == 3 and first[along] == _CLASS_AXIS[layout] else []


def _keeps_argmax(node: NodeProto, layout: str, opset: int, upsampling: bool) -> bool:
    axis = _CLASS_AXIS[layout]
    if node.op_type in _SOFTMAXES:
        newer = opset >= _SOFTMAX_ONE_AXIS
        along = attribute(node, "axis", -1 if newer else 1) % 4
        return bool(along == axis if newer else along <= axis)
    if node.op_type == "Transpose":
        permutation = [0, 3, 1, 2] if layout == "NCHW" else [0, 2, 3, 1]
        return bool(attribute(node, "perm") == permutation)
    if node.op_type == "Resize":
        # Cubic resizes may overshoot and cropping ones cut pixels: neither is removed.
        mode = attribute(node, "mode", "nearest")
        crops = attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        return upsampling and mode in ("nearest", "linear") and not crops
    return node.op_type in ("Sigmoid", "Identity")


def _append_argmax(model: ModelProto, name: str, axis: int) -> None:
    from onnx import TensorProto, helper

    graph = Graph(model)
    scores, ids = graph.new_name(f"{name}_scores"), graph.new_name(f"{name}_ids")
    producer = graph.producers[name]
    producer.output[list(producer.output).index(name)] = scores
    graph.replace_uses(name, scores)
    model.graph.node.extend(
        [
            helper.make_node("ArgMax", [scores], [ids], graph.new_name("argmax"), axis=axis, keepdims=0),
            helper.make_node("Cast", [ids], [name], graph.new_name("label_ids"), to=TensorProto.UINT8),
        ]
    )
    for value in model.graph.output:
        if value.name == name:
            value.type.tensor_type.elem_type = TensorProto.UINT8


def differing_share(
    manifest: Manifest,
    before: tuple[ModelProto, OutputSpec],
    after: tuple[ModelProto, OutputSpec],
    context: PassContext,
) -> float:
    """Return the share of pixels whose label differs on one frame, after upsampling a coarse map."""
    feeds = next(context.feeds())
    manifest = manifest.model_copy(update={"input": context.input})
    old, new = (_labels(manifest, model, output, feeds) for model, output in (before, after))
    if new.shape != old.shape:
        size = (old.shape[1], old.shape[0])
        new = np.asarray(cv2.resize(new, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return float(np.mean(old != new))


def _labels(manifest: Manifest, model: ModelProto, output: OutputSpec, feeds: Feeds) -> NDArray[np.uint8]:
    decoder = ArgmaxDecoder(manifest.model_copy(update={"output": output}))
    decoder.check(refresh_outputs(model))
    return decoder.label_ids(run_model(model, feeds))
