# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a file of rules with which every model would pass: a rule on a name that nothing has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ad_compressed_perception.core.errors import RecipeError, RuleFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.targets.export import ExportRequest, export_model
from ad_compressed_perception.targets.rule_file import load_target
from support.compression import write_images, write_recipe
from support.models import write_segmenter

SOURCE = {"document": "Vendor manual", "section": "Operators", "url": "https://vendor.example/operators"}


def rule(check: str, **fields: Any) -> dict[str, Any]:
    common = {"consequence": "fails", "text": "the tool refuses it", "mend": "another export"}
    return {"check": check, **common, "source": SOURCE, **fields}


def write_rules(folder: Path, rules: dict[str, Any], **fields: Any) -> Path:
    path = folder / "npu.yaml"
    document = {"schema": "adcp-target/1", "name": "npu", "title": "A vendor's NPU", "rules": rules, **fields}
    path.write_text(yaml.safe_dump(document))
    return path


OPSET = {"opset": rule("opset", least=1, most=30)}
FLOAT = {"fp32": [{"optimize": {}}]}
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no rules": ({}, {}, "rules: Dictionary should have at least 1 item"),
    "operator": ({"a": rule("rank", operators=["Convv"], allowed=[4])}, {}, "'Convv'; 'Conv' is meant?"),
    "attribute": (
        {"a": rule("attribute", operators=["MaxPool"], attribute="dilation", allowed=[1])},
        {},
        "no attribute of MaxPool is called 'dilation'; 'dilations' is meant?",
    ),
    "type": ({"a": rule("quantized_types", of=["weights"], allowed=["unit8"])}, {}, "'uint8' is meant?"),
    "unit": ({"a": rule("units", units={"Cnov": {}})}, {}, "no operator is called 'Cnov'"),
    "remedy": (
        {"a": rule("operators", operators={"": ["Conv"]}, mend_of={"Resise": "a pass"})},
        {},
        "'Resise'",
    ),
    "versions": ({"a": rule("opset", least=18, most=9)}, {}, "least 18 is above most 9"),
    "place": ({"a": rule("constant_inputs", inputs={"Slice": [-1]})}, {}, "greater than or equal to 0"),
    "taken away": ({"symetric": None}, {"extends": "tensorrt10"}, "a rule that tensorrt10 does not have"),
    "cut": (
        OPSET,
        {"export": {"precisions": FLOAT, "cut_before": ["NMS"]}},
        "export.cut_before: no operator",
    ),
    "file": (OPSET, {"export": {"precisions": FLOAT, "model_file": "../plan"}}, "export.model_file"),
    "commands": (OPSET, {"export": {"precisions": FLOAT, "runtime": "tensorrt"}}, "needs options.build"),
    "providers": (
        OPSET,
        {"export": {"precisions": FLOAT, "runtime": "onnxruntime", "options": {"providers": "CPU"}}},
        "needs options.providers, a list",
    ),
    "precision": (
        OPSET,
        {"export": {"precisions": {"int8_mine": []}, "runtime": "litert"}},
        "runtime litert has no precision 'int8_mine'",  # it would write floats under that name
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_name_that_nothing_has_is_refused(kind: str, tmp_path: Path) -> None:
    rules, fields, text = WRONG[kind]

    with pytest.raises(RuleFileError) as caught:
        load_target(None, write_rules(tmp_path, rules, **fields))

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_operators_of_a_vendors_own_domain_may_have_rules(tmp_path: Path) -> None:
    rules = {
        "operators": rule("operators", operators={"ai.onnx": ["Conv"], "vendor": ["Deblur"]}),
        "rank": rule("rank", operators=["Deblur"], allowed=[4]),
    }

    assert load_target(None, write_rules(tmp_path, rules)).rules.keys() == rules.keys()


def test_an_unknown_pass_is_named_with_the_target(tmp_path: Path) -> None:
    """The recipe of an export is written into a hidden folder, which says nothing to anybody."""
    rules = write_rules(tmp_path, OPSET, export={"precisions": {"fp32": [{"tidy": {}}]}})
    model = load_manifest(write_segmenter(tmp_path / "model"))
    recipe = write_recipe(tmp_path / "recipe.yaml")
    request = ExportRequest(str(write_images(tmp_path / "images", 4)), recipe=str(recipe))

    with pytest.raises(RecipeError, match="fp32 of npu: unknown pass 'tidy'"):
        export_model(model, load_target(None, rules), request, tmp_path / "out")
    assert not (tmp_path / "out").exists()
