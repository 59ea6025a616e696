# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shared by the training passes: the distillation dataset, the loss and the training itself.

The teacher is the float baseline with the model's original input, the student the graph as returned by the
earlier passes, with its current input and output.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from onnx.helper import tensor_dtype_to_np_dtype
from torch import Tensor

from ad_compressed_perception.core.errors import DataError, ModelFileError, RecipeError
from ad_compressed_perception.core.progress import Advance
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.data.labeled.dataset import LabeledData, LabeledFrame
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.io import is_quantized, read_model
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.prepare import Preparer
from ad_compressed_perception.training.checkpoints import write_json
from ad_compressed_perception.training.distillation.dataset import (
    Arrays,
    DistillationDataset,
    cache_teacher_outputs,
)
from ad_compressed_perception.training.distillation.declared_kinds import require_values
from ad_compressed_perception.training.distillation.feature_loss import Features
from ad_compressed_perception.training.distillation.label_correction import Correct, create_correction
from ad_compressed_perception.training.distillation.targets import Targets, open_targets
from ad_compressed_perception.training.distillation.trained_outputs import TrainedOutput, trained_outputs
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.losses import create_loss
from ad_compressed_perception.training.options import TrainingOptions
from ad_compressed_perception.training.teacher import Teacher, default_device, with_outputs
from ad_compressed_perception.training.trainer import History, Schedule, Trainer
from ad_compressed_perception.workspace.stale_checkpoints import remove_with_empty_parents

_CACHING_SHARE = 0.1
_MOST_APART = 0.01
"""Share of an output's range; rounding in another order of sums is a hundredth of it."""
_MILLE = 1000
_WEIGHT_DECAY = 1e-5


def part(advance: Advance, start: float, stop: float) -> Advance:
    """Return a progress callback that covers a part (0..1) of another one's range."""

    def report(done: int, total: int) -> None:
        advance(round(_MILLE * (start + (stop - start) * done / max(total, 1))), _MILLE)

    return report


@dataclass
class DistillationTrainer:
    """Trains students of one teacher.

    Attributes:
        dataset: student inputs and targets.
        example: one prepared (1, ...) input.
        options: length and learning rate.
        checkpoints: folder of the checkpoints.
    """

    dataset: DistillationDataset
    example: Tensor
    options: TrainingOptions
    checkpoints: Path

    def train(
        self, module: GraphModule, name: str, advance: Advance, *, epochs: int | None = None
    ) -> History:
        """Train a module in place, from the checkpoint ``name`` where there is one.

        Args:
            module: the student.
            name: of the checkpoint.
            advance: called with (done, total).
            epochs: instead of those of the options.
        """
        options, dataset = self.options, self.dataset
        epochs = options.epochs if epochs is None else epochs
        settings = {
            key: getattr(options, key)
            for key in (
                *("batch", "learning_rate", "relative_rate", "val_fraction", "patience", "minutes"),
                *("seed", "threads", "precision"),
            )
        } | {"epochs": epochs, "weight_decay": _WEIGHT_DECAY}
        schedule = Schedule(
            steps=epochs * dataset.steps_per_epoch,
            round_steps=dataset.steps_per_epoch,
            learning_rate=options.learning_rate,
            weight_decay=_WEIGHT_DECAY,
            relative_rate=options.relative_rate,
            patience=options.patience,
            minutes=options.minutes,
            seed=options.seed,
            threads=options.threads,
        )
        module.allow_batches(self.example)
        return Trainer(module, dataset, schedule, self.checkpoints / name, settings).train(advance)

    def single_losses(self, module: GraphModule, count: int) -> Iterator[Tensor]:
        """Yield losses of single, evenly spaced images against targets with 20 % of noise.

        The gradient of a student that equals its teacher is zero; with noise on the targets it shows which
        weights the outputs depend on.
        """
        generator = torch.Generator().manual_seed(self.options.seed)

        def noisy(target: Tensor) -> Tensor:
            return target * (1.0 + 0.2 * torch.randn(target.shape, generator=generator))

        for row in np.unique(np.linspace(0, len(self.dataset) - 1, count).astype(np.int64)):
            yield self.dataset.loss_of_rows(module, np.array([row]), noisy)


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
    student = GraphModule(model)
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise RecipeError("the graph has no weights that can be trained")
    frame = next(iter(context.images()), None)
    if frame is None:
        raise DataError("no images to train on: the source has none")
    example = torch.from_numpy(Preparer(context.input)(frame)[0].copy()).float()
    outputs = trained_outputs(student, read_model(context.baseline), example, context)
    _check_forward(student, example, [output.student.name for output in outputs])
    targets = open_targets(context, outputs)
    inputs, tables = _cached(context, options, targets)
    _check_shapes(tables, outputs)
    for table, output in zip(tables, outputs, strict=True):
        # A column of one number is stored without its axis.
        shape = (len(table), *output.shape[1:])
        require_values(output.student.name, output.student.kinds, table.reshape(shape))
    kinds = [output.student.kinds for output in outputs]
    dataset = DistillationDataset(
        inputs=inputs,
        targets=tables,
        loss_of=create_loss(kinds, [output.student.is_softmaxed for output in outputs]),
        outputs=[output.student.name for output in outputs],
        features=Features(context, student, example, options.threads) if options.feature_weight else None,
        feature_weight=options.feature_weight,
        batch_size=options.batch,
        val_fraction=options.val_fraction,
        seed=options.seed,
        precision=options.precision,
    )
    context.notes["trained"] = {
        output.student.name: list(dict.fromkeys(one.kind for one in output.student.kinds.columns))
        for output in outputs
    }
    return DistillationTrainer(dataset, example, options, context.checkpoints)


