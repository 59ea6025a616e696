# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures `adcp check`: seeded faults, clean graphs, and its predictions against executed graphs.

    python benchmark/preflight.py [--graphs 50] [--clean 20] [--seeds 10] [--first 0]

For ONNX Runtime and OpenVINO the nodes that the rules say stay in float are compared with the executed graph
of networks of which a quarter of the Q/DQ pairs are missing: precision is the share of such predictions that
hold, recall the share of float nodes that were predicted. Nodes without any pair beside them do not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.targets.check import check_graph
from ad_compressed_perception.targets.facts import GraphFacts
from ad_compressed_perception.targets.quantization_rules import UnitsRule
from ad_compressed_perception.targets.rule_file import Target, load_target
from benchmark.preflight_faults import faults_of, seeded
from benchmark.preflight_graphs import TARGETS, clean, partly_quantized

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from ad_compressed_perception.core.tensors import LayerRecord

RUN_HERE = ("onnxruntime", "openvino")
_SUFFIXES = ("_nchwc", "_nhwc", "_quant", "/WithoutBiases", "/MatMulAddFusion")
_MOVING = ("DequantizeLinear", "Flatten", "MaxPool", "QuantizeLinear", "Reshape", "Slice", "Transpose")
_INTEGER = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize")


@dataclass
class Comparison:
    """Predictions of float nodes against an executed graph."""

    right: int = 0
    integer: int = 0
    disagreements: list[str] = field(default_factory=list)
    invented: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Share of predictions that hold."""
        return self.right / max(1, self.right + self.invented)

    @property
    def recall(self) -> float:
        """Share of float nodes that were predicted."""
        return self.right / max(1, self.right + self.missed)


def judged(model: ModelProto, target: Target) -> list[NodeProto]:
    """Return the nodes that are to be predicted: with a Q/DQ pair beside them.

    These are the operators that the rules name, with a pair as the rules see one; and any other one with
    pairs on both sides in the file, whether or not the rules know it, but for those that only move values.
    """
    facts = GraphFacts(model)
    rule = next(one for one in target.rules.values() if isinstance(one, UnitsRule))
    found = []
    for node in facts.nodes:
        named = node.op_type in rule.units or rule.lacks_kernel(node)
        before = any(rule.dequantized(facts, name) for name in node.input if name)
        state, _ = facts.quantized_output(node, rule.through, rule.clipping)
        between = any(facts.dequantized(name) for name in node.input) and (
            facts.quantized_output(node)[0] == "quantized"
        )
        if (named and (before or state != "float")) or (between and node.op_type not in _MOVING):
            found.append(node)
    return found


def executed_as_integer(node: NodeProto, layers: list[LayerRecord]) -> bool | None:
    """Whether a node of the file runs on integers; None where the executed graph does not show it."""
    names = {node.name, node.output[0]}
    for layer in layers:
        parts = {_plain(part) for part in layer.name.split(",")}
        if names & parts and layer.operator not in ("Reorder", "Transpose", "Reshape"):
            return layer.is_integer or layer.operator.startswith(_INTEGER)
    return None


def _fused_in_float(node: NodeProto, model: ModelProto, layers: list[LayerRecord]) -> bool | None:
    """Return False where a node is gone because it was fused with a float one; None where nothing shows that.

    ONNX Runtime fuses a float convolution with what follows it, under the name of that one's output, and
    x * sigmoid(x) into one; its integer operators keep their names.
    """
    before = [one for one in model.graph.node if set(one.output) & set(node.input)]
    behind = [one for one in model.graph.node if node.output[0] in one.input]
    fusing = [one for one in before if one.op_type in ("Conv", "Sigmoid")]
    if any(not executed_as_integer(one, layers) for one in fusing):
        return False
    return False if any(executed_as_integer(one, layers) is False for one in behind) else None


def _plain(name: str) -> str:
    name = name.removeprefix("fused ").partition("_token_")[0]
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def compare(
    target: Target, seeds: range, folder: Path, make: Callable[[str, int], ModelProto] = partly_quantized
) -> Comparison:
    """Compare predictions with the executed graphs of networks, of partly quantized ones by default."""
    found = Comparison()
    for seed in seeds:
        model = make(target.name, seed)
        path = folder / f"{target.name}_{seed}.onnx"
        onnx.save(model, str(path))
        predicted = {
            one.node: one.text for one in check_graph(model, target) if one.consequence == "falls_back"
        }
        session = create_backend(target.name).load(path, {"warmup_runs": 0})
        layers = session.layers()
        session.close()
        for node in judged(model, target):
            runs_on_integers = executed_as_integer(node, layers)
            if runs_on_integers is None:
                runs_on_integers = _fused_in_float(node, model, layers)
            says_float = node.name in predicted
            where = f"{target.name} graph {seed} {node.op_type} {node.name}"
            if runs_on_integers is None:
                found.disagreements.append(f"{where}: not in the executed graph")
                found.missed += 1
            elif says_float and runs_on_integers:
                found.invented += 1
                found.disagreements.append(f"{where}: runs on integers, predicted: {predicted[node.name]}")
            elif not says_float and not runs_on_integers:
                found.missed += 1
                found.disagreements.append(f"{where}: runs in float, not predicted")
            elif says_float:
                found.right += 1
            else:
                found.integer += 1
    return found


def seeded_set(target: Target, seeds: range) -> tuple[int, list[str]]:
    """Return how many faults were seeded, and those that the rules missed."""
    missed, count = [], 0
    for fault in faults_of(target.name):
        for seed in seeds:
            one = seeded(target.name, fault, seed)
            count += 1
            found = {finding.node for finding in check_graph(one.model, target) if finding.rule == one.rule}
            if not one.nodes <= found:
                missed.append(f"{target.name} {fault} seed {seed}: {', '.join(sorted(one.nodes - found))}")
    return count, missed


def invented(target: Target, seeds: range) -> list[str]:
    """Return what the rules find in clean networks."""
    return [
        f"{target.name} seed {seed}: {one.operator} {one.node}: {one.text}"
        for seed in seeds
        for one in check_graph(clean(target.name, seed), target)
    ]


def main() -> int:
    """Print the figures; return 1 where a target is not met."""
    parser = argparse.ArgumentParser(description="Measure adcp check.")
    parser.add_argument("--graphs", type=int, default=50, help="networks compared with each runtime")
    parser.add_argument("--clean", type=int, default=20, help="clean networks of each target")
    parser.add_argument("--seeds", type=int, default=10, help="networks of each fault")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    given = parser.parse_args()
    wrong: list[str] = []
    for name in TARGETS:
        target = load_target(name)
        count, missed = seeded_set(target, range(given.first, given.first + given.seeds))
        extra = invented(target, range(given.first, given.first + given.clean))
        wrong += [*missed, *extra]
        print(
            f"{name}: {count} faults of {len(faults_of(name))} kinds, {len(missed)} missed; "
            f"{given.clean} clean graphs, {len(extra)} findings"
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in RUN_HERE:
            try:
                found = compare(
                    load_target(name), range(given.first, given.first + given.graphs), Path(folder)
                )
            except BackendError as error:
                print(f"{name}: not compared: {error}")
                continue
            wrong += found.disagreements
            print(
                f"{name}: {given.graphs} graphs, {found.right} nodes in float as predicted, "
                f"{found.integer} on integers; precision {found.precision:.4f}, recall {found.recall:.4f}"
            )
    for line in wrong:
        print(f"  {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
