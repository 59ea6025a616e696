# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The computation that two graphs have in common from the image on, and one graph that does it once.

Tensors are numbered by what computes them: an operator with equal attributes, on tensors of equal numbers and
constants that are equal bit by bit, gives tensors of equal numbers (value numbering; Aho, Lam, Sethi and
Ullman, Compilers, section 6.1.2). Names mean nothing. The common tensors are closed towards the image:
all that one is computed from is common, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.onnx_graph.io import check_model
from ad_compressed_perception.onnx_graph.subgraphs import all_names, copied, free_name, rename_tensors
from ad_compressed_perception.onnx_graph.walk import bodies, read_names

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

# Two nodes of these give different numbers.
_RANDOM = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)
_IMAGE = "image"


@dataclass(frozen=True)
class CommonPrefix:
    """What two graphs compute alike.

    Attributes:
        shared: tensor of the second graph to the tensor of the first that is the same.
        nodes: nodes of the second graph that the first one makes superfluous, by place.
        from_image: how many of them depend on the image.
    """

    shared: dict[str, str]
    nodes: frozenset[int]
    from_image: int


def find_common_prefix(first: ModelProto, second: ModelProto, images: tuple[str, str]) -> CommonPrefix:
    """Find the common computation; ``images``: names of the graphs' image inputs.

    Both graphs have nodes in order and weights that are no inputs, as read_model gives them.
    """
    known: dict[str, str] = {}
    for name, number in _numbers(first, images[0]).items():
        known.setdefault(number, name)
    numbers = _numbers(second, images[1])
    shared = {name: known[number] for name, number in numbers.items() if number in known}
    reached, nodes, from_image = {images[1]}, set(), 0
    for place, node in enumerate(second.graph.node):
        depends = not reached.isdisjoint(node.input)
        if depends:
            reached.update(node.output)
        if all(name in shared for name in node.output if name):
            nodes.add(place)
            from_image += depends
    return CommonPrefix(shared, frozenset(nodes), from_image)


def _numbers(model: ModelProto, image: str) -> dict[str, str]:
    """Return the number of every tensor of the top-level graph, as text."""
    found = {"": "", image: _IMAGE}
    for value in model.graph.input:
        if value.name != image:
            kind = value.type.SerializeToString(deterministic=True).hex()
            found[value.name] = f"input {value.name} {kind}"
    found |= {tensor.name: _number_of(tensor) for tensor in model.graph.initializer}
    for place, node in enumerate(model.graph.node):
        if any(True for _ in bodies(node)) or node.op_type in _RANDOM:
            number = f"alone {id(model)} {place}"
        elif node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].HasField("t"):
            number = _number_of(node.attribute[0].t)
        else:
            number = _digest(node, [found[name] for name in node.input])
        for index, name in enumerate(node.output):
            if name:
                found[name] = number if len(node.output) == 1 else f"{number} {index}"
    return found


def _number_of(tensor: TensorProto) -> str:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    digest = hashlib.blake2b(f"{tensor.data_type} {list(tensor.dims)} ".encode(), digest_size=20)
    digest.update(values.tobytes())
    return f"constant {digest.hexdigest()}"


def _digest(node: NodeProto, inputs: list[str]) -> str:
    attributes = sorted(entry.SerializeToString(deterministic=True) for entry in node.attribute)
    domain = "" if node.domain == "ai.onnx" else node.domain
    digest = hashlib.blake2b(f"{domain} {node.op_type} {len(node.output)} {inputs}".encode(), digest_size=20)
    for each in attributes:
        digest.update(b"|" + each)
    return digest.hexdigest()


def join(
    first: ModelProto, second: ModelProto, common: CommonPrefix, images: tuple[str, str]
) -> tuple[ModelProto, dict[str, str]]:
    """Return one graph that gives the outputs of both, and the second one's output names in it.

    Raises:
        ModelFileError: the graphs have different operator sets, or an input of the second one besides the
            image has the name of a tensor of the first.
    """
    _refuse_other_opsets(first, second)
    model, rest = copied(first), copied(second)
    for index in sorted(common.nodes, reverse=True):
        del rest.graph.node[index]
    taken = all_names(first)
    names = {images[1]: images[0], **common.shared}
    for name in sorted(all_names(rest) - names.keys()):
        names[name] = free_name(name, taken)
    read = {name for node in rest.graph.node for name in read_names(node)}
    weights = [one for one in rest.graph.initializer if one.name in read and one.name not in common.shared]
    del rest.graph.initializer[:], rest.graph.value_info[:]
    rest.graph.initializer.extend([copied(tensor) for tensor in weights])
    further = [one for one in second.graph.input if one.name != images[1] and one.name not in common.shared]
    clashing = [value.name for value in further if names[value.name] != value.name]
    if clashing:
        raise ModelFileError(f"input {clashing[0]!r} of the second model is a tensor of the first: rename it")
    del rest.graph.input[:], rest.graph.output[:]
    nodes = {node.name for node in model.graph.node}
    for node in rest.graph.node:
        node.name = free_name(node.name, nodes) if node.name else ""
    rename_tensors(rest.graph, names)
    model.graph.node.extend(rest.graph.node)
    model.graph.initializer.extend(rest.graph.initializer)
    model.graph.input.extend(further)
    outputs = _add_outputs(model, second, names, taken)
    _add_domains(model, second)
    del model.graph.value_info[:]
    model.ir_version = max(first.ir_version, second.ir_version)
    check_model(model, "the joined model")
    return model, outputs


def _add_outputs(
    model: ModelProto, second: ModelProto, names: dict[str, str], taken: set[str]
) -> dict[str, str]:
    """Add the second graph's outputs; one that the first graph gives, too, by an Identity."""
    from onnx import helper

    given = {value.name for value in model.graph.output} | {value.name for value in model.graph.input}
    outputs = {}
    for value in second.graph.output:
        outputs[value.name] = name = names[value.name]
        if name in given:
            outputs[value.name] = free_name(f"{value.name}_of_second", taken)
            model.graph.node.append(helper.make_node("Identity", [name], [outputs[value.name]]))
        added = copied(value)
        added.name = outputs[value.name]
        model.graph.output.append(added)
    return outputs


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _refuse_other_opsets(first: ModelProto, second: ModelProto) -> None:
    versions = {_domain(entry.domain): entry.version for entry in first.opset_import}
    for entry in second.opset_import:
        own = versions.get(_domain(entry.domain), entry.version)
        if own != entry.version:
            raise ModelFileError(
                f"the models have opsets {own} and {entry.version}: bring both to one (upgrade_opset)"
            )


def _add_domains(model: ModelProto, second: ModelProto) -> None:
    known = {_domain(entry.domain) for entry in model.opset_import}
    model.opset_import.extend(entry for entry in second.opset_import if _domain(entry.domain) not in known)
