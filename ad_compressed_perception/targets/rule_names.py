# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names in a file of rules that nothing has: a rule on them is never broken, and every model passes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from ad_compressed_perception.targets.facts import type_name
from ad_compressed_perception.targets.graph_rules import (
    AttributeRule,
    ConstantInputsRule,
    OperatorsRule,
    OpsetRule,
    OutputsRule,
    RankRule,
    TypesRule,
)
from ad_compressed_perception.targets.quantization_rules import ChannelAxisRule, QuantizedTypesRule, UnitsRule
from ad_compressed_perception.targets.rule import Rule

_LATER_TYPES = frozenset({"float4e2m1", "float8e8m0", "int2", "uint2"})
"""That the oldest onnx of this package does not know."""
_INPUT = "input"
"""Stands for an input of the model, in the place of an operator."""


def wrong_names(rules: Mapping[str, Rule], cut_before: Iterable[str]) -> Iterator[str]:
    """Yield what in a target's rules and cut names nothing that there is, one sentence each."""
    listed = {
        name
        for rule in rules.values()
        if isinstance(rule, OperatorsRule)
        for names in rule.operators.values()
        for name in names
    }
    known = {*_attributes(), *listed, _INPUT}
    for key, rule in rules.items():
        where = f"rules.{key}"
        if isinstance(rule, OpsetRule) and rule.least > rule.most:
            yield f"{where}: least {rule.least} is above most {rule.most}"
        yield from _unknown(where, "operator", (*_operators(rule), *rule.mend_of), known)
        yield from _unknown(where, "type", _types(rule), _type_names())
        yield from _wrong_attributes(where, rule)
    yield from _unknown("export.cut_before", "operator", cut_before, known)


def _unknown(where: str, what: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; {near[0]!r} is meant?" if near else ""
            yield f"{where}: no {what} is called {name!r}{meant}"


def _operators(rule: Rule) -> list[str]:
    """Return the operators that a rule is on; those that a target has are not among them."""
    if isinstance(rule, (AttributeRule, RankRule, ChannelAxisRule)):
        return rule.operators
    if isinstance(rule, TypesRule):
        return [*rule.operators, *rule.leave_out]
    if isinstance(rule, ConstantInputsRule):
        return list(rule.inputs)
    if isinstance(rule, OutputsRule):
        return list(rule.outputs)
    if isinstance(rule, UnitsRule):
        return [*rule.units, *rule.through, *rule.clipping, *rule.no_kernel, *rule.no_kernel_of]
    return []


def _types(rule: Rule) -> list[str]:
    if isinstance(rule, (TypesRule, QuantizedTypesRule)):
        return rule.allowed
    return (
        [kind for unit in rule.units.values() for kind in unit.types] if isinstance(rule, UnitsRule) else []
    )


def _wrong_attributes(where: str, rule: Rule) -> Iterator[str]:
    """Yield attributes that an operator of ONNX has in none of its versions."""
    pairs: list[tuple[str, str]] = []
    if isinstance(rule, AttributeRule):
        pairs = [(operator, rule.attribute) for operator in rule.operators]
    elif isinstance(rule, UnitsRule):
        pairs = [(operator, name) for operator, values in rule.no_kernel_of.items() for name in values]
    for operator, name in pairs:
        known = _attributes().get(operator)
        if known is not None:
            yield from _unknown(where, f"attribute of {operator}", [name], known)


@lru_cache(maxsize=1)
def _attributes() -> dict[str, set[str]]:
    """Return each operator that onnx knows in any version, with the attributes that any of them has."""
    from onnx import defs

    found: dict[str, set[str]] = {}
    for schema in defs.get_all_schemas_with_history():
        found.setdefault(schema.name, set()).update(schema.attributes)
    return found


@lru_cache(maxsize=1)
def _type_names() -> frozenset[str]:
    from onnx import TensorProto

    return frozenset(type_name(kind) for kind in TensorProto.DataType.values() if kind) | _LATER_TYPES
