# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded by the step, with averaged weights, resumable from the last checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from ad_compressed_perception.analysis.processor import multiplies_bfloat16
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.training.default_models.config import Schedule
from ad_compressed_perception.training.default_models.image_buffer import Progress
from ad_compressed_perception.training.default_models.training_task import TrainingTask
from ad_compressed_perception.training.graph_module.layers import Normalization
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.trainer import present_keys, rate_at

_CHECKPOINT = "checkpoint.pt"
_RENAMED_OPTIMIZER = "optimiser"
"""Key of the optimizer's state in checkpoints of earlier versions."""
_SEEDS = 1_000_003


def fit(
    network: GraphModule, task: TrainingTask, schedule: Schedule, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Train; leave the moving average of the weights in the network, on the CPU.

    Every step has a generator seeded by its number, so a resumed training draws the same batches as an
    uninterrupted one.

    Args:
        network: with fresh weights.
        task: computes the losses.
        schedule: length and learning rate.
        folder: of the checkpoint.
        progress: called after every step, with the loss in its text.

    Returns:
        Facts about the training, for the model's provenance.

    Raises:
        RecipeError: the loss became NaN or infinite.
    """
    device = task.device
    network.to(device).train()
    task.prepare(network, progress)
    optimizer = _optimizer(network, schedule)
    average = {key: value.detach().clone() for key, value in network.state_dict().items()}
    first_step = _resume(folder, schedule, network, optimizer, average)
    use_bfloat16 = device.type == "cuda" or multiplies_bfloat16(read_host())
    start, shown = perf_counter(), 0.0
    for step in range(first_step, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * rate_at(step, schedule.steps)
        generator = torch.Generator().manual_seed(schedule.seed * _SEEDS + step)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
            loss = task.loss(network, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        _update_average(average, network, min(schedule.ema_decay, (step + 1) / (step + 10)))
        is_last = step + 1 == schedule.steps
        if (step + 1) % 50 == 0 or is_last:  # reading the loss synchronizes with the device
            shown = float(loss.detach())
            if not math.isfinite(shown):
                raise RecipeError(f"the loss became {shown} at step {step}: lower schedule.learning_rate")
        if (step + 1) % schedule.checkpoint_steps == 0 or is_last:
            _save(folder, schedule, network, optimizer, average, step + 1)
        progress(f"training, loss {shown:.3f}", step + 1, schedule.steps)
    network.load_state_dict(average)
    network.to("cpu").eval()
    return {
        "steps": schedule.steps,
        "last_loss": round(shown, 4),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "seconds_this_run": round(perf_counter() - start, 1),
        "torch": torch.__version__,
    }


def _optimizer(network: GraphModule, schedule: Schedule) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices only, not on biases and normalizations."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.dim() > 1]
    vectors = [p for p in parameters if p.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": schedule.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        schedule.learning_rate,
    )


@torch.no_grad()
def _update_average(average: dict[str, torch.Tensor], network: nn.Module, keep: float) -> None:
    moving, present = [], []
    for key, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            moving.append(average[key])
            present.append(value)
        else:
            average[key].copy_(value)
    torch._foreach_lerp_(moving, present, 1.0 - keep)


def _save(
    folder: Path,
    schedule: Schedule,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
    steps: int,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (_CHECKPOINT + ".part")
    state = {
        "steps": steps,
        "schedule": schedule.model_dump(),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
    }
    try:
        torch.save(state, part)
    except (RuntimeError, OSError) as error:
        part.unlink(missing_ok=True)
        raise RecipeError(f"no checkpoint could be written to {folder}: {error}") from error
    part.replace(folder / _CHECKPOINT)


def _resume(
    folder: Path,
    schedule: Schedule,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> int:
    """Load the checkpoint of the same schedule and network, if there is one; return its number of steps."""
    path = folder / _CHECKPOINT
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True, map_location=next(network.parameters()).device)
    own = {key: value.shape for key, value in network.state_dict().items()}
    same = own == {key: value.shape for key, value in state["network"].items()}
    if not same or present_keys(state["schedule"], Schedule.old_keys()) != schedule.model_dump():
        return 0
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer" if "optimizer" in state else _RENAMED_OPTIMIZER])
    for key, value in state["average"].items():
        average[key].copy_(value)
    for module in network.modules():
        if isinstance(module, Normalization):
            module.unsettled = False
    return int(state["steps"])
