# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters declared from pydantic models: one place for names, types, ranges and descriptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from rcl_interfaces.msg import Parameter as ParameterMessage
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import StrictModel

_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}
_ARRAYS = {str: ParameterType.PARAMETER_STRING_ARRAY, float: ParameterType.PARAMETER_DOUBLE_ARRAY}
_LARGEST = 2**62


def _bounds(field: FieldInfo) -> tuple[Any, Any]:
    low = high = None
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", None)) if low is None else low
        high = getattr(rule, "le", getattr(rule, "lt", None)) if high is None else high
    return low, high


def describe(name: str, field: FieldInfo) -> ParameterDescriptor:
    """Return the descriptor of a model's field: type, description, choices and range.

    Raises:
        TypeError: the field's type has no ROS parameter type.
    """
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    descriptor = ParameterDescriptor(name=name, description=field.description or "")
    if get_origin(annotation) is Literal:
        descriptor.type = ParameterType.PARAMETER_STRING
        descriptor.additional_constraints = "one of: " + ", ".join(get_args(annotation))
        return descriptor
    if get_origin(annotation) is list:
        descriptor.type = _ARRAYS[get_args(annotation)[0]]
        return descriptor
    if annotation not in _TYPES:
        raise TypeError(f"{name}: {annotation} has no ROS parameter type")
    descriptor.type = _TYPES[annotation]
    low, high = _bounds(field)
    if low is not None or high is not None:
        if annotation is int:
            low, high = (-_LARGEST if low is None else low), (_LARGEST if high is None else high)
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        elif annotation is float:
            low, high = (-1e308 if low is None else low), (1e308 if high is None else high)
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
    return descriptor


def declare(node: Node, model: type[BaseModel], prefix: str = "") -> None:
    """Declare every field of a model as a parameter with its default.

    Raises:
        AdcpError: a given value has the wrong type or is out of range, or comes under both names of a
            renamed parameter; the line names both.
    """
    _accept_old_names(node, model, prefix)
    for key, field in model.model_fields.items():
        name = prefix + key
        if node.has_parameter(name):  # two models of a node have it in common
            continue
        default = field.get_default(call_default_factory=True)
        descriptor = describe(name, field)
        try:
            if isinstance(default, list):
                _declare_list(node, name, default, descriptor)
            else:
                node.declare_parameter(name, default, descriptor)
        except InvalidParameterTypeException as error:
            wants_double = descriptor.type == ParameterType.PARAMETER_DOUBLE
            hint = " (write 1.0 for 1)" if wants_double and "INTEGER" in str(error) else ""
            raise AdcpError(f"{node.get_fully_qualified_name()}: {error}{hint}") from error
        except (InvalidParameterValueException, ParameterException) as error:
            raise AdcpError(f"{node.get_fully_qualified_name()}: {error}") from error


def _accept_old_names(node: Node, model: type[BaseModel], prefix: str) -> None:
    """Give a value that came under a parameter's old name to the parameter, with a warning.

    Without one for what other nodes of ROS call it (``ros_names`` of the model).
    """
    renamed = model.old_keys() if issubclass(model, StrictModel) else {}
    ros_names = getattr(model, "ros_names", {})
    given: dict[str, Parameter] = getattr(node, "_parameter_overrides", {})
    for old, new in ((prefix + old, prefix + new) for old, new in {**renamed, **ros_names}.items()):
        if old not in given:
            continue
        if given[old].value == "" and new in given:  # a launch file that clears what a parameter file has
            del given[old]
            continue
        if new in given:
            raise AdcpError(
                f"{node.get_fully_qualified_name()}: both {new!r} and its "
                f"{'other' if old in ros_names else 'old'} name {old!r} are given: keep {new!r}"
            )
        if old not in ros_names:
            node.get_logger().warning(
                f"parameter {old!r} is now called {new!r}; the old name is accepted in this version only"
            )
        value = given.pop(old)
        given[new] = Parameter(new, value.type_, value.value)


def _declare_list(node: Node, name: str, default: list[Any], descriptor: ParameterDescriptor) -> None:
    # rclpy cannot infer the type of an empty list: declare the type, then set the default.
    kind = Parameter.Type(descriptor.type)
    node.declare_parameter(name, kind, descriptor)
    if node.get_parameter_or(name).type_ == Parameter.Type.NOT_SET:
        node.set_parameters([Parameter(name, kind, default)])


def plain(changed: Collection[Parameter]) -> dict[str, Any]:
    """Return values by name, arrays as lists."""
    return {
        each.name: list(each.value) if each.type_.name.endswith("_ARRAY") else each.value for each in changed
    }


def values(node: Node, model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return the present values of a model's parameters, ready for model_validate."""
    found = {}
    for key in model.model_fields:
        value = node.get_parameter(prefix + key).value
        found[key] = list(value) if isinstance(value, (list, tuple)) else value
    return found


def set_changed(node: Node, given: Mapping[str, Any]) -> None:
    """Set parameters, in one request, that have other values."""
    changed = []
    for name, value in given.items():
        present = node.get_parameter(name)
        if plain([present])[name] != value:
            changed.append(Parameter(name, present.type_, value))
    try:
        if changed and node.context.ok():
            node.set_parameters_atomically(changed)
    except Exception:
        if node.context.ok():  # a signal may end the context between the check and the event
            raise


def is_present(node: Node, given: ParameterMessage) -> bool:
    """Return whether a parameter has the given value already, so that setting it changes nothing.

    Empty arrays are equal: a parameter file does not say which type one has.

    Raises:
        TypeError: the message names a type that does not exist.
    """
    value = Parameter.from_parameter_msg(given)
    if not node.has_parameter(given.name):
        return False
    present = node.get_parameter_or(given.name)
    if "_ARRAY" in present.type_.name and "_ARRAY" in value.type_.name:
        old, new = list(present.value), list(value.value)
        return old == new and (present.type_ == value.type_ or not old)
    return bool(present.type_ == value.type_ and present.value == value.value)


def refuse_change(node: Node, names: Collection[str], owner: str) -> None:
    """Refuse to set these parameters, which are read once, at the start of ``owner``."""

    def refuse(changed: list[Parameter]) -> SetParametersResult:
        for parameter in changed:
            if parameter.name in names:
                reason = f"{parameter.name!r} is read once, at the {owner}'s start: restart it"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(refuse)


def undeclared_overrides(node: Node) -> list[str]:
    """Return the names of given parameters that the node does not have: most likely typing errors."""
    given: Mapping[str, Any] = getattr(node, "_parameter_overrides", {})
    return sorted(name for name in given if not node.has_parameter(name))


def given_overrides(node: Node) -> set[str]:
    """Return the names of the parameters that were given by file, command line or launch."""
    return set(getattr(node, "_parameter_overrides", {}))
