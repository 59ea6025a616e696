# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Refit a changed network layer by layer, by linear least squares on calibration frames.

Takes minutes where training takes hours; ``training/reconstruction.py`` gives the equations.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.onnx_graph.io import is_quantized
from ad_compressed_perception.pass_api.passes import Pass, PassContext, PassOptions
from ad_compressed_perception.training.options import require_training

if TYPE_CHECKING:
    from onnx import ModelProto


class ReconstructOptions(PassOptions):
    """Options of reconstruct."""

    frames: int = Field(48, ge=1, le=1000, description="calibration frames; all are in memory at once")
    ridge: float = Field(1e-4, gt=0.0, le=1000.0, description="regularization towards the present weights")
    positions: int = Field(1024, ge=16, description="sampled pixels of a layer's output in each frame")
    seed: int = Field(0, ge=0, description="random seed of the sampled pixels")
    threads: int = Field(0, ge=0, description="processor threads; 0: torch's own choice")


class Reconstruct(Pass):
    """Fits every layer to the output of the baseline's layer of the same name, given its present input."""

    name = "reconstruct"
    image_input_only = True
    options_type = ReconstructOptions

    def apply(self, model: ModelProto, context: PassContext) -> ModelProto:
        """Return the graph with refitted weights.

        Raises:
            BackendError: torch is not installed.
            RecipeError: a quantized graph, or one that has no layer in common with the baseline.
            ModelFileError: an operator that training does not know.
            DataError: images that cannot be read.
        """
        require_training(self.name)
        if is_quantized(model):
            raise RecipeError("reconstruct must come before quantization")
        import torch

        from ad_compressed_perception.tasks.prepare import Preparer
        from ad_compressed_perception.training.distillation.resized_teacher import resized_teacher
        from ad_compressed_perception.training.graph_module.module import GraphModule
        from ad_compressed_perception.training.reconstruction import reconstruct

        options: ReconstructOptions = self.options
        original, spec = resized_teacher(context)
        for_teacher, for_student = Preparer(spec), Preparer(context.input)
        step = max(1, context.frames // options.frames)
        frames = list(islice(context.images(), 0, step * options.frames, step))
        images = [
            (
                torch.from_numpy(for_teacher(f)[0].copy()).float(),
                torch.from_numpy(for_student(f)[0].copy()).float(),
            )
            for f in frames
        ]
        if options.threads:
            torch.set_num_threads(options.threads)
        teacher, student = GraphModule(original), GraphModule(model)
        fits = []
        for fit in reconstruct(
            teacher, student, images, ridge=options.ridge, positions=options.positions, seed=options.seed
        ):
            fits.append(fit)
            context.advance(len(fits), len(student.layers))
        if not fits:
            raise RecipeError(
                "no layer of the graph has the name of one of the baseline's layers: nothing to fit"
            )
        context.notes.update(
            frames=len(images),
            layers=len(fits),
            layers_left=len(student.layers) - len(fits),
            error_before=sum(fit.before for fit in fits) / len(fits),
            error_after=sum(fit.after for fit in fits) / len(fits),
        )
        return student.write_back()
