# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A candidate: one recipe that the search may try, with a readable name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ad_compressed_perception.compression.recipe import SCHEMA, LoadedRecipe
from ad_compressed_perception.compression.search.budget import Budget
from ad_compressed_perception.compression.search.frames import SPLIT, SearchFrames
from ad_compressed_perception.workspace.atomic_file import write_file

GRAPH_OPTIMIZATION: tuple[Any, ...] = ("optimize",)
"""Passes that every candidate begins with."""


@dataclass(frozen=True)
class Candidate:
    """One recipe that the search may try.

    Attributes:
        name: runtime, number format, size, edits: ``openvino-bf16-x0.5``; unique.
        backend: the runtime.
        options: its own options.
        edits: passes between the graph optimization and the number format, in the recipe's form.
        form: passes that quantize or store, after them; ``deduplicate_initializers`` with them.
        store: ``onnx`` or ``packed``.
        training: passes that train, after the edits of the input and before those of the output.
        ending: edits of the output, which come after training.
        training_images: frames to train on; 0 for a candidate that does not train.
        parent: name of the candidate that this one is derived from, "" for a base candidate.
        graph_optimization: passes that leave the outputs as they are, before all others.
    """

    name: str
    backend: str
    options: Mapping[str, Any]
    edits: tuple[Any, ...] = ()
    form: tuple[Any, ...] = ()
    store: str = "onnx"
    training: tuple[Any, ...] = ()
    ending: tuple[Any, ...] = ()
    training_images: int = 0
    parent: str = ""
    graph_optimization: tuple[Any, ...] = field(default=GRAPH_OPTIMIZATION)

    @property
    def passes(self) -> list[Any]:
        """All passes, in order."""
        return [*self.graph_optimization, *self.edits, *self.training, *self.ending, *self.form]

    @property
    def pass_names(self) -> list[str]:
        """The passes' names alone."""
        return [step if isinstance(step, str) else next(iter(step)) for step in self.passes]

    @property
    def graph_key(self) -> str:
        """What its file depends on: candidates that differ only in the runtime share one file."""
        # Pruning may time layers on the runtime, and where QDQ pairs are placed depends on it.
        runtime = [self.backend, dict(self.options)] if self.training or self.form else []
        text = yaml.safe_dump([self.passes, self.store, self.training_images, runtime], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """What its measurements depend on: the file and how it is run, not the terms of acceptance."""
        text = yaml.safe_dump([self.graph_key, self.backend, dict(self.options)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RecipeMaker:
    """Writes candidates as recipe files of one search: same frames, same terms, same measure.

    Attributes:
        budget: becomes the terms of acceptance.
        frames: the split of the recording.
        verify: further fields of a recipe's ``verify`` (labels, tolerances).
        accept: further terms of acceptance.
        stride: every so many-th frame of the source.
    """

    budget: Budget
    frames: SearchFrames
    verify: Mapping[str, Any]
    accept: Mapping[str, Any] = field(default_factory=dict)
    stride: int = 1

    def text(self, candidate: Candidate) -> str:
        """Return a candidate as the text of a recipe file."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "name": candidate.name,
            "passes": candidate.passes,
            "calibration": {"frames": candidate.training_images or self.frames.calibration},
            "split": SPLIT.model_dump(),
            "verify": {"frames": self.frames.verification, **self.verify},
            "backend": candidate.backend,
            "options": dict(candidate.options),
            "store": candidate.store,
            "accept": {**self.budget.accept(), **self.accept},
        }
        if self.stride != 1:
            document["calibration"]["stride"] = self.stride
        if candidate.store == "onnx":
            del document["store"]
        text = yaml.safe_dump(document, sort_keys=False, width=110, default_flow_style=None)
        return f"# Found by adcp search --budget {str(self.budget)!r}.\n{text}"

    def write(self, candidate: Candidate, folder: Path) -> LoadedRecipe:
        """Write a candidate's recipe into a folder and read it back; raise RecipeError where it is wrong."""
        path = folder / f"{candidate.name}.yaml"
        text = self.text(candidate)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_file(path, text)
        return LoadedRecipe(path)
