# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places where a graph can be cut, what crosses there, and that the parts compute what the whole does."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.cuts import Cut, CutGraph, choose_cuts
from ad_compressed_perception.onnx_graph.equivalence import relative_difference, run_model
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.onnx_graph.layers import layer_records, read_onnx
from ad_compressed_perception.onnx_graph.stages import run_stages, split
from support.onnx_files import feed, write_int8, write_two_convolutions
from support.stages import CHAIN, branching_network, frame

OPERATORS = st.sampled_from(["conv", "relu", "add", "concat", "sigmoid", "scale"])
NETWORKS = st.lists(st.tuples(OPERATORS, st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12)


@settings(max_examples=40)
@given(NETWORKS, st.integers(0, 1000), st.data())
def test_stages_compute_what_the_whole_network_does(choices: list, seed: int, data: st.DataObject) -> None:
    model = branching_network(choices, seed)
    graph = CutGraph(model)
    possible = graph.cuts()
    count = data.draw(st.integers(0, min(3, len(possible))))
    cuts = [possible[i] for i in sorted(data.draw(st.permutations(range(len(possible))))[:count])]
    stages = split(graph, cuts)
    feeds = frame(seed)
    whole, found = run_model(model, feeds), run_stages(stages, feeds)
    assert len(stages) == count + 1
    for name, expected in whole.items():
        assert relative_difference(expected, found[name]) <= 1e-5
    # Every tensor that a cut counts runs across it, with the size that it has when it is computed.
    for cut, before, after in zip(cuts, stages, stages[1:], strict=False):
        assert cut.bytes == sum(found.get(name, feeds.get(name)).nbytes for name in cut.tensors)
        assert set(after.inputs) <= set(cut.tensors)
        assert not set(before.outputs) & set(feeds)
    if len(cuts) == 1:  # nothing alive there is read by another than the second stage
        assert set(stages[1].inputs) == set(cuts[0].tensors)


def test_skip_connection_counts_at_every_cut_that_it_runs_across() -> None:
    """t1 is added to t5 after two more convolutions: between them two tensors of 1,024 bytes are alive."""
    graph = CutGraph(branching_network(CHAIN))
    by_tensors = {cut.tensors: cut.bytes for cut in graph.cuts()}
    assert by_tensors[("t1",)] == 4 * 8 * 8 * 4
    assert by_tensors[("t1", "t3")] == 2 * 4 * 8 * 8 * 4
    # A convolution and the activation that follows it alone are one to a runtime.
    assert not any("t0" in tensors or "t2" in tensors for tensors in by_tensors)


def test_constants_of_the_graph_cross_nowhere_and_are_in_each_stage_that_reads_them() -> None:
    model = branching_network([("scale", 0, 0), ("conv", 0, 0)])
    model.graph.node[-1].input[1] = model.graph.node[0].input[1]  # both convolutions read one weight
    graph = CutGraph(model)
    stages = split(graph, [graph.cut_after("t1")])
    weights = [{tensor.name for tensor in stage.model.graph.initializer} for stage in stages]
    assert weights == [{"t0/w", "t1/s"}, {"t0/w"}]
    assert [cut.tensors for cut in graph.cuts()] == [("t1",)]  # not t1/e, which is computed from a constant


def integer_layers(path: Path) -> tuple[int, int]:
    """Return the integer compute layers and all compute layers that ONNX Runtime executes."""
    import onnxruntime

    optimized = path.with_suffix(".optimized.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    compute = [layer for layer in layer_records(read_onnx(optimized)) if layer.is_compute]
    return sum(layer.is_integer for layer in compute), len(compute)


def test_quantized_networks_are_cut_at_quantized_tensors_only(tmp_path: Path) -> None:
    """DequantizeLinear, Conv, QuantizeLinear are one integer kernel: a cut inside makes it one of floats."""
    source = write_int8(write_two_convolutions(tmp_path / "f.onnx"), tmp_path / "q.onnx")
    model = read_model(source)
    graph = CutGraph(model)
    cuts = graph.cuts()
    assert {graph.specs[name].dtype for cut in cuts for name in cut.tensors} == {"uint8"}
    between = next(cut for cut in cuts if cut.bytes == 8 * 16 * 16)  # 8 channels of 16 x 16, one byte each
    feeds = {"x": feed()}
    whole = run_model(model, feeds)
    counted = np.zeros(2, int)
    stages = split(graph, [between])
    found = run_stages(stages, feeds)
    for number, stage in enumerate(stages):
        path = tmp_path / f"stage_{number}.onnx"
        onnx.save(stage.model, path)
        counted += integer_layers(path)
    assert np.array_equal(whole["y"], found["y"])
    assert tuple(counted) == integer_layers(source) == (2, 2)


COSTS = st.lists(st.integers(0, 20), min_size=4, max_size=9)


@given(COSTS, st.integers(2, 4), st.sampled_from([0.0, 0.05, 0.5]), st.data())
def test_chosen_cuts_are_the_cheapest_of_the_nearly_most_even_ones(
    costs: list[int], stages: int, slack: float, data: st.DataObject
) -> None:
    """Against all combinations: what is fast to write and slow to run."""
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=len(costs) - 1, max_size=len(costs) - 1))
    cuts = [Cut(place, (), size) for place, size in enumerate(sizes, start=1)]
    if len(cuts) < stages - 1:
        return

    def worst(chosen: tuple[Cut, ...]) -> int:
        ends = [0, *(cut.place for cut in chosen), len(costs)]
        return max(sum(costs[a:b]) for a, b in zip(ends, ends[1:], strict=False))

    every = list(combinations(cuts, stages - 1))
    limit = min(map(worst, every)) * (1 + slack) + 1e-9
    least = min(sum(cut.bytes for cut in one) for one in every if worst(one) <= limit)
    chosen = choose_cuts(cuts, costs, stages, slack)
    assert worst(tuple(chosen)) <= limit
    assert sum(cut.bytes for cut in chosen) == least


def test_what_cannot_be_cut_is_refused_by_name() -> None:
    graph = CutGraph(branching_network(CHAIN))
    with pytest.raises(ModelFileError, match="no tensor 'nothing'"):
        graph.cut_after("nothing")
    with pytest.raises(ModelFileError, match="behind 't0'; the nearest cuts are: t1, t3"):
        graph.cut_after("t0")
    with pytest.raises(ModelFileError, match="16 stages need 15"):
        choose_cuts(graph.cuts(), [1.0] * len(graph.nodes), 16, 0.05)
