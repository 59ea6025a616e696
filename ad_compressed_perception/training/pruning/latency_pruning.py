# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Channels leave where that saves most time on this host for the importance that is lost.

``channel_timing.py`` measures, ``channel_budget.py`` chooses; here the two meet the graph. Where the narrowed
graph is slower than predicted, the choice is made again for a stricter goal.
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
    Advance,
    Runtime,
    independent_sets,
    measured_speedup,
    names_in,
    some_counts,
    time_layers,
)

_TRIALS = 4
_SHORT_OF = 0.98


class LatencyPruner:
    """Chooses and takes channels of one graph.

    Attributes:
        times: milliseconds of the executed layers.
        sizes: numbers in the weight tensors.
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
        advance: Advance = lambda done, total: None,
    ) -> None:
        """Measure, or read what an interrupted run had measured.

        Args:
            model: the graph at full width.
            example: one prepared (1, ...) input.
            runtime: where the variant is to run.
            folder: for the table, and for graphs while they are timed.
            round_to: channels that stay are a multiple of this.
            max_ratio: no group loses more than this share.
            advance: told (done, total).

        Raises:
            RecipeError: a graph that cannot be pruned, or no group as wide as ``round_to`` and more.
            BackendError: the runtime cannot clock its layers.
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
        self, model: ModelProto, worths: Mapping[str, Tensor], goal: Mapping[str, float]
    ) -> tuple[ModelProto, dict[str, Any]]:
        """Take channels out of the graph as it is by now.

        Args:
            model: the graph at full width, or what earlier calls and learning left of it.
            worths: importances of its channels by group.
            goal: ``speedup`` over the full width, or ``parameters``: the share of them to be gone.

        Returns:
            The narrower graph; predicted and measured speed, channels of the groups, time of the layers.

        Raises:
            RecipeError: the goal is out of reach.
        """
        groups = [
            Group(name, worth.tolist(), self._counts(len(worth), self.times.full[name]))
            for name, worth in worths.items()
            if name in self.times.full
        ]
        if "parameters" in goal:
            by_size = self.sizes.total({}) * (1.0 - goal["parameters"])
            chosen = allocate(groups, self.times, by_size, self.sizes)
            if not chosen.reached:
                least = 1.0 - chosen.cost / self.sizes.total({})
                raise _out_of_reach(f"{least:.2f} of the weights are gone")
            return self._tried(model, worths, chosen.kept)
        wanted = strict = goal["speedup"]
        best: tuple[ModelProto, dict[str, Any]] | None = None
        for _ in range(_TRIALS):
            chosen = allocate(groups, self.times, self.times.total({}) / strict)
            fresh, facts = self._tried(model, worths, chosen.kept)
            if best is None or facts["measured_speedup"] > best[1]["measured_speedup"]:
                best = fresh, facts
            if facts["measured_speedup"] >= _SHORT_OF * wanted or not chosen.reached:
                break
            strict *= wanted / facts["measured_speedup"]
        assert best is not None  # there is at least one trial
        if not chosen.reached and best[1]["measured_speedup"] < _SHORT_OF * wanted:
            raise _out_of_reach(f"it is {best[1]['measured_speedup']:.2f} times as fast")
        return best

    def _tried(
        self, model: ModelProto, worths: Mapping[str, Tensor], kept: dict[str, int]
    ) -> tuple[ModelProto, dict[str, Any]]:
        fresh = ChannelGroups(GraphModule(model), self._example).narrow(kept, worths)
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
            raise RecipeError(f"no layer is wider than round_to {self._round_to}: nothing can leave")
        points = {name: some_counts(counts[name], group.channels) for name, group in wide.items()}
        plans: list[dict[str, int]] = []
        for names in independent_sets({name: group.layers for name, group in wide.items()}):
            for place in range(max(len(points[name]) for name in names)):
                plans.append({n: points[n][place] for n in names if place < len(points[n])})
        paths, sizes = [self._base], [_sizes(module, model)]
        for number, plan in enumerate(plans):
            variant = ChannelGroups(GraphModule(model), self._example).narrow(plan)
            paths.append(self._folder / f"narrow_{number}.onnx")
            onnx.save(variant, str(paths[-1]))
            sizes.append(_sizes(module, variant))
        times = time_layers(paths, self._runtime, advance=advance)
        for path in paths[1:]:
            path.unlink()
        touching = _touching(module, {name: set(group.layers) for name, group in wide.items()},
                             {name: set(group.makers) for name, group in wide.items()}, times[0])  # fmt: skip
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
    """Put measurements together; ``costs`` has the full width first, then one entry a plan."""
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
    makers: Mapping[str, set[int]],
    executed: Mapping[str, float],
) -> dict[str, set[str]]:
    """Find out which executed layers the channels of each group go in or out of."""
    of_tensor: dict[str, set[str]] = {}
    of_step: list[set[str]] = []
    nearest: list[int | None] = []
    maker: dict[str, int] = {}
    for index, step in enumerate(module.steps):
        entering = set().union(*(of_tensor.get(name, set()) for name in step.inputs))
        earlier = [nearest[maker[name]] for name in step.inputs if name in maker]
        if str(index) in module.layers:
            of_step.append({group for group, members in layers.items() if index in members})
            leaving = {group for group, members in makers.items() if index in members}
            nearest.append(index)
        else:
            of_step.append(entering)
            leaving = entering
            nearest.append(max((i for i in earlier if i is not None), default=None))
        for name in step.outputs:
            of_tensor[name], maker[name] = leaving, index
    by_name = {step.name: index for index, step in enumerate(module.steps) if step.name}
    touching: dict[str, set[str]] = {group: set() for group in layers}
    for layer in executed:
        for name in names_in(layer):
            if name not in by_name and name not in maker:
                continue
            index = by_name.get(name, maker.get(name, 0))
            above = nearest[index]
            # A runtime calls a convolution fused with what follows by the last of them.
            fused = name != layer and above is not None
            found = of_step[index] | (of_step[above or 0] if fused else set())
            for group in found & touching.keys():
                touching[group].add(layer)
    return touching
