# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many nodes in one process, from the same parameter file: ``compose --ros-args --params-file F``.

The node ``/compose`` has one parameter, ``nodes``: entries such as
``"detection_node:/compressed/detection"``, an executable and the full name of the node it becomes. An
executable is one of this package, or one that another package registers in the entry-point group
``ad_compressed_perception.nodes``. Each node finds its own parameters in the file under that name.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from rclpy.node import Node

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.registry import NODES, find, names
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.run import close, run_process


class ComposeOptions(StrictModel):
    """What to compose."""

    nodes: list[str] = Field(
        default_factory=list, description='entries "executable:/namespace/name", in starting order'
    )


def build_node(entry: str) -> Node:
    """Return the node an entry names.

    Raises:
        AdcpError: the entry is malformed or names an unknown executable; the line quotes it.
    """
    executable, colon, full_name = entry.partition(":")
    namespace, slash, name = full_name.rpartition("/")
    if executable not in names(NODES):
        raise AdcpError(f"compose: {executable!r} in {entry!r} is not one of {', '.join(names(NODES))}")
    if not (colon and slash and name and full_name.startswith("/")):
        raise AdcpError(f'compose: {entry!r} is not of the form "executable:/namespace/name"')
    node_type: Any = find(NODES, executable, AdcpError)
    node: Node = node_type(node_name=name, namespace=namespace or "/")
    return node


def build_nodes() -> list[Node]:
    """Return all nodes that the parameter ``nodes`` of ``/compose`` asks for."""
    composer = Node("compose")
    try:
        return _build_all(composer)
    finally:
        # Not earlier: without a node Fast DDS ends its participant, and others keep it for seconds as one of
        # a node without a name.
        composer.destroy_node()


def _build_all(composer: Node) -> list[Node]:
    parameters.declare(composer, ComposeOptions)
    entries = parameters.values(composer, ComposeOptions)["nodes"]
    if not entries:
        raise AdcpError("compose: parameter 'nodes' of /compose is empty: name what to run")
    if len(set(entries)) != len(entries):
        raise AdcpError("compose: parameter 'nodes' names a node twice")
    nodes: list[Node] = []
    try:
        for entry in entries:
            nodes.append(build_node(entry))
    except AdcpError:
        for node in nodes:
            close(node)
        raise
    return nodes


def main() -> None:
    """Run all nodes until the process is stopped."""
    run_process(build_nodes)


if __name__ == "__main__":
    main()
