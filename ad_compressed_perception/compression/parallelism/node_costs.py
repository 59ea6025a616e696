# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What each node of a graph costs on this host: the times of the executed layers, put back on the nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ad_compressed_perception.analysis.costs import file_costs
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.onnx_graph.cuts import CutGraph
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.training.pruning.channel_timing import Runtime, names_in, time_layers

_LEAST_SHARE = 0.5
# What ONNX Runtime appends to a node's name when it rewrites it.
_REWRITTEN = re.compile(r"(_nchwc|_nhwc|_token_\d+|_quant|/WithoutBiases|/DuplicateDQ|/duplicated)$")


@dataclass(frozen=True)
class NodeCosts:
    """Cost of each node of a CutGraph, in its order.

    Attributes:
        costs: milliseconds, or shares of the multiply-accumulates.
        by: "profile": the layers' times; "macs": counted, as the layers' times could not be had.
        matched_share: share of the time whose layers were found in the graph; the rest is spread evenly.
    """

    costs: list[float]
    by: Literal["profile", "macs"]
    matched_share: float = 0.0


def node_costs(graph: CutGraph, runtime: Runtime, path: Path) -> NodeCosts:
    """Time the nodes of a graph on a runtime; without its times, count multiply-accumulates.

    Args:
        graph: the graph.
        runtime: backend and options of the stages.
        path: the whole graph is written there.
    """
    model = copied(graph.graph.model)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    path.write_bytes(model.SerializeToString())
    try:
        times = time_layers([path], runtime)[0]
    except BackendError:  # the runtime times no layers
        times = {}
    found = _matched(graph, times)
    total = sum(times.values())
    share = sum(found) / total if total else 0.0
    if share >= _LEAST_SHARE:
        return NodeCosts([cost / share for cost in found], "profile", share)
    return NodeCosts(_counted(graph, path), "macs")


def _matched(graph: CutGraph, times: dict[str, float]) -> list[float]:
    places: dict[str, int] = {}
    for place, node in enumerate(graph.nodes):
        places |= dict.fromkeys(node.output, place)
        places[node.name] = place
    costs = [0.0] * len(graph.nodes)
    for layer, ms in times.items():
        for part in (*layer.split(","), *names_in(layer)):
            place = places.get(part, places.get(_REWRITTEN.sub("", part), -1)) if part else -1
            if place >= 0:
                costs[place] += ms
                break
    return costs


def _counted(graph: CutGraph, path: Path) -> list[float]:
    try:
        macs = {layer.output: layer.macs or 0 for layer in file_costs(path).layers}
    except AdcpError:
        macs = {}
    counted = [sum(macs.get(name, 0) for name in node.output) for node in graph.nodes]
    total = sum(counted)
    return [float(value) / total for value in counted] if total else _even(graph.nodes)


def _even(nodes: Sequence[object]) -> list[float]:
    return [1.0 / len(nodes)] * len(nodes)


def scaled_costs(costs: Sequence[float], ends: Sequence[int], times_ms: Sequence[float]) -> list[float]:
    """Return the costs of nodes such that those of each stage add up to its measured time.

    Args:
        costs: of each node.
        ends: places of the stages' first nodes, and the number of nodes.
        times_ms: of each stage.
    """
    scaled: list[float] = []
    for first, last, time_ms in zip(ends, ends[1:], times_ms, strict=False):
        part = costs[first:last]
        total = sum(part)
        scaled += [cost * time_ms / total for cost in part] if total else [time_ms / len(part)] * len(part)
    return scaled
