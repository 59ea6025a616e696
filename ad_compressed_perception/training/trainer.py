# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded, resumable, stopped early, and never worse than where it began."""

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
from ad_compressed_perception.onnx_graph.io import one_line
from ad_compressed_perception.training.distillation.dataset import DistillationDataset
from ad_compressed_perception.training.distillation.losses import Loss
from ad_compressed_perception.training.relative_adamw import RelativeAdamW

Advance = Callable[[int, int], None]
_STATE, _WEIGHTS, _OPTIMIZER = "state.json", "weights.safetensors", "optimizer.pt"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: rounds over the lessons at most.
        batch: images a step.
        learning_rate: AdamW's peak rate; a linear warm-up over the first 5 %, then a cosine to 1 %.
        weight_decay: AdamW's.
        val_fraction: share of the lessons that only judge.
        patience: epochs without a better judgment before it stops.
        minutes: wall-clock limit, looked at after every epoch; 0 for none.
        seed: of shuffling and hold-out.
        threads: torch's; 0 for its own choice.
        relative_rate: whether the rate is a share of each channel's size; see relative_adamw.
        precision: fp32, or bf16 for products in bfloat16 with weights, losses and updates in float32.
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
    """What happened, epoch by epoch; what a resumed run goes on from."""

    losses: list[float] = field(default_factory=list)
    judgments: list[float] = field(default_factory=list)
    best: float = math.inf
    best_epoch: int = -1
    first: float = math.nan
    seconds: float = 0.0


