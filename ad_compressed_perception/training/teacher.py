# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A teacher: a float model whose tensors are the targets of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxslim
import torch
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import ModelFileError, RecipeError
from ad_compressed_perception.core.manifest import InputSpec, Manifest, load_manifest
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.training.graph_module.module import GraphModule


class Teacher:
    """Runs a graph on batches of its prepared inputs: in ONNX Runtime, or on a GPU in torch where it can.

    Attributes:
        spec: its input.
    """

    def __init__(
        self,
        model: ModelProto | Path,
        spec: InputSpec,
        names: Sequence[str],
        device: torch.device,
        threads: int = 0,
    ) -> None:
        """Load the graph.

        Args:
            model: the float graph, or its file.
            spec: its input.
            names: tensors to return, of the graph's outputs or inside it.
            device: where the training runs.
            threads: of ONNX Runtime; 0 for its default.

        Raises:
            BackendError: ONNX Runtime cannot run it.
        """
        self.spec, self._names, self._device = spec, list(names), device
        self._module = _on_gpu(model, spec, self._names, device) if device.type == "cuda" else None
        if self._module is None:
            with TemporaryDirectory() as folder:
                file = _file_with_outputs(model, names, Path(folder))
                self._session = create_backend("onnxruntime").load(file, {"threads": threads})

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> list[Tensor]:
        """Return the tensors of (B, ...) prepared images, float32, on the training's device."""
        if self._module is not None:
            # Targets are computed in float32, also where the student trains in bfloat16.
            with torch.autocast(self._device.type, enabled=False):
                return [made.float() for made in self._module.batch(inputs.to(self._device), self._names)]
        name = self._session.info.inputs[0].name
        found = [self._session.infer({name: row[None]}) for row in inputs.cpu().numpy()]
        stacked = [np.concatenate([np.atleast_1d(one[output]) for one in found]) for output in self._names]
        return [torch.from_numpy(value).float().to(self._device) for value in stacked]

    def of_images(self, images: Tensor) -> list[Tensor]:
        """Return the tensors of (B, 3, height, width) BGR images of 0..255 at the input's size."""
        x = network_input(images, self.spec)
        return self(x.permute(0, 2, 3, 1) if self.spec.layout == "NHWC" else x)

    def close(self) -> None:
        """Free the runtime's memory."""
        if self._module is None:
            self._session.close()


def default_device() -> torch.device:
    """Return CUDA where torch finds it, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def network_input(images: Tensor, spec: InputSpec) -> Tensor:
    """Return (B, C, H, W) ``(pixel * scale - mean) / std`` of (B, 3, H, W) BGR images of 0..255."""
    mean, std, gray = (
        torch.tensor(values, device=images.device).reshape(1, -1, 1, 1)
        for values in (spec.mean, spec.std, [0.114, 0.587, 0.299])
    )
    x = images.flip(1) if spec.color == "RGB" else images
    x = (x * gray).sum(1, keepdim=True) if spec.color == "GRAY" else x
    return x * (spec.scale / std) - mean / std


def with_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """Return a copy of a graph that also gives the tensors called ``names``."""
    copy = ModelProto()
    copy.CopyFrom(model)
    present = {value.name for value in copy.graph.output}
    for name in names:
        if name not in present:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return copy


def _file_with_outputs(model: ModelProto | Path, names: Sequence[str], folder: Path) -> Path:
    """Return a file that gives the tensors: the model's own, whose weights may lie apart, where it does."""
    if isinstance(model, Path):
        file, model = model, read_model(model)
        if {value.name for value in model.graph.output}.issuperset(names):
            return file
    onnx.save(with_outputs(model, names), str(folder / "teacher.onnx"))
    return folder / "teacher.onnx"


def open_teacher(name: str, option: str, device: torch.device) -> tuple[Manifest, Teacher]:
    """Return the baseline of a model as a teacher, and its manifest.

    Args:
        name: model folder, or a shipped reference model's name.
        option: decoder option that names the output to return; the first output where it is absent.
        device: where the training runs.

    Raises:
        AdcpError: no such model, or one that is no ONNX file.
    """
    folder = Path(name).expanduser()
    shipped = config_folder("reference_models")
    if not folder.is_dir() and shipped is not None and (shipped / name).is_dir():
        folder = shipped / name
    manifest = load_manifest(folder)
    path = manifest.checked_path(manifest.baseline)
    if path.suffix != ".onnx":
        raise RecipeError(f"a teacher's baseline must be an ONNX file, {path.name} is not")
    model = read_model(path)
    output = manifest.output.options.get(option) or model.graph.output[0].name
    return manifest, Teacher(path, manifest.input, [output], device)


def _on_gpu(
    model: ModelProto | Path, spec: InputSpec, names: Sequence[str], device: torch.device
) -> GraphModule | None:
    """Return the graph as a torch module; None where torch cannot run it up to these tensors."""
    model = read_model(model) if isinstance(model, Path) else model
    try:
        # Exporters leave shape computations in the graph, which torch can run only once they are folded.
        module = GraphModule(onnxslim.slim(with_outputs(model, names)))
        module.allow_batches(torch.zeros(*spec.shape) + 0.1)
    except ModelFileError:
        return None
    made = {name for step in module.steps for name in step.outputs}
    return module.to(device) if made.issuperset(names) else None
