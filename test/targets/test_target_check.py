# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rules of targets: seeded faults are found by node name, clean graphs have none, predictions hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ad_compressed_perception.cli import check as verb
from ad_compressed_perception.compression.passes import PLUGINS as PASSES
from ad_compressed_perception.compression.recipe import Recipe
from ad_compressed_perception.core import registry
from ad_compressed_perception.core.errors import RuleFileError
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.onnx_graph.symmetric_qdq import make_symmetric
from ad_compressed_perception.report.schemas.target_check import TargetCheck
from ad_compressed_perception.targets.check import check_graph
from ad_compressed_perception.targets.facts import GraphFacts
from ad_compressed_perception.targets.quantization_rules import Unit, UnitsRule
from ad_compressed_perception.targets.rule_file import load_target, target_names
from support.graphs import make_graph, noise
from support.models import write_segmenter

REPOSITORY = Path(__file__).parents[2]
if not (REPOSITORY / "benchmark" / "preflight.py").is_file():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmark import preflight, preflight_faults, preflight_graphs  # noqa: E402

app = typer.Typer()
app.command("check")(verb.check)
TARGETS = preflight_graphs.TARGETS


def found_in(model: onnx.ModelProto, target: str) -> set[tuple[str, str]]:
    return {(one.rule, one.node) for one in check_graph(model, load_target(target))}


@pytest.mark.parametrize("target", TARGETS)
def test_every_rule_has_a_public_source_and_a_remedy(target: str) -> None:
    for name, rule in load_target(target).rules.items():
        assert rule.source.url.startswith("https://"), name
        assert len(rule.source.document) > 10 and len(rule.source.section) > 3, name
        for remedy in (rule.mend, *rule.mend_of.values()):
            words = remedy.replace(",", " ").replace("(", " ").replace(":", " ").split()
            named = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "pass"]
            assert all(one in PASSES or one == "that" for one in named), (name, remedy)


def test_the_rules_are_installed_with_the_package() -> None:
    assert '"targets/rules/*.yaml"' in (REPOSITORY / "setup.py").read_text()
    assert set(TARGETS) <= set(target_names())


@pytest.mark.parametrize("target", TARGETS)
def test_the_forms_of_export_are_recipes(target: str) -> None:
    spec = load_target(target).export
    assert spec is not None
    for name, passes in spec.precisions.items():
        Recipe(schema="adcp-recipe/1", name=name, passes=passes).build_passes()


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_invented_in_clean_graphs(target: str) -> None:
    assert preflight.invented(load_target(target), range(20)) == []


@pytest.mark.parametrize(
    ("target", "fault"), [(name, fault) for name in TARGETS for fault in preflight_faults.faults_of(name)]
)
def test_a_seeded_fault_is_found_by_the_name_of_its_node(target: str, fault: str) -> None:
    for seed in range(100, 102):  # the benchmark runs more of them
        one = preflight_faults.seeded(target, fault, seed)
        found = found_in(one.model, target)
        assert {(one.rule, node) for node in one.nodes} <= found, (seed, found)


@pytest.mark.parametrize("target", preflight.RUN_HERE)
def test_nodes_stay_in_float_where_the_rules_say_so(target: str, tmp_path: Path) -> None:
    pytest.importorskip(target)
    found = preflight.compare(load_target(target), range(200, 210), tmp_path)

    assert found.disagreements == []
    assert min(found.right, found.integer) >= 8  # of both kinds


@pytest.mark.parametrize("target", preflight.RUN_HERE)
def test_clean_networks_are_clean_where_they_run(target: str, tmp_path: Path) -> None:
    """Else "nothing is found in clean graphs" would say nothing of the rules."""
    pytest.importorskip(target)
    found = preflight.compare(load_target(target), range(300, 306), tmp_path, preflight_graphs.clean)

    assert found.disagreements == []
    assert found.right == 0  # none in float
    assert found.integer > 15


