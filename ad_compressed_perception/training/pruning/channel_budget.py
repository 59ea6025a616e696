# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Allocation of channels to groups: a cost is reduced to a goal with the least loss of importance.

The costs are a table measured with one group narrowed at a time. The cost of a layer that two groups affect,
one by its inputs and one by its outputs, is predicted from both: with ``t_l`` the layer's cost at full width
and ``t_l(g, k)`` that with only group g narrowed to k channels,

    cost(kept) = sum over l of t_l * product over g of f_lg(kept_g),    f_lg(k) = min(t_l(g, k) / t_l, 1)

where f is made monotonic in k and is linear between the measured counts. (Yang et al., NetAdapt, ECCV 2018,
also allocate by such tables, one layer at a time.) The allocation is deterministic: it depends on the table
and the importances only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

Kept = Mapping[str, int]
_TIE = 1e-6


@dataclass(frozen=True)
class CostTable:
    """Cost of items, and the share of it that remains when a group is narrowed.

    Attributes:
        items: cost of every item (milliseconds of a layer, size of a weight tensor) at full width.
        full: channels of every group at full width.
        shares: for each group and count of kept channels, the remaining share 0..1 of each item's cost.
    """

    items: Mapping[str, float]
    full: Mapping[str, int]
    shares: Mapping[str, Mapping[int, Mapping[str, float]]]
    _curves: dict[tuple[str, str], tuple[list[int], list[float]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _touched: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def share(self, group: str, kept: int, item: str) -> float:
        """Return the remaining share of an item's cost with ``kept`` channels of a group, 0..1."""
        counts, levels = self._curve(group, item)
        index = bisect_left(counts, kept)
        if index >= len(counts):
            return 1.0
        if counts[index] == kept or index == 0:
            return levels[index]
        fraction = (kept - counts[index - 1]) / (counts[index] - counts[index - 1])
        return levels[index - 1] + fraction * (levels[index] - levels[index - 1])

    def _curve(self, group: str, item: str) -> tuple[list[int], list[float]]:
        """Return measured counts and shares, made monotonic: a rise with fewer channels is timing noise."""
        key = group, item
        if key not in self._curves:
            measured = self.shares.get(group, {})
            counts = [count for count in sorted(measured) if item in measured[count]]
            values = [measured[count][item] for count in counts] + [1.0]
            levels = list(accumulate(reversed(values), min))[::-1]
            self._curves[key] = [*counts, self.full[group]], levels
        return self._curves[key]

    def by_item(self, kept: Kept) -> dict[str, float]:
        """Return the predicted cost of every item; groups not named keep their full width."""
        costs = dict(self.items)
        for group, count in kept.items():
            for item in self.touched(group):
                costs[item] *= self.share(group, count, item)
        return costs

    def total(self, kept: Kept) -> float:
        """Return the predicted cost of all items."""
        return sum(self.by_item(kept).values())

    def touched(self, group: str) -> list[str]:
        """Return the names of the items whose cost depends on a group, sorted."""
        if group not in self._touched:
            self._touched[group] = sorted(
                {i for shares in self.shares.get(group, {}).values() for i in shares}
            )
        return self._touched[group]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "items": dict(self.items),
            "full": dict(self.full),
            "shares": {g: {str(k): dict(v) for k, v in table.items()} for g, table in self.shares.items()},
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> CostTable:
        """Return the table that ``as_dict`` described."""
        shares = {g: {int(k): v for k, v in table.items()} for g, table in values["shares"].items()}
        return CostTable(values["items"], values["full"], shares)


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together.

    Attributes:
        name: of the group.
        importances: of each present channel, in any order, not negative.
        counts: allowed numbers of kept channels, fewer than present, the largest first.
    """

    name: str
    importances: Sequence[float]
    counts: Sequence[int]

    @property
    def channels(self) -> int:
        """Number of present channels."""
        return len(self.importances)


@dataclass(frozen=True)
class Allocation:
    """The result of an allocation.

    Attributes:
        kept: number of kept channels of every group.
        cost: predicted.
        reached: whether the cost is within the goal.
    """

    kept: dict[str, int]
    cost: float
    reached: bool


def allowed_counts(present: int, full: int, round_to: int, max_ratio: float) -> list[int]:
    """Return the allowed numbers of kept channels below ``present``, the largest first.

    Multiples of ``round_to``, at least ``round_to``, and at least ``1 - max_ratio`` of the ``full`` number.
    """
    least = max(round_to, (1.0 - max_ratio) * full - 1e-9)
    return [count for count in range(present - 1, 0, -1) if count % round_to == 0 and count >= least]


def allocate(
    groups: Sequence[Group], table: CostTable, goal: float, limited: CostTable | None = None
) -> Allocation:
    """Narrow groups until a predicted cost is at most ``goal``.

    Greedy: each move takes the group and the count that save most cost per importance lost, given the current
    counts of all others; ties go to the first group and the largest count. Moves do not depend on the goal,
    so a lower goal never keeps more channels of a group.

    Args:
        groups: groups that may be narrowed.
        table: the cost to save.
        goal: in the unit of ``limited``.
        limited: the cost that the goal limits, if not that of ``table``.
    """
    limited = limited or table
    kept = {group.name: group.channels for group in groups}
    losses = {group.name: _losses(group) for group in groups}
    while limited.total(kept) > goal:
        now = [(one, one.by_item(kept)) for one in (table, limited)]
        best: tuple[float, str, int] | None = None
        for group in groups:
            present = kept[group.name]
            for count in group.counts:
                if count >= present:
                    continue
                # Where no cost of the table can be saved any more, that of ``limited`` decides.
                first, second = (_saved(one, costs, group.name, present, count) for one, costs in now)
                lost = losses[group.name][count] - losses[group.name][present]
                gain = (first + _TIE * second) / max(lost, 1e-12)
                if first + _TIE * second > 1e-9 * _TIE and (best is None or gain > best[0] * (1.0 + 1e-12)):
                    best = gain, group.name, count
        if best is None:
            break
        kept[best[1]] = best[2]
    cost = limited.total(kept)
    return Allocation(kept, cost, cost <= goal)


def _saved(table: CostTable, costs: Mapping[str, float], group: str, present: int, count: int) -> float:
    """Return the share of the current cost saved by narrowing a group from ``present`` to ``count``."""
    saved = 0.0
    for item in table.touched(group):
        share = table.share(group, present, item)
        if share > 0.0:
            saved += costs[item] * (1.0 - table.share(group, count, item) / share)
    return saved / max(sum(costs.values()), 1e-12)


def _losses(group: Group) -> dict[int, float]:
    """Return the importance lost when only the ``count`` most important channels are kept, by count."""
    ranked = sorted(group.importances)
    losses, lost = {group.channels: 0.0}, 0.0
    for removed, importance in enumerate(ranked, start=1):
        lost += importance
        losses[group.channels - removed] = lost
    return losses
