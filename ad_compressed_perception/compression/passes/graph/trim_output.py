# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""End a segmenter before the operators that do not change its argmax; see onnx_graph/class_scores.py."""

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
from ad_compressed_perception.onnx_graph.class_scores import CLASS_AXIS, append_argmax, drop_tail
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.graph import Graph, label, refresh_outputs, remove_dead
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.pass_api.passes import Feeds, Pass, PassContext, PassOptions
from ad_compressed_perception.tasks.decoders.argmax import ArgmaxDecoder

if TYPE_CHECKING:
    from onnx import ModelProto

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
    one_task_only = True
    options_type = TrimOutputOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the shortened model; ``context.output`` gets the new layout.

        Raises:
            ManifestError: the decoder does not compute an argmax.
            ModelFileError: there is nothing to drop, or the labels changed on a calibration frame.
        """
        options: TrimOutputOptions = self.options
        layout = scores_layout(context.output)
        original, before = copied(model), context.output
        name = output_name(model, context.output)
        dropped, layout = drop_tail(model, name, layout, upsampling=options.argmax == "coarse")
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
            append_argmax(model, name, CLASS_AXIS[layout])
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
        if options.argmax != "coarse":
            require_same_labels(differing)
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


def require_same_labels(differing: float) -> None:
    """Raise ModelFileError where the labels of more pixels differ than rounding explains."""
    if differing > MAX_DIFFERING_SHARE:
        raise ModelFileError(
            f"the labels of {differing:.2%} of the pixels changed on a calibration frame: leave this out"
        )


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