def test_a_rule_that_is_wrong_shows_as_a_disagreement(tmp_path: Path) -> None:
    """The comparison itself: a rule that asks nothing of convolutions predicts none of those in float."""
    target = load_target("onnxruntime")
    units = target.rules["units"]
    assert isinstance(units, UnitsRule)
    blind = units.model_copy(update={"units": {**units.units, "Conv": Unit(inputs=[], output="optional")}})
    wrong = target.model_copy(update={"rules": {"units": blind}})

    found = preflight.compare(wrong, range(200, 204), tmp_path)

    assert found.missed > 0
    assert found.recall < 1.0


def test_a_shape_that_follows_from_values_is_named_and_one_that_can_be_computed_is_not() -> None:
    computed = make_graph(
        [
            helper.make_node("Shape", ["x"], ["s"], "shape"),
            helper.make_node("Slice", ["s", "zero", "one"], ["b"], "batch"),
            helper.make_node("Concat", ["b", "rest"], ["to"], "join", axis=0),
            helper.make_node("Reshape", ["x", "to"], ["y"], "computed"),
        ],
        {"zero": [0], "one": [1], "rest": [-1]},
        {"x": [1, 3, 4, 4]},
        {"y": [1, 48]},
    )
    values = make_graph(
        [
            helper.make_node("NonZero", ["x"], ["n"], "which"),
            helper.make_node("Cast", ["n"], ["y"], "cast", to=TensorProto.FLOAT),
        ],
        {},
        {"x": [4, 4]},
        {"y": [2, "n"]},  # type: ignore[list-item]
    )

    assert not GraphFacts(computed).data_dependent
    assert list(GraphFacts(values).data_dependent) == ["n"]


def test_a_node_inside_a_branch_is_found() -> None:
    inner = helper.make_graph(
        [helper.make_node("Bernoulli", ["x"], ["b"], "inside")],
        "then",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["e"], "other")],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, [4])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], "branch", then_branch=inner, else_branch=other)],
        "g",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    assert ("operators", "inside") in found_in(model, "tensorrt10")


def test_a_node_without_a_name_is_named_by_its_output() -> None:
    model = make_graph([helper.make_node("Sinh", ["x"], ["y"])], {}, {"x": [1, 3]}, {"y": [1, 3]})

    assert found_in(model, "qnn") == {("operators", "y")}


RULES = """
schema: adcp-target/1
name: edge_npu
title: A vendor's NPU
rules:
  operators:
    check: operators
    consequence: falls_back
    text: it runs on the CPU
    mend: another export
    operators: {"": [Conv, Relu]}
    source: {document: Vendor manual, section: Operators, url: "https://vendor.example/operators"}
"""


def test_rules_of_another_target_come_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "npu.yaml"
    path.write_text(RULES)
    model = make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("Tanh", ["c"], ["y"], "tanh"),
        ],
        {"w": noise((2, 3, 1, 1))},
        {"x": [1, 3, 4, 4]},
        {"y": [1, 2, 4, 4]},
    )
    onnx.save(model, str(tmp_path / "m.onnx"))

    done = CliRunner().invoke(app, [str(tmp_path / "m.onnx"), "--rules", str(path), "--json"])

    document = TargetCheck.parse(done.stdout)
    assert done.exit_code == 0, done.output
    assert [(one.node, one.consequence) for one in document.findings] == [("tanh", "falls_back")]
    assert document.findings[0].source == "Vendor manual, Operators"
    assert document.counts == {"fails": 0, "falls_back": 1, "slower": 0}


def test_rules_extend_others_and_take_some_away(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: adcp-target/1\nname: mine\ntitle: Mine of 10\nextends: tensorrt10\n"
        "rules: {symmetric: null, quantized_types: null, bias: null}\n"
    )

    mine, base = load_target(None, path), load_target("tensorrt10")

    assert base.rules.keys() - mine.rules.keys() == {"symmetric", "quantized_types", "bias"}
    assert load_target("tensorrt11").rules.keys() == base.rules.keys()
    assert load_target("tensorrt11").rules["opset"].most == 24  # type: ignore[union-attr]