def _check_forward(student: GraphModule, example: Tensor, names: list[str]) -> None:
    """Raise ModelFileError where a float graph computes something else in torch than in ONNX Runtime.

    A value between two steps of a quantized one may round to either.
    """
    if is_quantized(student.model):
        return
    model = with_outputs(student.model, names)
    (given,) = (value for value in model.graph.input if value.name == student.input_names[0])
    kind = tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    expected = run_model(model, {given.name: example.numpy().astype(kind)})
    with torch.no_grad():
        found = student.batch(example, names)
    for name, own in zip(names, found, strict=True):
        apart = relative_difference(expected[name], own.numpy())
        # A single number near 0 may be apart by its rounding.
        is_rounding = math.isfinite(apart) and np.allclose(expected[name], own.numpy(), rtol=0.0, atol=1e-4)
        if not (apart <= _MOST_APART or is_rounding):
            raise ModelFileError(
                f"training computes {name!r} otherwise than ONNX Runtime, by {apart:.2g} of its range: put "
                "optimize before, whose opset it follows, or leave the passes that train out"
            )


def _cached(context: PassContext, options: TrainingOptions, targets: Targets) -> Arrays:
    """Compute inputs and targets, or load those of an interrupted run or of an earlier pass."""
    names = [output.teacher.name for output in targets.outputs]
    opened = [open_frames(spec, stride=options.stride) for spec in options.data]
    sources = [(source, source.readable(range(len(source)))) for source in opened]
    labeled, correct = _labeled(context, options, targets.outputs)
    chosen = [] if labeled is None else labeled.readable(range(len(labeled)))
    count = context.frames + sum(len(indices) for _, indices in sources) + len(chosen)
    known = [options.labels, options.label_map, options.label_weight]
    student = [context.input.model_dump_json(), context.output.model_dump_json()]
    student += [json.dumps(asdict(output)) for output in targets.outputs]
    key = [count, options.views, options.seed, options.stride, *options.data, *known, *student]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    folder = context.checkpoints.parent / f"teacher_outputs-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done.json"
    if done.is_file():
        tables = [np.load(folder / f"outputs_{i}.npy", mmap_mode="r") for i in range(len(names))]
        return np.load(folder / "inputs.npy", mmap_mode="r"), tables

    def images() -> Iterator[Frame | LabeledFrame]:
        starts: list[Callable[[], Iterator[Frame]]] = [
            context.images,
            *(partial(s.frames, i) for s, i in sources),
        ]
        for start in starts:
            yield from start()
        if labeled is not None:
            yield from labeled.items(chosen)

    teacher = Teacher(targets.model, targets.spec, names, default_device(), options.threads)
    try:
        arrays = cache_teacher_outputs(
            images,
            count,
            teacher,
            context.input,
            folder,
            views=options.views,
            fit=targets.fit,
            correct=correct,
            seed=options.seed,
            advance=part(context.advance, 0.0, _CACHING_SHARE),
        )
    except OSError:
        # Free a full disk: remove the folder, and those of the variant and the model.
        remove_with_empty_parents(folder, 2)
        raise
    finally:
        teacher.close()
    write_json(done, {"key": key})
    return arrays


def _labeled(
    context: PassContext, options: TrainingOptions, outputs: Sequence[TrainedOutput]
) -> tuple[LabeledData | None, Correct | None]:
    """Open the labeled images that the options name, if any."""
    if options.labels is None:
        return None, None
    student = context.manifest.model_copy(update={"input": context.input, "output": context.output})
    data = open_labeled(options.labels, student, options.label_map)
    return data, create_correction(data, student, outputs[0], options.label_weight)


def _check_shapes(tables: Sequence[np.ndarray[Any, Any]], outputs: Sequence[TrainedOutput]) -> None:
    for table, output in zip(tables, outputs, strict=True):
        same = table.shape[1:] == output.shape[1:] or table.ndim != len(output.shape)
        if not same or np.prod(table.shape[1:]) != np.prod(output.shape):
            raise RecipeError(
                f"the student's output is {list(output.shape)}, the teacher's {list(table.shape[1:])}: "
                "train before the pass that changed it"
            )


def training_progress(context: PassContext) -> Advance:
    """Return the progress callback of the training, which follows the caching of teacher outputs."""
    return part(context.advance, _CACHING_SHARE, 1.0)
