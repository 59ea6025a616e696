# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shared by the training passes: the distillation dataset, the loss and the training itself.

The teacher is the float baseline with the model's original input, the student the graph as returned by the
earlier passes, with its current input and output.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import OutputSpec
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.image_free import outputs_without_input
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.pass_api.passes import Advance, PassContext
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.prepare import Preparer
from ad_compressed_perception.training.checkpoints import write_json
from ad_compressed_perception.training.distillation.dataset import (
    DistillationDataset,
    Fit,
    cache_teacher_outputs,
)
from ad_compressed_perception.training.distillation.feature_loss import (
    FeatureDistillationDataset,
    Features,
    with_features,
)
from ad_compressed_perception.training.distillation.label_correction import Correct, create_correction
from ad_compressed_perception.training.distillation.losses import Loss, create_loss
from ad_compressed_perception.training.distillation.yolox_teacher import TeacherAdapter, yolox_teacher
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.options import TrainingOptions
from ad_compressed_perception.training.trainer import History, Schedule, Trainer
from ad_compressed_perception.workspace.stale_checkpoints import remove_with_empty_parents

_PASS_THROUGH = ("Transpose", "Identity", "Reshape", "QuantizeLinear", "DequantizeLinear")
_CACHING_SHARE = 0.1
_MILLE = 1000
_READ_OUTPUTS = ("yolox", "argmax", "steering", "trajectory")
"""Decoders with a loss for what they read; of others every output of the graph is trained."""


def part(advance: Advance, start: float, stop: float) -> Advance:
    """Return a progress callback that covers a part (0..1) of another one's range."""

    def report(done: int, total: int) -> None:
        advance(round(_MILLE * (start + (stop - start) * done / max(total, 1))), _MILLE)

    return report


def ends_in_softmax(model: ModelProto, output: str) -> bool:
    """Return whether an output comes from a Softmax, layout changes and Q/DQ pairs aside."""
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in _PASS_THROUGH:
        node = producers.get(node.input[0])
    return node is not None and node.op_type == "Softmax"


@dataclass
class DistillationTrainer:
    """Trains students of one teacher.

    Attributes:
        dataset: student inputs and targets.
        loss: of all outputs of a student's graph and the targets.
        example: one prepared (1, ...) input.
        schedule: length and learning rate.
        checkpoints: folder of the checkpoints.
        features: names of the tensors of the feature distillation loss.
    """

    dataset: DistillationDataset
    loss: Loss
    example: Tensor
    schedule: Schedule
    checkpoints: Path
    features: list[str] = field(default_factory=list)

    def train(self, module: GraphModule, name: str, advance: Advance, **changes: Any) -> History:
        """Train a module in place, from the checkpoint ``name`` where there is one.

        Args:
            module: the student.
            name: of the checkpoint.
            advance: called with (done, total).
            **changes: fields of the schedule to replace.
        """
        schedule = Schedule(**{**vars(self.schedule), **changes})
        with self._with_features(module):
            module.allow_batches(self.example)
            return Trainer(module, self.loss, self.dataset, schedule, self.checkpoints / name).train(advance)

    @contextlib.contextmanager
    def _with_features(self, module: GraphModule) -> Iterator[None]:
        """Append the features to the module's outputs."""
        outputs = module.output_names
        module.output_names = outputs + self.features
        try:
            yield
        finally:
            module.output_names = outputs

    def single_losses(self, module: GraphModule, count: int) -> Iterator[Tensor]:
        """Yield losses of single, evenly spaced images against targets with 20 % of noise.

        The gradient of a student that equals its teacher is zero; with noise on the targets it shows which
        weights the outputs depend on.
        """
        generator = torch.Generator().manual_seed(self.schedule.seed)
        rows = np.unique(np.linspace(0, len(self.dataset) - 1, count).astype(np.int64))
        for row in rows:
            inputs, targets = self.dataset.batch([int(row)], torch.device("cpu"))
            noisy = [a * (1.0 + 0.2 * torch.randn(a.shape, generator=generator)) for a in targets]
            with self._with_features(module):
                outputs = module(inputs)
            yield self.loss(outputs, noisy)


