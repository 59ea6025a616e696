# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Import paths that plug-ins of other packages used: accepted for one version, with a warning."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ad_compressed_perception.core.renamed import warn_renamed

_PACKAGE = "ad_compressed_perception."
# Old module to its present place, both without the package's name.
RENAMED_MODULES = {
    "backends.messages": "core.one_line",
    "backends.onnx_layers": "onnx_graph.layers",
    "compression.heads": "onnx_graph.heads",
    "compression.onnx_file": "onnx_graph.io",
    "compression.passes.activation_ranges": "compression.quantization.activation_ranges",
    "compression.passes.base": "pass_api.passes",
    "compression.passes.equivalence": "onnx_graph.equivalence",
    "compression.passes.graph_edit": "onnx_graph.graph",
    "compression.passes.quantize_int8": "compression.passes.quantization.quantize_int8",
    "compression.passes.spatial_constants": "onnx_graph.spatial_constants",
    "compression.passes.training_options": "training.options",
    "compression.qdq_edit": "onnx_graph.qdq",
    "compression.weight_tensors": "onnx_graph.weights",
    "errors": "core.errors",
    "image_encodings": "image.encodings",
    "manifest": "core.manifest",
    "pipeline": "tasks.pipeline",
    "registry": "core.registry",
    "results": "core.results",
    "timing": "core.timing",
}


class _PresentModule(Loader):
    """Gives an old module the names, and so the very classes, of the present one."""

    def __init__(self, present: str) -> None:
        self._present = present

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None  # an ordinary module

    def exec_module(self, module: ModuleType) -> None:
        warn_renamed("module", module.__name__, self._present)
        names = vars(import_module(self._present))
        vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})


class OldPathFinder(MetaPathFinder):
    """Finds modules by their old paths, after every other finder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load an old path; None for all other names."""
        present = RENAMED_MODULES.get(fullname.removeprefix(_PACKAGE))
        if present is None or not fullname.startswith(_PACKAGE):
            return None
        return ModuleSpec(fullname, _PresentModule(_PACKAGE + present))


def install() -> None:
    """Accept the old paths from now on."""
    if not any(isinstance(finder, OldPathFinder) for finder in sys.meta_path):
        sys.meta_path.append(OldPathFinder())
