# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the model files of candidates, each once: candidates that differ only in the runtime share one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.compression.pass_runner import Samples, run_passes
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.core.host import HostInfo
from ad_compressed_perception.core.manifest import Manifest, load_manifest
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.onnx_graph.io import check_model, finish_model
from ad_compressed_perception.packing.packed_file import SUFFIX
from ad_compressed_perception.packing.packed_file_writer import pack
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.temporary import scratch_folder

if TYPE_CHECKING:
    from onnx import ModelProto


class Builder:
    """Builds and keeps the graphs of one search in a folder."""

    def __init__(
        self,
        manifest: Manifest,
        model: ModelProto,
        host: HostInfo,
        folder: Path,
        samples: Callable[[LoadedRecipe], Samples],
        checkpoints: Path,
    ) -> None:
        """Store what all candidates are built from.

        Args:
            manifest: of the baseline.
            model: the baseline's graph; it is not changed.
            host: this processor.
            folder: where graphs are kept while the search lasts.
            samples: chooses a recipe's calibration frames.
            checkpoints: folder for those of training, while the search lasts.
        """
        self._manifest, self._model, self._host = manifest, model, host
        self._folder = folder
        self._samples = samples
        self._checkpoints = checkpoints
        self._optimized: dict[str, ModelProto] = {}

    def path(self, candidate: Candidate) -> Path:
        """Return where a candidate's file is or will be."""
        suffix = SUFFIX if candidate.store == "packed" else ".onnx"
        return self._folder / candidate.graph_key / f"variant{suffix}"

    def build(self, candidate: Candidate, recipe: LoadedRecipe, progress: Progress) -> float:
        """Build a candidate's file unless it exists; it appears complete or not at all.

        Returns:
            Seconds that it took; 0 where it existed.

        Raises:
            AdcpError: a pass refused the model; one line.
        """
        import onnx

        target = self.path(candidate).parent
        if target.is_dir():
            return 0.0
        start = perf_counter()
        target.parent.mkdir(parents=True, exist_ok=True)
        samples = self._samples(recipe)
        with scratch_folder(target.parent, ".build-") as scratch:
            model, steps = onnx.ModelProto(), copy(recipe)
            model.CopyFrom(self._model)
            if candidate.graph_optimization and not candidate.training:
                # Checkpoints of training are found by the index of their pass in the whole recipe.
                model.CopyFrom(self._optimize(candidate, recipe, samples, scratch / "optimized"))
                steps.passes = recipe.passes[len(candidate.graph_optimization) :]
            _, model, described = run_passes(
                model, steps, self._manifest, samples, self._host, scratch,
                self._checkpoints / candidate.graph_key, progress,
            )  # fmt: skip
            made = scratch / "whole"
            made.mkdir()
            finish_model(model, {})
            check_model(model, "the compressed model")
            path = made / self.path(candidate).name
            if candidate.store == "packed":
                pack(model, path)
            else:
                path.write_bytes(model.SerializeToString(deterministic=True))
            save_manifest(described, made)
            made.replace(target)
        return perf_counter() - start

    def _optimize(
        self, candidate: Candidate, recipe: LoadedRecipe, samples: Samples, scratch: Path
    ) -> ModelProto:
        """Return the baseline after a candidate's graph optimization, which is done once for all of them."""
        import onnx

        key = str(candidate.graph_optimization)
        if key not in self._optimized:
            scratch.mkdir()
            model, steps = onnx.ModelProto(), copy(recipe)
            model.CopyFrom(self._model)
            steps.passes = recipe.passes[: len(candidate.graph_optimization)]
            _, self._optimized[key], _ = run_passes(
                model, steps, self._manifest, samples, self._host, scratch, scratch / "none",
                no_progress,
            )  # fmt: skip
        return self._optimized[key]

    def open(self, candidate: Candidate) -> Pipeline:
        """Load a candidate that was built; raise AdcpError where its runtime cannot load it."""
        path = self.path(candidate)
        described = load_manifest(path.parent)
        session = create_backend(candidate.backend).load(path, dict(candidate.options))
        try:
            return Pipeline(create_task(described), session, candidate.name)
        except BaseException:
            session.close()
            raise

    def pixels_share(self, candidate: Candidate) -> float:
        """Return the pixels of a built candidate's input as a share of the baseline's."""
        made, own = load_manifest(self.path(candidate).parent).input, self._manifest.input
        return made.width * made.height / (own.width * own.height)

    def move_checkpoints(self, candidate: Candidate, target: Path) -> None:
        """Move a candidate's training checkpoints to where compressing by its recipe looks for them."""
        source = self._checkpoints / candidate.graph_key
        if source.is_dir() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)

    def remove(self) -> None:
        """Remove graphs and checkpoints."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._checkpoints, ignore_errors=True)
