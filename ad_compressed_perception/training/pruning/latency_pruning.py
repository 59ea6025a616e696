# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency-aware channel pruning: removes the channels that save most time on this host per importance lost.

``channel_timing.py`` measures and ``channel_budget.py`` allocates; this module applies both to a graph. Where
the pruned graph is slower than predicted, the allocation is repeated with a stricter goal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, numpy_helper
from torch import Tensor

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.training.checkpoints import write_json
from ad_compressed_perception.training.graph_module.module import GraphModule
from ad_compressed_perception.training.pruning.channel_budget import (
    CostTable,
    Group,
    allocate,
    allowed_counts,
)
from ad_compressed_perception.training.pruning.channel_groups import ChannelGroups
from ad_compressed_perception.training.pruning.channel_timing import (
    Runtime,
    independent_sets,
    measured_speedup,
    names_in,
    some_counts,
    time_layers,
)

_TRIALS = 4
_TOLERANCE = 0.98


class LatencyPruner:
    """Prunes the channels of one graph.

    Attributes:
        times: milliseconds of the executed layers.
        sizes: sizes of the weight tensors.
    """

    def __init__(
        self,
        model: ModelProto,
        example: Tensor,
        runtime: Runtime,
        folder: Path,
        *,
        round_to: int,
        max_ratio: float,
        advance: Advance = no_advance,
    ) -> None:
        """Measure, or load the table of an interrupted run.

        Args:
            model: the graph at full width.
            example: one prepared (1, ...) input.
            runtime: the runtime of the variant.
            folder: for the table, and for graphs while they are timed.
            round_to: kept channels are a multiple of this.
            max_ratio: no group loses more than this share.
            advance: called with (done, total).

        Raises:
            RecipeError: a graph that cannot be pruned, or no group wider than ``round_to``.
            BackendError: the runtime cannot time its layers.
        """
        self._example, self._runtime, self._folder = example, runtime, folder
        self._round_to, self._max_ratio = round_to, max_ratio
        folder.mkdir(parents=True, exist_ok=True)
        self._base = folder / "full_width.onnx"
        onnx.save(model, str(self._base))
        stored = folder / "channel_times.json"
        if not stored.is_file():
            times, sizes = self._measure(model, advance)
            write_json(stored, {"times": times.as_dict(), "sizes": sizes.as_dict()})
        tables = json.loads(stored.read_text(encoding="utf-8"))
        self.times, self.sizes = (CostTable.from_dict(tables[key]) for key in ("times", "sizes"))

    def narrow(
        self, model: ModelProto, importances: Mapping[str, Tensor], goal: Mapping[str, float]
    ) -> tuple[ModelProto, dict[str, Any]]:
        """Remove channels from the graph.

        Args:
            model: the graph at full width, or the result of earlier calls and fine-tuning.
            importances: of its channels by group.
            goal: ``speedup`` over the full width, or ``parameters``: the share of them to remove.

        Returns:
            The pruned graph; predicted and measured speedup, channels of the groups, time of the layers.

        Raises:
            RecipeError: the goal is out of reach.
        """
        groups = [
            Group(name, values.tolist(), self._counts(len(values), self.times.full[name]))
            for name, values in importances.items()
            if name in self.times.full
        ]
        if "parameters" in goal:
            by_size = self.sizes.total({}) * (1.0 - goal["parameters"])
            chosen = allocate(groups, self.times, by_size, self.sizes)
            if not chosen.reached:
                least = 1.0 - chosen.cost / self.sizes.total({})
                raise _out_of_reach(f"{least:.2f} of the weights are removed")
            return self._pruned(model, importances, chosen.kept)
        requested = strict = goal["speedup"]
        best: tuple[ModelProto, dict[str, Any]] | None = None
        for _ in range(_TRIALS):
            chosen = allocate(groups, self.times, self.times.total({}) / strict)
            fresh, facts = self._pruned(model, importances, chosen.kept)
            if best is None or facts["measured_speedup"] > best[1]["measured_speedup"]:
                best = fresh, facts
            if facts["measured_speedup"] >= _TOLERANCE * requested or not chosen.reached:
                break
            strict *= requested / facts["measured_speedup"]
        assert best is not None  # there is at least one trial
        if not chosen.reached and best[1]["measured_speedup"] < _TOLERANCE * requested:
            raise _out_of_reach(f"it is {best[1]['measured_speedup']:.2f} times as fast")
        return best

    def _pruned(
        self, model: ModelProto, importances: Mapping[str, Tensor], kept: dict[str, int]
    ) -> tuple[ModelProto, dict[str, Any]]:
        fresh = ChannelGroups(GraphModule(model), self._example).narrow(kept, importances)
        path = self._folder / "narrowed.onnx"
        onnx.save(fresh, str(path))
        (before, after) = time_layers([self._base, path], self._runtime)
        predicted = self.times.by_item(kept)
        layers = {
            name: {
                "ms": round(before[name], 4),
                "predicted_saving_ms": round(self.times.items[name] - predicted[name], 4),
                "measured_saving_ms": round(before[name] - after[name], 4),
            }
            for name in self.times.items
            if predicted[name] < self.times.items[name] and name in before and name in after
        }
        facts = {
            "predicted_speedup": self.times.total({}) / sum(predicted.values()),
            "measured_speedup": measured_speedup(self._base, path, self._runtime),
            "groups": {
                name: {"channels": self.times.full[name], "kept": count, "removed": 1 - count / full}
                for name, count in kept.items()
                for full in (self.times.full[name],)
            },
            "layers": layers,
        }
        path.unlink()
        return fresh, facts

    def _counts(self, present: int, full: int) -> list[int]:
        return allowed_counts(present, full, self._round_to, self._max_ratio)

    def _measure(self, model: ModelProto, advance: Advance) -> tuple[CostTable, CostTable]:
        module = GraphModule(model)
        found = ChannelGroups(module, self._example).groups
        counts = {g.name: self._counts(g.channels, g.channels) for g in found}
        wide = {g.name: g for g in found if counts[g.name]}
        if not wide:
            raise RecipeError(f"no layer is wider than round_to {self._round_to}: nothing can be removed")
        points = {name: some_counts(counts[name], group.channels) for name, group in wide.items()}
        plans: list[dict[str, int]] = []
        for names in independent_sets({name: group.layers for name, group in wide.items()}):
            for index in range(max(len(points[name]) for name in names)):
                plans.append({n: points[n][index] for n in names if index < len(points[n])})
        paths, sizes = [self._base], [_sizes(module, model)]
        for number, plan in enumerate(plans):
            variant = ChannelGroups(GraphModule(model), self._example).narrow(plan)
            paths.append(self._folder / f"narrow_{number}.onnx")
            onnx.save(variant, str(paths[-1]))
            sizes.append(_sizes(module, variant))
        times = time_layers(paths, self._runtime, advance=advance)
        for path in paths[1:]:
            path.unlink()
        layers = {name: set(group.layers) for name, group in wide.items()}
        producers = {name: set(group.producers) for name, group in wide.items()}
        touching = _touching(module, layers, producers, times[0])
        full = {name: group.channels for name, group in wide.items()}
        weights = {
            name: {module.steps[layer].inputs[1] for layer in group.layers} for name, group in wide.items()
        }
        return _table(plans, times, full, touching), _table(plans, sizes, full, weights)


