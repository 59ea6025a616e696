# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Joins two models whose first layers are equal into one with a head for each: the encoder runs once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import (
    MANIFEST_NAME,
    HeadSpec,
    Manifest,
    Variant,
    describe_validation_error,
    file_sha256,
)
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.common_prefix import find_common_prefix, join
from ad_compressed_perception.onnx_graph.costs import layer_macs
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.io import finish_model, input_name, input_specs, read_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.temporary import scratch_folder

if TYPE_CHECKING:
    from onnx import ModelProto

BASELINE = "fp32"
MIN_SHARE = 0.1
"""Least share of the multiply-accumulates of the smaller model that must be common by default."""
TOLERANCE = 1e-5
"""Largest difference of an output, as a share of its range, that another order of additions explains."""
_CHECKS = 3


@dataclass(frozen=True)
class Joined:
    """A model of two, and what was found.

    Attributes:
        manifest: with its folder.
        nodes: common nodes, of those that each has.
        nodes_of: number of nodes of each.
        macs: common multiply-accumulates of one inference.
        macs_of: of each model.
        largest_difference: of any output from that of its original file, absolute, on random images.
    """

    manifest: Manifest
    nodes: int
    nodes_of: tuple[int, int]
    macs: int
    macs_of: tuple[int, int]
    largest_difference: float

    @property
    def share(self) -> float:
        """Common share of the smaller model's multiply-accumulates."""
        return self.macs / max(min(self.macs_of), 1)


def join_encoders(
    models: tuple[Manifest, Manifest],
    folder: Path,
    *,
    name: str | None = None,
    heads: Sequence[str] | None = None,
    min_share: float = MIN_SHARE,
) -> Joined:
    """Write a model folder with one ONNX file that gives the results of both models.

    Args:
        models: their baselines are joined; they must be ONNX files that take the image in the same way.
        folder: to be created.
        name: of the new model; both names with ``_and_`` between by default.
        heads: names of the two models' heads, for models that have no heads yet; the tasks by default.
        min_share: least common share of the smaller model's multiply-accumulates.

    Raises:
        ManifestError: the folder has a model, the inputs or head names do not go together.
        ModelFileError: nothing or too little is common, or the joined file computes something else.
    """
    if (folder / MANIFEST_NAME).exists():
        raise ManifestError(f"{folder} has a {MANIFEST_NAME} already: choose another folder")
    _refuse_other_inputs(*models)
    graphs = [_read(manifest) for manifest in models]
    images = (
        input_name(graphs[0], models[0].input.name),
        input_name(graphs[1], models[1].input.name),
    )
    common = find_common_prefix(graphs[0], graphs[1], images)
    if not common.from_image:
        raise ModelFileError(
            f"{models[0].name!r} and {models[1].name!r} share no layer: their first operators or weights "
            "differ"
        )
    shares = _macs(graphs, [{name: models[0].input.shape} for name in images], common.nodes)
    found = min(shares[0] / max(min(shares[1:]), 1), 1.0)
    if not found >= min_share:
        raise ModelFileError(
            f"{models[0].name!r} and {models[1].name!r} share {common.from_image} operators with "
            f"{found:.1%} of the smaller one's multiply-accumulates, at least {min_share:.0%} is asked for"
        )
    joined, outputs = join(graphs[0], graphs[1], common, images)
    finish_model(joined, {})
    manifest = _manifest(models, name, heads, graphs, outputs, images[0])
    difference = _compare(graphs, joined, outputs, images)
    _store(manifest, joined, folder)
    counts = (len(graphs[0].graph.node), len(graphs[1].graph.node))
    return Joined(manifest, len(common.nodes), counts, shares[0], shares[1:], difference)


def _refuse_other_inputs(first: Manifest, second: Manifest) -> None:
    """Raise ManifestError where the two prepare an image in different ways."""
    one, other = (each.input.model_dump(exclude={"name"}) for each in (first, second))
    different = [key for key in one if one[key] != other[key]]
    if different:
        key = different[0]
        raise ManifestError(
            f"{first.name!r} and {second.name!r} prepare images in different ways ({key}: {one[key]} and "
            f"{other[key]}): one encoder cannot serve both"
        )
    if first.inputs != second.inputs:
        raise ManifestError(f"{first.name!r} and {second.name!r} have different further inputs")


def _read(manifest: Manifest) -> ModelProto:
    variant = manifest.variant(manifest.baseline)
    if variant.backend != "onnxruntime" or not variant.file.endswith(".onnx"):
        raise ModelFileError(f"the baseline of {manifest.name!r} is no ONNX file: convert it to onnx")
    return read_model(manifest.checked_path(manifest.baseline, allow_rejected=True))


def _macs(
    graphs: Sequence[ModelProto], shapes: Sequence[Mapping[str, tuple[int, ...]]], common: frozenset[int]
) -> tuple[int, int, int]:
    """Return the common multiply-accumulates, and those of each model."""
    one, other = (layer_macs(graph, given) for graph, given in zip(graphs, shapes, strict=True))
    names = {node.output[0] for place, node in enumerate(graphs[1].graph.node) if place in common}
    return sum(macs for name, macs in other.items() if name in names), sum(one.values()), sum(other.values())


