# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded by the step, resumable, with early stopping, of any dataset that gives losses."""

from __future__ import annotations

import json
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.training.checkpoints import write_json
from ad_compressed_perception.training.graph_module.layers import Normalization
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.relative_adamw import RelativeAdamW
from ad_compressed_perception.workspace.atomic_file import replaced_file

Weights = dict[str, Tensor]
_STATE, _WEIGHTS, _OPTIMIZER = "state.json", "weights{}.safetensors", "optimizer{}.pt"
"""Files of a checkpoint; the state names the other two, which every round writes under new names, so that a
kill at any moment leaves three files of one round. In earlier versions the names had no number."""
_CONFIG = "config"
"""Setting with a hash of what else a training depends on."""
_STEPS_TO_READ_LOSSES = 50
"""Reading a loss waits for the device."""
_RENAMED_KEYS = {"judgements": "val_losses", "hold_out": "val_fraction", "average": "ema_decay"}
"""Keys of history and schedule in checkpoints of earlier versions."""
_RENAMED_OPTIMIZER = ("optimiser.pt", "optimiser")
"""The optimizer's file and key in them."""
_OF_DEFAULT_MODELS = "checkpoint.pt"
"""The checkpoint of a default model's training in earlier versions: one file."""


class TrainingDataset(ABC):
    """What a module is trained on: gives the loss of a step, and of images held out where there are any.

    Attributes:
        device: where its batches are, and the module is trained.
    """

    device: torch.device

    @abstractmethod
    def loss(self, module: GraphModule, step: int) -> Tensor:
        """Return the loss of the step's batch; everything random is seeded by the number of the step."""

    def validation_loss(self, module: GraphModule) -> float | None:
        """Return the loss of the images held out; None where there are none."""
        return None


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training.

    Attributes:
        steps: number of batches.
        round_steps: after so many the validation loss is computed and a checkpoint written.
        learning_rate: AdamW's peak rate; a linear warm-up over the first 5 %, then a cosine to 1 %.
        weight_decay: AdamW's.
        decays_vectors: whether biases and normalizations decay too, and not only matrices.
        relative_rate: whether steps are relative to each channel's size; see relative_adamw.
        largest_gradient: norm that gradients are scaled down to.
        ema_decay: of the exponential moving average of the weights, the result; 0: none.
        patience: rounds without a lower validation loss before training stops.
        minutes: wall-clock limit, checked after every round; 0 for none.
        seed: of torch.
        threads: torch's; 0 for its default.
    """

    steps: int
    round_steps: int
    learning_rate: float
    weight_decay: float
    decays_vectors: bool = True
    relative_rate: bool = False
    largest_gradient: float = 5.0
    ema_decay: float = 0.0
    patience: float = math.inf
    minutes: float = 0.0
    seed: int = 0
    threads: int = 0


@dataclass
class History:
    """Training and validation loss of every round, and the best round; stored in the checkpoint."""

    losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    best: float = math.inf
    best_epoch: int = -1
    first: float = math.nan
    seconds: float = 0.0


class Trainer:
    """Trains one module.

    The result are the weights of the lowest validation loss, the initial ones included; without validation
    the moving average or the last ones.

    Attributes:
        history: of the training.
        last_loss: the loss read last.
    """

    def __init__(
        self,
        module: GraphModule,
        dataset: TrainingDataset,
        schedule: Schedule,
        checkpoint: Path | None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what is trained.

        Args:
            module: the module.
            dataset: gives its losses.
            schedule: length and learning rate.
            checkpoint: folder of the checkpoint, written after every round and resumed from; None for none.
            settings: what must be equal for a checkpoint to be resumed; the schedule by default.
        """
        self.module, self.dataset, self.schedule = module, dataset, schedule
        self.checkpoint = checkpoint
        self._settings = dict(asdict(schedule) if settings is None else settings)
        self.history, self.last_loss = History(), 0.0
        self._kept: Weights = {}

    def train(self, advance: Advance = no_advance) -> History:
        """Train; leave the result in the module, on the CPU, also where Ctrl-C ends the training early.

        KeyboardInterrupt is raised to the caller; the checkpoint of the last complete round remains.

        Raises:
            RecipeError: the loss became NaN or infinite.
        """
        schedule, history = self.schedule, self.history
        torch.manual_seed(schedule.seed)
        if schedule.threads:
            torch.set_num_threads(schedule.threads)
        self.module.to(self.dataset.device)
        optimizer = self._optimizer()
        self._kept = self._snapshot()
        done = self._resume(optimizer)
        if done == 0:
            first = self._validation_loss()
            if first is not None:
                history.first = history.best = first
        try:
            while done < schedule.steps and not self._is_over():
                start = perf_counter()
                until = min(done + schedule.round_steps, schedule.steps)
                mean = self._round(range(done, until), optimizer, advance)
                done = until
                self._keep(mean)
                history.seconds += perf_counter() - start
                self._save(done, optimizer)
        finally:
            self.module.load_state_dict(self._kept)
            self.module.to("cpu").eval()
        advance(schedule.steps, schedule.steps)
        return history

    def _optimizer(self) -> torch.optim.Optimizer:
        schedule = self.schedule
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        kind = RelativeAdamW if schedule.relative_rate else torch.optim.AdamW
        if schedule.decays_vectors:
            return kind(parameters, schedule.learning_rate, weight_decay=schedule.weight_decay)
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return kind(groups, schedule.learning_rate)

    def _is_over(self) -> bool:
        """Return whether patience or the time limit is exceeded before the next round."""
        schedule, history = self.schedule, self.history
        without_gain = len(history.val_losses) - 1 - history.best_epoch
        late = schedule.minutes > 0.0 and history.seconds > 60.0 * schedule.minutes
        return without_gain >= schedule.patience or late

    def _round(self, steps: range, optimizer: torch.optim.Optimizer, advance: Advance) -> float:
        """Run some steps; return the mean of their losses."""
        schedule = self.schedule
        self.module.train()
        unread: list[Tensor] = []
        total = 0.0
        for step in steps:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * rate_at(step, schedule.steps)
            loss = self.dataset.loss(self.module, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), schedule.largest_gradient)
            optimizer.step()
            if schedule.ema_decay:
                _update_average(self._kept, self.module, min(schedule.ema_decay, (step + 1) / (step + 10)))
            unread.append(loss.detach())
            if len(unread) == _STEPS_TO_READ_LOSSES or step + 1 == steps.stop:
                for place, value in enumerate(torch.stack(unread).tolist(), step + 1 - len(unread)):
                    if not math.isfinite(value):
                        raise RecipeError(f"the loss became {value} at step {place}: lower learning_rate")
                    self.last_loss = value
                    total += value
                unread = []
            advance(step + 1, schedule.steps)
        return total / len(steps)

    def _validation_loss(self) -> float | None:
        self.module.eval()
        with torch.no_grad():
            return self.dataset.validation_loss(self.module)

    def _keep(self, mean: float) -> None:
        """Note a round's losses; keep its weights where they are the best."""
        history = self.history
        val_loss = self._validation_loss()
        history.losses.append(mean)
        if val_loss is not None:
            history.val_losses.append(val_loss)
            if val_loss < history.best:
                history.best, history.best_epoch = val_loss, len(history.losses) - 1
                self._kept = self._snapshot()
        elif not self.schedule.ema_decay:
            self._kept = self._snapshot()

    def _snapshot(self) -> Weights:
        return {key: value.detach().clone() for key, value in self.module.state_dict().items()}

    def _save(self, steps: int, optimizer: torch.optim.Optimizer) -> None:
        if self.checkpoint is None:
            return
        tensors = {f"now.{key}": value.contiguous() for key, value in self._snapshot().items()}
        tensors |= {f"best.{key}": value.contiguous().clone() for key, value in self._kept.items()}
        files = [name.format(f"-{steps}-{secrets.token_hex(4)}") for name in (_WEIGHTS, _OPTIMIZER)]
        state = {
            "steps": steps,
            "schedule": self._settings,
            "history": asdict(self.history),
            "last_loss": self.last_loss,
            "files": files,
        }
        try:
            with (
                replaced_file(self.checkpoint / files[0]) as weights,
                replaced_file(self.checkpoint / files[1]) as moments,
            ):
                save_file(tensors, weights)
                torch.save(optimizer.state_dict(), moments)
            write_json(self.checkpoint / _STATE, state)  # the last: from here on it is the checkpoint
        except (SafetensorError, RuntimeError, OSError) as error:  # how a full disk is reported
            raise OSError(f"no room for a checkpoint in {self.checkpoint} ({one_line(error)})") from error
        finally:
            _remove_unnamed(self.checkpoint)

    def _resume(self, optimizer: torch.optim.Optimizer) -> int:
        """Load a checkpoint of the same settings and shapes, if there is one; return its number of steps."""
        try:
            stored = None if self.checkpoint is None else _stored(self.checkpoint)
        except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError, SafetensorError) as error:
            raise RecipeError(
                f"the checkpoint in {self.checkpoint} cannot be read ({one_line(error)}): remove that folder "
                "to train from the start"
            ) from error
        if stored is None:
            return 0
        state, now, best, optimizer_state = stored
        own = {key: value.shape for key, value in self.module.state_dict().items()}
        same = own == {
            key: value.shape for key, value in now.items()
        }  # else an earlier pass gave another graph
        settings = _present(state["schedule"])
        if _CONFIG in self._settings:  # not stored by earlier versions
            settings.setdefault(_CONFIG, self._settings[_CONFIG])
        if not same or settings != self._settings:
            return 0
        self.module.load_state_dict(now)
        optimizer.load_state_dict(optimizer_state)
        for key, value in best.items():
            self._kept[key].copy_(value)
        self.history = History(**_present(state.get("history", {})))
        self.last_loss = state.get("last_loss", [0.0, *self.history.losses][-1])
        for norm in self.module.norms.values():
            assert isinstance(norm, Normalization)
            norm.unsettled = False
        return int(state["steps"] if "steps" in state else state["epochs"] * self.schedule.round_steps)


