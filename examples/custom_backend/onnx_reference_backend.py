# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backend that runs models by the reference implementation of the onnx package."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from pydantic import Field

from ad_compressed_perception.backends.base import (
    BackendOptions,
    BackendStatus,
    HashingBackend,
    Session,
    SessionInfo,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

COMPUTE = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class OnnxReferenceOptions(BackendOptions):
    """What recipes and model.yaml may say under options; other keys are refused by name."""

    warmup_runs: int = Field(0, ge=0, description="runs on zeros before the first frame")


class OnnxReferenceSession(Session):
    """A model in the reference implementation."""

    def __init__(self, path, options, sha256):
        start = perf_counter()
        # The bytes whose hash is checked are those that are loaded: the file may be exchanged meanwhile.
        model = onnx.load_from_string(read_checked(path, sha256, BackendError))
        onnx.checker.check_model(model)
        self._evaluator = ReferenceEvaluator(model)
        self._output_names = self._evaluator.output_names
        self._nodes = list(model.graph.node)
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = _specs(value for value in model.graph.input if value.name not in weights)
        load_ms = (perf_counter() - start) * 1e3
        self._inputs = inputs
        warmup_ms = warm_up(self, inputs, options.warmup_runs)
        self.info = SessionInfo(
            backend=OnnxReferenceBackend.name, version=onnx.__version__, requested_provider="CPU",
            provider="CPU", precision="fp32", threads=1, integer_coverage=None, load_ms=load_ms,
            warmup_ms=warmup_ms, inputs=inputs, outputs=_specs(model.graph.output),
        )  # fmt: skip

    def infer(self, feeds):
        """Run the model on one frame."""
        check_feeds(self._inputs, feeds)  # a runtime may cast or zero what does not fit
        try:
            outputs = self._evaluator.run(None, dict(feeds))
        except Exception as error:  # whatever an operator raises: users see one line
            raise BackendError(f"onnx_reference cannot run the model: {one_line(error)}") from error
        return dict(zip(self._output_names, outputs, strict=True))

    def layers(self):
        """List the operators; nothing is fused here."""
        return [
            LayerRecord(node.name, node.op_type, "fp32", "numpy", is_compute=node.op_type in COMPUTE)
            for node in self._nodes
        ]

    def close(self):
        """Release the model; a frame after it is an error in one line, as any that fails."""
        self._evaluator = None


class OnnxReferenceBackend(HashingBackend):
    """Runs .onnx files."""

    name = "onnx_reference"
    distribution = "onnx"
    options_type = OnnxReferenceOptions

    @classmethod
    def status(cls):
        """Say whether the runtime is here; its import is cheap."""
        return BackendStatus(cls.name, True, onnx.__version__, ("CPU",))

    def _load(self, model, options, sha256):
        """Load a file; whatever the runtime raises becomes a BackendError of one line."""
        with backend_errors(self.name, model):
            return OnnxReferenceSession(model, self.parse_options(options), sha256)


def _specs(values):
    """Return name, shape (None where dynamic) and type of the file's inputs or outputs."""
    specs = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        specs.append(TensorSpec(value.name, shape, np.dtype(dtype).name))
    return tuple(specs)