def test_another_package_registers_its_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "npu.yaml"
    path.write_text(RULES)
    module = tmp_path / "npu_rules.py"
    module.write_text(f"RULES = {str(path)!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_targets", lambda group: {"edge_npu": "npu_rules:RULES"})

    assert "edge_npu" in target_names()
    assert load_target("edge_npu").title == "A vendor's NPU"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.replace("source:", "sauce:"), "unknown key 'rules.operators.operators.sauce'"),
        (lambda t: t.replace("https://", "file://"), "source.url"),
        (lambda t: t.replace("check: operators", "check: colors"), "'colors'"),
        (lambda t: t.replace("falls_back", "explodes"), "consequence"),
        (lambda t: t.replace("rules:\n", "extends: no_such\nrules:\n"), "unknown target 'no_such'"),
        (lambda t: t.replace("rules:\n", "extends: npu.yaml\nrules:\n"), "extends itself"),
    ],
)
def test_a_wrong_file_of_rules_is_refused_in_one_line(change: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "npu.yaml"
    path.write_text(change(RULES))

    with pytest.raises(RuleFileError) as caught:
        load_target(None, path)

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_verb_names_nodes_and_remedies_and_exits_3_where_the_tool_refuses(tmp_path: Path) -> None:
    one = preflight_faults.seeded("tensorrt10", "asymmetric zero point", 3)
    onnx.save(one.model, str(tmp_path / "m.onnx"))
    runner = CliRunner(env={"COLUMNS": "200"})

    refused = runner.invoke(app, [str(tmp_path / "m.onnx"), "--target", "tensorrt10"])
    taken = runner.invoke(app, [str(tmp_path / "m.onnx"), "--target", "onnxruntime"])

    assert refused.exit_code == 3
    assert next(iter(one.nodes)) in refused.output
    assert "symmetric_qdq" in refused.output
    assert taken.exit_code == 0


def test_the_verb_checks_a_model_folder_and_writes_its_document(tmp_path: Path) -> None:
    write_segmenter(tmp_path / "model")
    out = tmp_path / "check.json"

    done = CliRunner().invoke(app, [str(tmp_path / "model"), "--target", "openvino", "--out", str(out)])

    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["model"] == "tiny_segmenter/fp32"


def test_a_name_that_no_target_has_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(RuleFileError, match="tensorrt10, tensorrt11"):
        load_target("tensorrt9")


def test_symmetric_pairs_compute_nearly_the_same_and_pass_the_rules_of_tensorrt() -> None:
    """ONNX Runtime's usual form, uint8 with int32 biases, is what TensorRT refuses."""
    model = preflight_graphs.clean("onnxruntime", 5)
    symmetric = copied(model)
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    refused = {rule for rule, _ in found_in(model, "tensorrt10")}

    counts = make_symmetric(symmetric)

    assert {"symmetric", "quantized_types", "bias"} <= refused
    assert min(counts["activations"], counts["biases"]) > 0
    assert not {rule for rule, _ in found_in(symmetric, "tensorrt10")}
    before, after = run_model(model, feeds)["y"], run_model(symmetric, feeds)["y"]
    # A range of 0.05 * 255 around zero becomes one of 0.05 * 256: the same steps, shifted by less than one.
    assert np.abs(before - after).max() <= 0.05 * 3


def test_symmetric_pairs_keep_what_an_unsigned_range_cut_off() -> None:
    """A quantizer drops the Relu that uint8 with zero point 0 does anyway; int8 would let -5 through."""
    weights = {"w": np.full((1, 1, 1, 1), 1.0, np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["q"], "quantize"),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "dequantize"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 2])],
        [
            numpy_helper.from_array(weights["w"], "w"),
            numpy_helper.from_array(np.float32(0.1), "scale"),
            numpy_helper.from_array(np.uint8(0), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    counts = make_symmetric(model)

    assert counts["added_relu"] == 1
    result = run_model(model, {"x": np.array([[[[-5.0, 5.0]]]], np.float32)})["y"].reshape(-1)
    np.testing.assert_allclose(result, [0.0, 5.0], atol=0.11)