class Trainer:
    """Teaches one module; the best weights seen win, those it began with included."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        lessons: DistillationDataset,
        schedule: Schedule,
        checkpoint: Path | None,
    ) -> None:
        """Split the lessons.

        Args:
            module: called with one input tensor, returns a tuple of outputs.
            loss: of outputs and answers.
            lessons: what to learn.
            schedule: how.
            checkpoint: folder of the checkpoint, written after every epoch and resumed from; None
                for none.
        """
        self.module, self.loss, self.lessons, self.schedule = module, loss, lessons, schedule
        self.checkpoint = checkpoint
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rng = np.random.default_rng(schedule.seed)
        rows = np.arange(len(lessons))
        # Neighbors in a drive look alike: the judges are whole stretches, not single rows.
        judges = max(1, round(len(rows) * schedule.val_fraction))
        start = int(rng.integers(0, len(rows) - judges + 1))
        self._judges = rows[start : start + judges]
        self._learners = np.delete(rows, np.s_[start : start + judges])
        if len(self._learners) == 0:
            self._learners = rows
        self.history = History()

    def train(self, advance: Advance = lambda done, total: None) -> History:
        """Learn; leave the best weights in the module, also where Ctrl-C ends it early.

        Ctrl-C goes on to the caller; the checkpoint of the last whole epoch is there to resume from.

        Raises:
            RecipeError: the loss became NaN or infinite.
        """
        schedule = self.schedule
        torch.manual_seed(schedule.seed)
        if schedule.threads:
            torch.set_num_threads(schedule.threads)
        self.module.to(self.device)
        steps = max(1, math.ceil(len(self._learners) / schedule.batch))
        total = steps * schedule.epochs
        kind = RelativeAdamW if schedule.relative_rate else torch.optim.AdamW
        optimizer = kind(
            [p for p in self.module.parameters() if p.requires_grad],
            schedule.learning_rate,
            weight_decay=schedule.weight_decay,
        )
        begun, best = self._resume(optimizer)
        history = self.history
        if begun == 0:
            history.first = history.best = self._judge()
        try:
            for epoch in range(begun, schedule.epochs):
                if self._is_over(epoch):
                    break
                start = perf_counter()
                order = np.random.default_rng((schedule.seed, epoch)).permutation(self._learners)
                mean = self._epoch(order, optimizer, epoch * steps, total, advance)
                judgment = self._judge()
                history.losses.append(mean)
                history.judgments.append(judgment)
                history.seconds += perf_counter() - start
                if judgment < history.best:
                    history.best, history.best_epoch, best = judgment, epoch, self._snapshot()
                self._save(epoch + 1, optimizer, best)
        finally:
            self.module.load_state_dict(best)
            self.module.to("cpu").eval()
        advance(total, total)
        return history

    def _is_over(self, epoch: int) -> bool:
        """Whether patience or time ran out before this epoch."""
        schedule, history = self.schedule, self.history
        waited = epoch - 1 - history.best_epoch
        late = schedule.minutes > 0.0 and history.seconds > 60.0 * schedule.minutes
        return waited >= schedule.patience or late

    def _epoch(self, order: Any, optimizer: Any, done: int, total: int, advance: Advance) -> float:
        schedule = self.schedule
        self.module.train()
        losses = []
        for first in range(0, len(order), schedule.batch):
            step = done + first // schedule.batch
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * rate_at(step, total)
            inputs, answers = self.lessons.batch(order[first : first + schedule.batch], self.device)
            loss = self.loss(self._outputs(inputs), answers)
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
    def _judge(self) -> float:
        self.module.eval()
        losses = []
        for first in range(0, len(self._judges), self.schedule.batch):
            rows = self._judges[first : first + self.schedule.batch]
            inputs, answers = self.lessons.batch(rows, self.device)
            losses.append(float(self.loss(self._outputs(inputs), answers)))
        return float(np.mean(losses))

    def _outputs(self, inputs: Tensor) -> Sequence[Tensor]:
        if self.schedule.precision != "bf16":
            outputs: Sequence[Tensor] = self.module(inputs)
            return outputs
        if inputs.dim() == 4 and inputs.shape[1] in (1, 3):
            # Matrix units take channels side by side; with planes apart every product is shuffled first.
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
        except (SafetensorError, RuntimeError) as error:  # a full disk by the libraries' own names
            for name in (_WEIGHTS, _OPTIMIZER):
                (self.checkpoint / (name + ".part")).unlink(missing_ok=True)
            raise OSError(f"no room for a checkpoint ({one_line(error)})") from error
        state = {"epochs": epochs, "schedule": asdict(self.schedule), "history": asdict(self.history)}
        (self.checkpoint / (_STATE + ".part")).write_text(json.dumps(state))
        for name in (_WEIGHTS, _OPTIMIZER, _STATE):  # the state last: it vouches for the others
            (self.checkpoint / (name + ".part")).replace(self.checkpoint / name)

    def _resume(self, optimizer: Any) -> tuple[int, dict[str, Tensor]]:
        """Load a checkpoint of the same schedule, if there is one.

        Returns:
            The epochs it has done, and the best weights so far (those now in the module without one).
        """
        if self.checkpoint is None or not (self.checkpoint / _STATE).is_file():
            return 0, self._snapshot()
        from safetensors.torch import load_file

        state = json.loads((self.checkpoint / _STATE).read_text())
        if state["schedule"] != asdict(self.schedule):
            return 0, self._snapshot()
        tensors = load_file(self.checkpoint / _WEIGHTS)
        now = {key[4:]: value for key, value in tensors.items() if key.startswith("now.")}
        own = {key: value.shape for key, value in self.module.state_dict().items()}
        if own != {key: value.shape for key, value in now.items()}:
            return 0, self._snapshot()  # of another graph: passes before this one came out otherwise
        self.module.load_state_dict(now)
        optimizer.load_state_dict(torch.load(self.checkpoint / _OPTIMIZER, weights_only=True))
        self.history = History(**state["history"])
        best = {key[5:]: value for key, value in tensors.items() if key.startswith("best.")}
        return int(state["epochs"]), best


def rate_at(step: int, total: int) -> float:
    """Return the share of the peak rate: a linear warm-up over the first 5 %, then a cosine to 1 %."""
    warm = max(1, round(0.05 * total))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