def _manifest(
    models: tuple[Manifest, Manifest],
    name: str | None,
    heads: Sequence[str] | None,
    graphs: Sequence[ModelProto],
    outputs: Mapping[str, str],
    image: str,
) -> Manifest:
    """Return the manifest without hashes of files."""
    if heads is not None and len(heads) != 2:
        raise ManifestError(f"two head names are needed, one for each model, not {len(heads)}")
    specs: dict[str, HeadSpec] = {}
    for place, (manifest, graph) in enumerate(zip(models, graphs, strict=True)):
        renamed = dict(outputs) if place else {value.name: value.name for value in graph.graph.output}
        given = manifest.outputs or {heads[place] if heads else manifest.task: _head_of(manifest)}
        for head, spec in given.items():
            if head in specs:
                way_out = "rename it in one model.yaml" if manifest.outputs else "name the heads"
                raise ManifestError(f"both models have a head {head!r}: {way_out}")
            known = spec.outputs or list(renamed)
            options = {key: _renamed(value, renamed) for key, value in spec.options.items()}
            update = {"outputs": [renamed[one] for one in known], "options": options}
            specs[head] = spec.model_copy(update=update)
    file = Variant(file=f"{BASELINE}.onnx", sha256="0" * 64)
    origins = {one.name: one.variant(one.baseline).sha256 for one in models}
    try:
        return Manifest.model_validate(
            {
                "name": name or f"{models[0].name}_and_{models[1].name}",
                "task": "multi_task",
                "description": "joined from "
                + " and ".join(f"{key} ({sha[:12]})" for key, sha in origins.items()),
                "input": models[0].input.model_copy(update={"name": image}),
                "inputs": models[0].inputs,
                "outputs": specs,
                "baseline": BASELINE,
                "variants": {BASELINE: file},
            }
        )
    except ValidationError as error:
        raise ManifestError(f"the joined model: {describe_validation_error(error)}") from error


def _head_of(manifest: Manifest) -> HeadSpec:
    output = manifest.output
    return HeadSpec(
        task=manifest.task,
        labels=manifest.labels,
        decoder=output.decoder,
        options=output.options,
        settings=output.settings,
    )


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return an option with the new names of outputs, in lists and mappings, too."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(each, names) for key, each in value.items()}
    return value


def _compare(
    graphs: Sequence[ModelProto], joined: ModelProto, outputs: Mapping[str, str], images: tuple[str, str]
) -> float:
    """Return the largest absolute difference of any output on random images.

    Raises:
        ModelFileError: an output differs by more than TOLERANCE of its range.
    """
    largest = 0.0
    rng = np.random.default_rng(0)
    for _ in range(_CHECKS):
        feeds = {spec.name: _noise(rng, spec.shape, spec.dtype) for spec in input_specs(joined)}
        found = run_model(joined, feeds)
        for place, graph in enumerate(graphs):
            own: Feeds = {
                spec.name: feeds[images[0] if spec.name == images[place] else spec.name]
                for spec in input_specs(graph)
            }
            for name, expected in run_model(graph, own).items():
                other = found[outputs[name] if place else name]
                if expected.shape != other.shape:
                    raise ModelFileError(f"output {name!r} of the joined model has another shape")
                difference = np.abs(expected.astype(np.float64) - other.astype(np.float64))
                worst = float(difference.max()) if difference.size else 0.0
                span = float(np.abs(expected.astype(np.float64)).max()) if expected.size else 0.0
                if not worst <= TOLERANCE * max(span, 1e-6):
                    raise ModelFileError(
                        f"output {name!r} of the joined model differs by {worst:.3g} from the original's"
                    )
                largest = max(largest, worst)
    return largest


def _noise(rng: np.random.Generator, shape: tuple[int | None, ...], dtype: str) -> Any:
    sizes = [size or 1 for size in shape]
    if np.dtype(dtype).kind == "f":
        return rng.random(sizes).astype(dtype) * np.dtype(dtype).type(255.0)
    return rng.integers(0, 256, sizes).astype(dtype)


def _store(manifest: Manifest, model: ModelProto, folder: Path) -> None:
    """Write the folder once the model was loaded and bound to all decoders."""
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with scratch_folder(parent, ".join-") as scratch:
            file = scratch / f"{BASELINE}.onnx"
            file.write_bytes(model.SerializeToString(deterministic=True))
            manifest.variants[BASELINE].sha256 = file_sha256(file)
            save_manifest(manifest, scratch)
            manifest.folder = scratch
            open_pipeline(manifest).close()
            folder.mkdir(parents=True, exist_ok=True)
            for name in (file.name, MANIFEST_NAME):
                (scratch / name).chmod(0o644)
                os.replace(scratch / name, folder / name)
    except OSError as error:
        raise ManifestError(f"cannot write to {folder}: {error.strerror or error}") from error
    manifest.folder = folder.resolve()
