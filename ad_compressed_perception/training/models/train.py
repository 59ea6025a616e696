# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training from its configuration to a model folder with a baseline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import onnxslim
import torch
from onnx import ModelProto

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import (
    Manifest,
    Variant,
    file_sha256,
    load_manifest,
    save_manifest,
)
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.models.config import TrainConfig
from ad_compressed_perception.training.models.detection_task import DetectionCourse
from ad_compressed_perception.training.models.fit import fit
from ad_compressed_perception.training.models.image_buffer import Progress
from ad_compressed_perception.training.models.initialize_from import take_over
from ad_compressed_perception.training.models.segmentation_task import SegmentationCourse
from ad_compressed_perception.training.models.training_task import (
    INPUT_NAME,
    Course,
    build_network,
    corpus_size,
)
from ad_compressed_perception.training.models.trajectory_task import TrajectoryCourse
from ad_road_simulation.model_training.synthetic_dataset import (
    Corpus,
    CorpusSpec,
    jobs_here,
    open_corpus,
    render_corpus,
)

BASELINE = "baseline"


def choose_device(name: str) -> torch.device:
    """Return a device by name; "auto" is CUDA where there is one. RecipeError names an absent one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise RecipeError("no CUDA device is visible to torch: use --device cpu")
    return torch.device(name)


def prepare_corpus(configs: list[TrainConfig], work: Path, progress: Progress, jobs: int = 0) -> Path:
    """Render the pictures that several trainings share, once; return their folder.

    Raises:
        RecipeError: the trainings want different pictures, or two are of one kind and different sizes.
    """
    wanted = {(config.road_camera.frames, config.road_camera.seed) for config in configs}
    if len(wanted) != 1:
        raise RecipeError("trainings that share pictures need the same road_camera.frames and seed")
    frames, seed = wanted.pop()
    sizes: dict[str, tuple[int, int]] = {}
    for config in configs:
        if sizes.setdefault(config.kind, corpus_size(config)) != corpus_size(config):
            raise RecipeError(f"two trainings of kind {config.kind} with different inputs: train them singly")
    spec = CorpusSpec(frames, seed, dict(sorted(sizes.items())))
    key = hashlib.sha256(json.dumps([frames, seed, sorted(sizes.items())]).encode()).hexdigest()[:12]
    folder = work / "road_camera" / key
    render_corpus(folder, spec, jobs or jobs_here(), progress)
    return folder


def train(
    config: TrainConfig, corpus: Path, out: Path, work: Path, device: torch.device, progress: Progress
) -> Manifest:
    """Train a model and write its folder.

    Args:
        config: the training.
        corpus: folder of prepare_corpus.
        out: the model's folder is out/NAME.
        work: checkpoints go to work/NAME.
        device: where it runs.
        progress: told how far it is.

    Raises:
        AdcpError: data or teacher missing, a loss that became infinite, no room on the disk.
    """
    pictures = open_corpus(corpus, config.kind, corpus_size(config))
    course = open_course(config, pictures, device, progress)
    network = build_network(config)
    if config.network.start is not None:
        take_over(network, config.network.start, config.network.frozen_stride)
    facts = fit(network, course, config.schedule, work / config.name, progress)
    return export(config, network, out / config.name, facts)


def open_course(config: TrainConfig, corpus: Corpus, device: torch.device, progress: Progress) -> Course:
    """Return the course of a training's kind."""
    if config.kind == "detection":
        return DetectionCourse(config, corpus, device)
    if config.kind == "segmentation":
        return SegmentationCourse(config, corpus, device, progress)
    return TrajectoryCourse(config, corpus, device)


def export(config: TrainConfig, network: GraphModule, folder: Path, facts: dict[str, Any]) -> Manifest:
    """Write the network as the baseline of a model folder, normalisations folded; return its manifest."""
    model = onnxslim.slim(at_used_size(config, network).write_back())
    if not isinstance(model, ModelProto):
        raise RecipeError("onnxslim gave no model back")
    check_model(model, "the trained network")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{BASELINE}.onnx"
    onnx.save(model, path)
    manifest = Manifest(
        name=config.name,
        task=config.task,
        description=config.description,
        labels=config.labels,
        input=config.used_input.model_copy(update={"name": config.input.name or INPUT_NAME}),
        output=config.output,
        baseline=BASELINE,
        variants={
            BASELINE: Variant(file=path.name, sha256=file_sha256(path), provenance={"training": facts})
        },
    )
    save_manifest(manifest, folder)
    return load_manifest(folder)


def at_used_size(config: TrainConfig, network: GraphModule) -> GraphModule:
    """Return the network for the input it is used with; its weights are those of the one trained.

    A convolution does not mind the size of its picture: small pictures teach fast, large ones show more.

    Raises:
        RecipeError: weights that belong to one size, as a planner's last product.
    """
    spec = config.used_input
    if (spec.width, spec.height) == (config.input.width, config.input.height):
        return network
    other = build_network(config.model_copy(update={"input": spec}))
    shapes = {key: value.shape for key, value in other.state_dict().items()}
    if shapes != {key: value.shape for key, value in network.state_dict().items()}:
        raise RecipeError(f"{config.name}: used_width and used_height need a network of convolutions alone")
    other.load_state_dict(network.state_dict())
    return other.eval()
