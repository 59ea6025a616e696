# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a training from its configuration to a model folder with a baseline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx
import onnxslim
import torch
from onnx import ModelProto

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.host import usable_cores
from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256, load_manifest
from ad_compressed_perception.core.progress import Progress
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.training.default_models.config import Schedule, TrainConfig
from ad_compressed_perception.training.default_models.detection_task import DetectionTrainingTask
from ad_compressed_perception.training.default_models.initialize_from import initialize_from
from ad_compressed_perception.training.default_models.segmentation_task import SegmentationTrainingTask
from ad_compressed_perception.training.default_models.synthetic_dataset import (
    SyntheticDataset,
    SyntheticDatasetSpec,
    open_dataset,
    render_dataset,
)
from ad_compressed_perception.training.default_models.training_task import (
    INPUT_NAME,
    TrainingTask,
    build_network,
    stored_image_size,
)
from ad_compressed_perception.training.default_models.trajectory_task import TrajectoryTrainingTask
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.trainer import Schedule as TrainerSchedule
from ad_compressed_perception.training.trainer import Trainer
from ad_compressed_perception.workspace.save_manifest import save_manifest

BASELINE = "baseline"
_LARGEST_GRADIENT = 10.0


def choose_device(name: str) -> torch.device:
    """Return a device by name; "auto" is CUDA if available. Raises RecipeError for an absent device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise RecipeError("no CUDA device is visible to torch: use the device cpu")
    return torch.device(name)


def prepare_dataset(configs: list[TrainConfig], work: Path, progress: Progress, jobs: int = 0) -> Path:
    """Render the images that several trainings share, once; return their folder.

    Raises:
        RecipeError: the trainings need different images, or two of one kind have different sizes.
    """
    requested = {
        (
            config.synthetic.source,
            config.synthetic.frames,
            config.synthetic.seed if config.synthetic.frames else 0,
        )
        for config in configs
    }
    if len(requested) != 1:
        raise RecipeError("trainings that share images need the same synthetic.source, frames and seed")
    source, frames, seed = requested.pop()
    sizes: dict[str, tuple[int, int]] = {}
    for config in configs:
        if sizes.setdefault(config.kind, stored_image_size(config)) != stored_image_size(config):
            raise RecipeError(
                f"two trainings of kind {config.kind} with different inputs: train them separately"
            )
    spec = SyntheticDatasetSpec(source, frames, seed, dict(sorted(sizes.items())))
    key = hashlib.sha256(json.dumps([frames, seed, sorted(sizes.items())]).encode()).hexdigest()[:12]
    folder = work / source / key
    render_dataset(folder, spec, jobs or usable_cores(), progress)
    return folder


def train(
    config: TrainConfig, dataset: Path, out: Path, work: Path, device: torch.device, progress: Progress
) -> Manifest:
    """Train a model and write its folder.

    Args:
        config: the training.
        dataset: folder of prepare_dataset.
        out: the model's folder is out/NAME.
        work: checkpoints go to work/NAME.
        device: where it runs.
        progress: called with the progress.

    Raises:
        AdcpError: data or teacher missing, a loss that became infinite, no room on the disk.
    """
    images = open_dataset(dataset, config.kind, stored_image_size(config))
    task = open_training_task(config, images, device, progress)
    network = build_network(config)
    if config.network.initialize_from is not None:
        initialize_from(network, config.network.initialize_from, config.network.frozen_stride)
    facts = fit(network, task, config.schedule, work / config.name, progress, digest(config, dataset))
    return export(config, network, out / config.name, facts)


def digest(config: TrainConfig, dataset: Path) -> str:
    """Return a hash of all that a training depends on: its images, network and targets, too."""
    text = config.model_dump_json(exclude={"name", "description"})
    return hashlib.sha256(json.dumps([text, dataset.name]).encode()).hexdigest()[:12]


def fit(
    network: GraphModule,
    task: TrainingTask,
    schedule: Schedule,
    folder: Path,
    progress: Progress,
    config: str = "",
) -> dict[str, Any]:
    """Train; leave the moving average of the weights in the network, on the CPU.

    Args:
        network: with fresh weights.
        task: computes the losses.
        schedule: length and learning rate.
        folder: of the checkpoint.
        progress: called after every step, with the loss in its text.
        config: hash of what else it depends on; a checkpoint of another one is not resumed.

    Returns:
        Facts about the training, for the model's provenance.

    Raises:
        RecipeError: the loss became NaN or infinite.
    """
    device, start = task.device, perf_counter()
    task.prepare(network.to(device).train(), progress)
    trainer = Trainer(
        network,
        task,
        TrainerSchedule(
            steps=schedule.steps,
            round_steps=schedule.checkpoint_steps,
            learning_rate=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            decays_vectors=False,
            largest_gradient=_LARGEST_GRADIENT,
            ema_decay=schedule.ema_decay,
            seed=schedule.seed,
        ),
        folder,
        schedule.model_dump() | {"config": config},
    )
    trainer.train(lambda done, total: progress(f"training, loss {trainer.last_loss:.3f}", done, total))
    return {
        "steps": schedule.steps,
        "last_loss": round(trainer.last_loss, 4),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "seconds_this_run": round(perf_counter() - start, 1),
        "torch": torch.__version__,
    }


def open_training_task(
    config: TrainConfig, dataset: SyntheticDataset, device: torch.device, progress: Progress
) -> TrainingTask:
    """Return the task of a training's kind."""
    if config.kind == "detection":
        return DetectionTrainingTask(config, dataset, device)
    if config.kind == "segmentation":
        return SegmentationTrainingTask(config, dataset, device, progress)
    return TrajectoryTrainingTask(config, dataset, device)


def export(config: TrainConfig, network: GraphModule, folder: Path, facts: dict[str, Any]) -> Manifest:
    """Write the network as the baseline of a model folder, normalizations folded; return its manifest."""
    model = onnxslim.slim(at_inference_size(config, network).write_back())
    if not isinstance(model, ModelProto):
        raise RecipeError("onnxslim returned no model")
    check_model(model, "the trained network")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{BASELINE}.onnx"
    onnx.save(model, path)
    manifest = Manifest(
        name=config.name,
        task=config.task,
        description=config.description,
        labels=config.labels,
        input=config.inference_input.model_copy(update={"name": config.input.name or INPUT_NAME}),
        output=config.output,
        baseline=BASELINE,
        variants={
            BASELINE: Variant(file=path.name, sha256=file_sha256(path), provenance={"training": facts})
        },
    )
    save_manifest(manifest, folder)
    return load_manifest(folder)


def at_inference_size(config: TrainConfig, network: GraphModule) -> GraphModule:
    """Return the network at its inference input size, with the trained weights.

    A fully convolutional network can be trained on small crops and run at a higher resolution.

    Raises:
        RecipeError: weights that depend on the input size, such as a planner's fully connected layer.
    """
    spec = config.inference_input
    if (spec.width, spec.height) == (config.input.width, config.input.height):
        return network
    other = build_network(config.model_copy(update={"input": spec}))
    shapes = {key: value.shape for key, value in other.state_dict().items()}
    if shapes != {key: value.shape for key, value in network.state_dict().items()}:
        raise RecipeError(
            f"{config.name}: inference_width and inference_height need a fully convolutional network"
        )
    other.load_state_dict(network.state_dict())
    return other.eval()