def open_distillation(
    model: ModelProto, context: PassContext, options: TrainingOptions
) -> DistillationTrainer:
    """Compute or load the cached teacher outputs; return the trainer of a student.

    Raises:
        RecipeError: a student whose outputs cannot be compared with its teacher's.
        DataError: no images, or images that cannot be read.
        BackendError: the teacher cannot run.
        ModelFileError: the graph cannot be trained.
    """
    baseline = read_model(context.baseline)
    names = _learnable(baseline)
    student = GraphModule(model)
    for frame in context.images():
        example = torch.from_numpy(Preparer(context.input)(frame)[0].copy()).float()
        break
    with torch.no_grad():
        shapes = {
            name: tuple(value.shape)
            for name, value in zip(student.output_names, student(example), strict=True)
        }
    teacher_outputs, student_outputs = _pairs(context, names, _learnable(model))
    for name in student_outputs:
        if shapes[name][:1] != (1,):
            raise RecipeError(
                f"output {name!r} is {list(shapes[name])}: its first axis is not the batch, so that it "
                "cannot be compared image by image"
            )
    logits = not ends_in_softmax(model, student_outputs[0])
    base = create_loss(context.output, not logits)
    positions = [student.output_names.index(name) for name in student_outputs]
    if context.manifest.output.decoder == "yolox":
        teacher = yolox_teacher(context)
    else:
        fit = _fit(context, ends_in_softmax(baseline, teacher_outputs[0]), shapes[student_outputs[0]])
        teacher = TeacherAdapter(context.baseline, context.manifest.input, fit)
    expected = [shapes[name] for name in student_outputs]
    dataset = _dataset(context, options, teacher_outputs, teacher, expected)
    _check_shapes(dataset, expected)

    def loss(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        return base([outputs[position] for position in positions], targets)

    schedule = Schedule(
        epochs=options.epochs, batch=options.batch, learning_rate=options.learning_rate,
        val_fraction=options.val_fraction, patience=options.patience, minutes=options.minutes,
        seed=options.seed, threads=options.threads, precision=options.precision,
        relative_rate=options.relative_rate,
    )  # fmt: skip
    if not options.feature_weight:
        return DistillationTrainer(dataset, loss, example, schedule, context.checkpoints)
    features = Features(context, student, example)
    names = features.names
    return DistillationTrainer(
        FeatureDistillationDataset(dataset, features),
        with_features(loss, len(names), options.feature_weight),
        example,
        schedule,
        context.checkpoints,
        names,
    )


def _pairs(context: PassContext, teacher: list[str], student: list[str]) -> tuple[list[str], list[str]]:
    """Return the names of corresponding outputs of the teacher's and the student's graph."""
    if context.output.decoder not in _READ_OUTPUTS:
        lacking = [name for name in student if name not in teacher]
        if lacking:
            raise RecipeError(f"the teacher has no output {', '.join(lacking)} that the student could learn")
        return student, student
    before, after = (_output_names(spec) for spec in (context.manifest.output, context.output))
    of_teacher = [name or teacher[0] for name in before]
    of_student = [name or student[0] for name in after]
    for name, known in [*((n, teacher) for n in of_teacher), *((n, student) for n in of_student)]:
        if name not in known:
            raise RecipeError(f"there is no output {name!r} to train on; the graph has {', '.join(known)}")
    return of_teacher, of_student


def _output_names(output: OutputSpec) -> list[str | None]:
    options = output.options
    if output.decoder == "steering":
        collision = options.get("collision_output")
        return [options.get("steering_output"), *([collision] if collision else [])]
    return [options.get("output")]


def _fit(context: PassContext, is_probability: bool, shape: tuple[int, ...]) -> Fit:
    if context.manifest.output.decoder != "argmax":
        return lambda outputs, teacher_geometry, student_geometry: outputs
    layout = context.manifest.output.options.get("layout", "NCHW")
    student_layout = context.output.options.get("layout", "NCHW")
    height, width = shape[2:4] if student_layout == "NCHW" else shape[1:3]

    def fit(
        outputs: list[NDArray[Any]], teacher_geometry: Geometry, student_geometry: Geometry
    ) -> list[NDArray[Any]]:
        scores = np.asarray(outputs[0][0], np.float32)
        scores = scores.transpose(1, 2, 0) if layout == "NCHW" else scores
        if not is_probability:
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
        if scores.shape[:2] != (height, width):
            smaller = height <= scores.shape[0] and width <= scores.shape[1]
            how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            resized = cv2.resize(np.ascontiguousarray(scores), (width, height), interpolation=how)
            scores = np.asarray(resized, np.float32).reshape(height, width, -1)
        return [(scores.transpose(2, 0, 1) if student_layout == "NCHW" else scores)[None]]

    return fit


def _dataset(
    context: PassContext,
    options: TrainingOptions,
    outputs: list[str],
    teacher: TeacherAdapter,
    shapes: list[tuple[int, ...]],
) -> DistillationDataset:
    """Compute the dataset, or load that of an interrupted run or an earlier pass with the same settings."""
    opened = [open_frames(spec, stride=options.stride) for spec in options.data]
    sources = [(source, source.readable(range(len(source)))) for source in opened]
    labeled, correct = _labeled(context, options)
    chosen = [] if labeled is None else labeled.readable(range(len(labeled)))
    count = context.frames + sum(len(indices) for _, indices in sources) + len(chosen)
    known = [options.labels, options.label_map, options.label_weight]
    student = [context.input.model_dump_json(), context.output.model_dump_json(), shapes]
    key = [count, options.views, options.seed, options.stride, outputs, *options.data, *known, *student]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    folder = context.checkpoints.parent / f"teacher_outputs-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done.json"
    if done.is_file():
        tables = [np.load(folder / f"outputs_{i}.npy", mmap_mode="r") for i in range(len(outputs))]
        return DistillationDataset(np.load(folder / "inputs.npy", mmap_mode="r"), tables)

    def images() -> Iterator[Frame | LabeledFrame]:
        starts: list[Callable[[], Iterator[Frame]]] = [
            context.images,
            *(partial(s.frames, i) for s, i in sources),
        ]
        for start in starts:
            yield from start()
        if labeled is not None:
            yield from labeled.items(chosen)

    try:
        dataset = cache_teacher_outputs(
            images, count, teacher.file, teacher.input, context.input, outputs, folder,
            views=options.views, threads=options.threads, fit=teacher.fit, correct=correct,
            seed=options.seed, advance=part(context.advance, 0.0, _CACHING_SHARE),
        )  # fmt: skip
    except OSError:
        # Free a full disk: remove the folder, and those of the variant and the model.
        remove_with_empty_parents(folder, 2)
        raise
    write_json(done, {"key": key})
    return dataset


def _learnable(model: ModelProto) -> list[str]:
    """Return the outputs of a graph that depend on its input."""
    constant = outputs_without_input(model)
    return [value.name for value in model.graph.output if value.name not in constant]


def _labeled(context: PassContext, options: TrainingOptions) -> tuple[LabeledData | None, Correct | None]:
    """Open the labeled images that the options name, if any."""
    if options.labels is None:
        return None, None
    student = context.manifest.model_copy(update={"input": context.input, "output": context.output})
    data = open_labeled(options.labels, student, options.label_map)
    return data, create_correction(data, student, options.label_weight)


def _check_shapes(dataset: DistillationDataset, shapes: list[tuple[int, ...]]) -> None:
    for table, shape in zip(dataset.targets, shapes, strict=True):
        if np.prod(table.shape[1:]) != np.prod(shape):
            raise RecipeError(
                f"the student's output is {list(shape)}, the teacher's {list(table.shape[1:])}: "
                "train before the pass that changed it"
            )


def training_progress(context: PassContext) -> Advance:
    """Return the progress callback of the training, which follows the caching of teacher outputs."""
    return part(context.advance, _CACHING_SHARE, 1.0)