def _stored(folder: Path) -> tuple[dict[str, Any], Weights, Weights, dict[str, Any]] | None:
    """Return a checkpoint's state, present and best weights, and the optimizer's state; None without one."""
    if (folder / _STATE).is_file():
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        weights, moments = (folder / name for name in _files(state))
        tensors = load_file(weights)
        now, best = (
            {key[len(part) :]: value for key, value in tensors.items() if key.startswith(part)}
            for part in ("now.", "best.")
        )
        moments = moments if moments.is_file() else folder / _RENAMED_OPTIMIZER[0]
        return state, now, best, torch.load(moments, weights_only=True, map_location="cpu")
    if (folder / _OF_DEFAULT_MODELS).is_file():
        whole = torch.load(folder / _OF_DEFAULT_MODELS, weights_only=True, map_location="cpu")
        optimizer = whole["optimizer"] if "optimizer" in whole else whole[_RENAMED_OPTIMIZER[1]]
        return whole, whole["network"], whole["average"], optimizer
    return None


def _files(state: Mapping[str, Any]) -> list[str]:
    """Return the names of the weights' and the optimizer's file that a state belongs to."""
    return list(state.get("files") or [name.format("") for name in (_WEIGHTS, _OPTIMIZER)])


def _remove_unnamed(folder: Path) -> None:
    """Remove weights and optimizers of other rounds than that of the state; they are of no use."""
    state = folder / _STATE
    named = _files(json.loads(state.read_text(encoding="utf-8"))) if state.is_file() else []
    for pattern in (_WEIGHTS, _OPTIMIZER):
        for path in folder.glob(pattern.format("*")):
            if path.name not in named:
                path.unlink(missing_ok=True)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint stores, under present keys; no warning, since no user wrote the old ones."""
    return {_RENAMED_KEYS.get(key, key): value for key, value in values.items()}


def rate_at(step: int, total: int) -> float:
    """Return the share of the peak learning rate: linear warm-up over the first 5 %, then cosine to 1 %."""
    warm = max(1, round(0.05 * total))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def _update_average(average: Weights, module: nn.Module, keep: float) -> None:
    moving, present = [], []
    for key, value in module.state_dict().items():
        if value.dtype.is_floating_point:
            moving.append(average[key])
            present.append(value)
        else:
            average[key].copy_(value)
    torch._foreach_lerp_(moving, present, 1.0 - keep)
