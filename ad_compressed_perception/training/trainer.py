# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded, resumable, with early stopping; it keeps the best weights on validation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.training.distillation.dataset import DistillationDataset
from ad_compressed_perception.training.distillation.losses import Loss
from ad_compressed_perception.training.relative_adamw import RelativeAdamW

Advance = Callable[[int, int], None]
_STATE, _WEIGHTS, _OPTIMIZER = "state.json", "weights.safetensors", "optimizer.pt"
_RENAMED_KEYS = {"judgements": "val_losses", "hold_out": "val_fraction"}
"""Keys of history and schedule in checkpoints of earlier versions."""
_RENAMED_OPTIMIZER = "optimiser.pt"
"""Name of the optimizer's file in them."""


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training.

    Attributes:
        epochs: maximum number of passes over the dataset.
        batch: images per step.
        learning_rate: AdamW's peak rate; a linear warm-up over the first 5 %, then a cosine to 1 %.
        weight_decay: AdamW's weight decay.
        val_fraction: share of the dataset held out for validation.
        patience: epochs without a lower validation loss before training stops.
        minutes: wall-clock limit, checked after every epoch; 0 for none.
        seed: of shuffling and validation split.
        threads: torch's; 0 for its default.
        relative_rate: whether steps are relative to each channel's size; see relative_adamw.
        precision: fp32, or bf16 for matrix products in bfloat16 with weights, losses and updates in float32.
    """

    epochs: int = 10
    batch: int = 8
    learning_rate: float = 5e-4
    relative_rate: bool = False
    weight_decay: float = 1e-5
    val_fraction: float = 0.1
    patience: int = 3
    minutes: float = 0.0
    seed: int = 0
    threads: int = 0
    precision: str = "fp32"


@dataclass
class History:
    """Training and validation loss of every epoch, and the best epoch; stored in the checkpoint."""

    losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    best: float = math.inf
    best_epoch: int = -1
    first: float = math.nan
    seconds: float = 0.0


class Trainer:
    """Trains one module and keeps the weights with the lowest validation loss, the initial ones included."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        dataset: DistillationDataset,
        schedule: Schedule,
        checkpoint: Path | None,
    ) -> None:
        """Split the dataset into training and validation rows.

        Args:
            module: called with one input tensor, returns a tuple of outputs.
            loss: of outputs and targets.
            dataset: student inputs and targets.
            schedule: length and learning rate.
            checkpoint: folder of the checkpoint, written after every epoch and resumed from; None
                for none.
        """
        self.module, self.loss, self.dataset, self.schedule = module, loss, dataset, schedule
        self.checkpoint = checkpoint
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rng = np.random.default_rng(schedule.seed)
        rows = np.arange(len(dataset))
        # Neighboring frames of a drive look alike: validation rows are one contiguous segment.
        val_count = max(1, round(len(rows) * schedule.val_fraction))
        start = int(rng.integers(0, len(rows) - val_count + 1))
        self._val_rows = rows[start : start + val_count]
        self._train_rows = np.delete(rows, np.s_[start : start + val_count])
        if len(self._train_rows) == 0:
            self._train_rows = rows
        self.history = History()

    def train(self, advance: Advance = lambda done, total: None) -> History:
        """Train; leave the best weights in the module, also where Ctrl-C ends the training early.

        KeyboardInterrupt is raised to the caller; the checkpoint of the last complete epoch remains.

        Raises:
            RecipeError: the loss became NaN or infinite.
        """
        schedule = self.schedule
        torch.manual_seed(schedule.seed)
        if schedule.threads:
            torch.set_num_threads(schedule.threads)
        self.module.to(self.device)
        steps = max(1, math.ceil(len(self._train_rows) / schedule.batch))
        total = steps * schedule.epochs
        kind = RelativeAdamW if schedule.relative_rate else torch.optim.AdamW
        optimizer = kind(
            [p for p in self.module.parameters() if p.requires_grad],
            schedule.learning_rate,
            weight_decay=schedule.weight_decay,
        )
        first_epoch, best = self._resume(optimizer)
        history = self.history
        if first_epoch == 0:
            history.first = history.best = self._validate()
        try:
            for epoch in range(first_epoch, schedule.epochs):
                if self._is_over(epoch):
                    break
                start = perf_counter()
                order = np.random.default_rng((schedule.seed, epoch)).permutation(self._train_rows)
                mean = self._epoch(order, optimizer, epoch * steps, total, advance)
                val_loss = self._validate()
                history.losses.append(mean)
                history.val_losses.append(val_loss)
                history.seconds += perf_counter() - start
                if val_loss < history.best:
                    history.best, history.best_epoch, best = val_loss, epoch, self._snapshot()
                self._save(epoch + 1, optimizer, best)
        finally:
            self.module.load_state_dict(best)
            self.module.to("cpu").eval()
        advance(total, total)
        return history

    def _is_over(self, epoch: int) -> bool:
        """Return whether patience or the time limit is exceeded before this epoch."""
        schedule, history = self.schedule, self.history
        without_gain = epoch - 1 - history.best_epoch
        late = schedule.minutes > 0.0 and history.seconds > 60.0 * schedule.minutes
        return without_gain >= schedule.patience or late

    def _epoch(self, order: Any, optimizer: Any, done: int, total: int, advance: Advance) -> float:
        schedule = self.schedule
        self.module.train()
        losses = []
        for first in range(0, len(order), schedule.batch):
            step = done + first // schedule.batch
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * rate_at(step, total)
            inputs, targets = self.dataset.batch(order[first : first + schedule.batch], self.device)
            loss = self.loss(self._outputs(inputs), targets)
            if not torch.isfinite(loss):
                raise RecipeError(f"the loss became {loss.item()} at step {step}: lower learning_rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            advance(step + 1, total)
        return float(np.mean(losses))

    @torch.no_grad()
    def _validate(self) -> float:
        self.module.eval()
        losses = []
        for first in range(0, len(self._val_rows), self.schedule.batch):
            rows = self._val_rows[first : first + self.schedule.batch]
            inputs, targets = self.dataset.batch(rows, self.device)
            losses.append(float(self.loss(self._outputs(inputs), targets)))
        return float(np.mean(losses))

    def _outputs(self, inputs: Tensor) -> Sequence[Tensor]:
        if self.schedule.precision != "bf16":
            outputs: Sequence[Tensor] = self.module(inputs)
            return outputs
        if inputs.dim() == 4 and inputs.shape[1] in (1, 3):
            # Matrix units work on channels-last data; channels-first inputs would be reordered each time.
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            outputs = self.module(inputs)
        return [output.float() for output in outputs]

    def _snapshot(self) -> dict[str, Tensor]:
        return {key: value.detach().clone() for key, value in self.module.state_dict().items()}

    def _save(self, epochs: int, optimizer: Any, best: dict[str, Tensor]) -> None:
        if self.checkpoint is None:
            return
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        self.checkpoint.mkdir(parents=True, exist_ok=True)
        tensors = {f"now.{key}": value.contiguous() for key, value in self._snapshot().items()}
        tensors |= {f"best.{key}": value.contiguous().clone() for key, value in best.items()}
        try:
            save_file(tensors, self.checkpoint / (_WEIGHTS + ".part"))
            torch.save(optimizer.state_dict(), self.checkpoint / (_OPTIMIZER + ".part"))
        except (SafetensorError, RuntimeError) as error:  # how these libraries report a full disk
            for name in (_WEIGHTS, _OPTIMIZER):
                (self.checkpoint / (name + ".part")).unlink(missing_ok=True)
            raise OSError(f"no room for a checkpoint ({one_line(error)})") from error
        state = {"epochs": epochs, "schedule": asdict(self.schedule), "history": asdict(self.history)}
        (self.checkpoint / (_STATE + ".part")).write_text(json.dumps(state))
        for name in (_WEIGHTS, _OPTIMIZER, _STATE):  # the state last: it marks the checkpoint as complete
            (self.checkpoint / (name + ".part")).replace(self.checkpoint / name)

    def _resume(self, optimizer: Any) -> tuple[int, dict[str, Tensor]]:
        """Load a checkpoint of the same schedule, if there is one.

        Returns:
            The number of completed epochs and the best weights so far (the module's, without a checkpoint).
        """
        if self.checkpoint is None or not (self.checkpoint / _STATE).is_file():
            return 0, self._snapshot()
        from safetensors.torch import load_file

        state = json.loads((self.checkpoint / _STATE).read_text())
        if present_keys(state["schedule"], _RENAMED_KEYS) != asdict(self.schedule):
            return 0, self._snapshot()
        tensors = load_file(self.checkpoint / _WEIGHTS)
        now = {key[4:]: value for key, value in tensors.items() if key.startswith("now.")}
        own = {key: value.shape for key, value in self.module.state_dict().items()}
        if own != {key: value.shape for key, value in now.items()}:
            return 0, self._snapshot()  # of another graph: an earlier pass gave a different result
        self.module.load_state_dict(now)
        path = self.checkpoint / _OPTIMIZER
        if not path.is_file():
            path = self.checkpoint / _RENAMED_OPTIMIZER
        optimizer.load_state_dict(torch.load(path, weights_only=True))
        self.history = History(**present_keys(state["history"], _RENAMED_KEYS))
        best = {key[5:]: value for key, value in tensors.items() if key.startswith("best.")}
        return int(state["epochs"]), best


def present_keys(values: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """Return what a checkpoint stores, under present keys; no warning, since no user wrote the old ones."""
    return {renamed.get(key, key): value for key, value in values.items()}


def rate_at(step: int, total: int) -> float:
    """Return the share of the peak learning rate: linear warm-up over the first 5 %, then cosine to 1 %."""
    warm = max(1, round(0.05 * total))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