def _out_of_reach(least: str) -> RecipeError:
    return RecipeError(
        f"the goal is out of reach: with every layer at its least width {least}; "
        "ask for less, or lower round_to, raise max_ratio"
    )


def _table(
    plans: list[dict[str, int]],
    costs: list[dict[str, float]],
    full: dict[str, int],
    touching: Mapping[str, set[str]],
) -> CostTable:
    """Return the cost table of measurements; ``costs`` has the full width first, then one entry per plan."""
    base = costs[0]
    shares: dict[str, dict[int, dict[str, float]]] = {name: {} for name in full}
    for plan, after in zip(plans, costs[1:], strict=True):
        for group, count in plan.items():
            shares[group][count] = {
                item: min(1.0, after[item] / base[item])
                for item in sorted(touching[group])
                if item in after and base.get(item, 0.0) > 0.0
            }
    return CostTable(base, full, shares)


def _sizes(module: GraphModule, model: ModelProto) -> dict[str, float]:
    names = {module.steps[int(key)].inputs[1] for key in module.layers}
    values = {t.name: float(numpy_helper.to_array(t).size) for t in model.graph.initializer}
    return {name: values[name] for name in sorted(names)}


def _touching(
    module: GraphModule,
    layers: Mapping[str, set[int]],
    producers: Mapping[str, set[int]],
    executed: Mapping[str, float],
) -> dict[str, set[str]]:
    """Return the executed layers that consume or produce the channels of each group."""
    of_tensor: dict[str, set[str]] = {}
    of_step: list[set[str]] = []
    nearest: list[int | None] = []
    producer: dict[str, int] = {}
    for index, step in enumerate(module.steps):
        entering = set().union(*(of_tensor.get(name, set()) for name in step.inputs))
        earlier = [nearest[producer[name]] for name in step.inputs if name in producer]
        if str(index) in module.layers:
            of_step.append({group for group, members in layers.items() if index in members})
            leaving = {group for group, members in producers.items() if index in members}
            nearest.append(index)
        else:
            of_step.append(entering)
            leaving = entering
            nearest.append(max((i for i in earlier if i is not None), default=None))
        for name in step.outputs:
            of_tensor[name], producer[name] = leaving, index
    by_name = {step.name: index for index, step in enumerate(module.steps) if step.name}
    touching: dict[str, set[str]] = {group: set() for group in layers}
    for layer in executed:
        for name in names_in(layer):
            if name not in by_name and name not in producer:
                continue
            index = by_name.get(name, producer.get(name, 0))
            above = nearest[index]
            # A runtime names a convolution fused with its successors after the last of them.
            fused = name != layer and above is not None
            found = of_step[index] | (of_step[above or 0] if fused else set())
            for group in found & touching.keys():
                touching[group].add(layer)
    return touching
