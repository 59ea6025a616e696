# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A teacher: the ONNX baseline of any model folder, run in torch on the training's device."""

from __future__ import annotations

from pathlib import Path

import onnxslim
import torch
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import InputSpec, Manifest, load_manifest
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.training.graph_module.module import GraphModule


def find_model(name: str) -> Manifest:
    """Return the manifest of a model folder, or of a shipped reference model."""
    folder = Path(name).expanduser()
    shipped = config_folder("reference_models")
    if not folder.is_dir() and shipped is not None and (shipped / name).is_dir():
        folder = shipped / name
    return load_manifest(folder)


def normalizer(spec: InputSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return factor and shift, (1, C, 1, 1) each, of ``(pixel * scale - mean) / std``."""
    mean = torch.tensor(spec.mean).expand(spec.channels).reshape(1, -1, 1, 1)
    std = torch.tensor(spec.std).expand(spec.channels).reshape(1, -1, 1, 1)
    return (spec.scale / std).to(device), (-mean / std).to(device)


class Teacher:
    """Runs batches of BGR images at its input size."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load the baseline of a model.

        Args:
            name: see find_model.
            device: where it runs.

        Raises:
            AdcpError: no such model, or one that torch cannot run.
        """
        self.manifest = find_model(name)
        self.spec = self.manifest.input
        path = self.manifest.checked_path(self.manifest.baseline)
        if path.suffix != ".onnx":
            raise RecipeError(f"a teacher's baseline must be an ONNX file, {path.name} is not")
        # Exporters leave shape computations in the graph, which torch can run only once they are folded.
        folded: ModelProto = onnxslim.slim(read_model(path))
        self._module = GraphModule(folded)
        self._module.allow_batches(torch.zeros(*self.spec.shape) + 0.1)
        self._module.to(device)
        self._factor, self._shift = normalizer(self.spec, device)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the input."""
        return self.spec.width, self.spec.height

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for (B, 3, height, width) BGR images of 0..255 at the input's size."""
        x = images
        if self.spec.color == "RGB":
            x = x.flip(1)
        elif self.spec.color == "GRAY":
            weights = torch.tensor([0.114, 0.587, 0.299], device=x.device).reshape(1, 3, 1, 1)
            x = (x * weights).sum(1, keepdim=True)
        x = x * self._factor + self._shift
        if self.spec.layout == "NHWC":
            x = x.permute(0, 2, 3, 1)
        # Targets are computed in float32, also where the student trains in bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            outputs: tuple[Tensor, ...] = self._module(x)
        return outputs

    def output(self, outputs: tuple[Tensor, ...], option: str) -> Tensor:
        """Return the output that a decoder option names, or the first."""
        name = self.manifest.output.options.get(option)
        return outputs[self._module.output_names.index(name) if name else 0]
