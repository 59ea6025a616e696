# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The Foxglove layout, the RViz configuration and the rqt perspective show topics that exist."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.models import WRITERS
from support.packaging import REPOSITORY

CONFIG = REPOSITORY / "config"
# What a kind of panel can show: the type of the topic, and for a plot the field of the message.
FOXGLOVE = {
    "Image": "sensor_msgs/msg/CompressedImage",
    "Plot": "std_msgs/msg/Float64.data",
    "StateTransitions": "std_msgs/msg/Float64.data",
    "DiagnosticSummary": "diagnostic_msgs/msg/DiagnosticArray",
    "RawMessages": "std_msgs/msg/String.data",
}
RVIZ = {"Image": {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}, "Path": {"nav_msgs/msg/Path"}}
RQT = {"ImageView": "sensor_msgs/msg/CompressedImage", "Plot": "std_msgs/msg/Float64"}
Shown = list[tuple[str, set[str]]]


def foxglove() -> Shown:
    """Return topic and fitting types of every panel; a message path is topic.field."""
    layout = json.loads((CONFIG / "foxglove.json").read_text())
    panels = layout["configById"]
    assert sorted(leaves(layout["layout"])) == sorted(panels), "every panel has its place, and only one"
    found: Shown = []
    for name, panel in panels.items():
        kind, _, number = name.partition("!")
        assert number
        if kind == "Image":
            values = [panel["imageMode"]["imageTopic"]]
        elif kind == "DiagnosticSummary":
            values = [panel["topicToRender"]]
        elif kind == "RawMessages":
            values = [panel["topicPath"]]
        else:
            values = [path["value"] for path in panel["paths"]]
            assert all(path["timestampMethod"] == "receiveTime" for path in panel["paths"])
        message_type, _, field = FOXGLOVE[kind].partition(".")
        for value in values:
            topic, _, read = value.partition(".")
            assert read == field, value
            found.append((topic, {message_type}))
    return found


def leaves(node: Any) -> Iterator[str]:
    """Return the panels of a layout; each division has two sides."""
    if isinstance(node, str):
        yield node
        return
    assert node["direction"] in ("row", "column")
    assert 0 < node["splitPercentage"] < 100
    yield from (*leaves(node["first"]), *leaves(node["second"]))


def rviz() -> Shown:
    manager = yaml.safe_load((CONFIG / "compare.rviz").read_text())["Visualization Manager"]
    found: Shown = []
    for display in manager["Displays"]:
        package, _, kind = display["Class"].partition("/")
        assert package == "rviz_default_plugins"
        if "Topic" in display:
            found.append((display["Topic"]["Value"], RVIZ[kind]))
    # RViz shows a path only in a frame that it can transform to; without tf that is the path's own.
    assert manager["Global Options"]["Fixed Frame"] == "base_link"
    return found


def rqt() -> Shown:
    """Return topics and types; values are written as Python literals, settings of an instance in "plugin"."""
    manager = json.loads((CONFIG / "compare.perspective").read_text())["groups"]["pluginmanager"]
    running = literal(manager["keys"]["running-plugins"])
    groups = {
        f"plugin__{plugin.replace('/', '__')}__{serial}": plugin.rpartition("/")[2]
        for plugin, serials in running.items()
        for serial in serials
    }
    assert groups.keys() == manager["groups"].keys()
    found: Shown = [("/diagnostics", {"diagnostic_msgs/msg/DiagnosticArray"})]  # RuntimeMonitor, fixed
    for group, kind in groups.items():
        keys = manager["groups"][group]["groups"]["plugin"]["keys"]
        values = {key: literal(value) for key, value in keys.items()}
        if kind == "ImageView":
            found.append((values["topic"], {RQT[kind]}))
        elif kind == "Plot":
            assert all(topic.endswith("/data") for topic in values["topics"])
            found += [(topic.removesuffix("/data"), {RQT[kind]}) for topic in values["topics"]]
        else:
            assert kind == "RuntimeMonitor"
    return found


def literal(value: dict[str, str]) -> Any:
    assert value["type"] == "repr"
    return ast.literal_eval(value["repr"])


@pytest.mark.ros
def test_every_topic_shown_is_one_that_the_comparison_publishes(tmp_path: Path, ros_context: object) -> None:
    """The nodes that compare.launch.py plans are started, with tiny models, and asked what they publish."""
    pytest.importorskip("vision_msgs")
    from ad_compressed_perception.launch_support.plan import compare_nodes, composed
    from support.ros import Recorder, node_process

    models = {f"{task}_model": str(write(tmp_path / task)) for task, write in WRITERS.items()}
    nodes = compare_nodes({"tasks": ",".join(WRITERS), "namespace": "", **models})
    process = composed(nodes)
    parameters = {
        node.full_name: {"ros__parameters": {**node.parameters, **process.parameters}}
        if node is process
        else {"ros__parameters": node.parameters}
        for node in (process, *nodes)
    }
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    shown = {name: show() for name, show in (("foxglove", foxglove), ("rviz", rviz), ("rqt", rqt))}
    needed = {topic for each in shown.values() for topic, _ in each}
    recorder = Recorder(ros_context)
    published: dict[str, set[str]] = {}

    def has_all() -> bool:
        for name, types in recorder.node.get_topic_names_and_types():
            if recorder.node.count_publishers(name):
                published[name] = set(types)
        return needed <= published.keys()

    arguments = ["--params-file", str(tmp_path / "parameters.yaml")]
    try:
        with node_process(process.executable, *arguments, log=tmp_path / "log") as running:
            try:
                recorder.wait_for(has_all)
            except AssertionError:
                raise AssertionError(f"not published: {needed - published.keys()}; {running.log}") from None
    finally:
        recorder.close()
    for name, topics in shown.items():
        for topic, types in topics:
            assert published[topic] <= types, f"{name}: {topic} is {published[topic]}"


@pytest.mark.parametrize("name", ["foxglove.json", "compare.rviz", "compare.perspective"])
def test_they_are_installed(name: str, setup_arguments: dict[str, Any]) -> None:
    files = dict(setup_arguments["data_files"])
    assert f"config/{name}" in files["share/ad_compressed_perception/config"]
