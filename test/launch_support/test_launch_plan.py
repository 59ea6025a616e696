# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From launch arguments to nodes: names, precedence of the arguments, refusals in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.launch_support.plan import (
    PlannedNode,
    compare_nodes,
    composed,
    parse_namespace,
    parse_tasks,
    perception_nodes,
    player_node,
    write_parameters,
)
from ad_road_simulation.launch_support.demo_plan import demo_nodes


def arguments(**given: str) -> dict[str, str]:
    return {"tasks": "detection,segmentation,planning", "namespace": "", **given}


def by_name(nodes: list[PlannedNode]) -> dict[str, dict[str, object]]:
    return {node.full_name: node.parameters for node in nodes}


def test_nothing_given_sets_nothing(tmp_path: Path) -> None:
    """Then all values come from the parameter file, and no second file is needed."""
    nodes = perception_nodes(arguments())

    assert by_name(nodes) == {"/detection": {}, "/segmentation": {}, "/planning": {}}
    assert write_parameters(nodes, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_task_s_own_argument_overrides_the_general_one() -> None:
    given = arguments(variant="int8", planning_variant="fp32", planning_backend="openvino")

    nodes = by_name(perception_nodes(given))

    assert nodes["/detection"] == {"variant": "int8"}
    assert nodes["/planning"] == {"variant": "fp32", "backend": "openvino"}


def test_variant_applies_to_the_compressed_side_and_model_to_both() -> None:
    given = arguments(tasks="planning", variant="int8", baseline_backend="openvino", model="m")

    nodes = by_name(compare_nodes(given))

    assert nodes["/compressed/planning"] == {"model": "m", "variant": "int8"}
    assert nodes["/baseline/planning"] == {"model": "m", "backend": "openvino"}


def test_a_home_folder_is_expanded() -> None:
    """No shell expands the tilde after ``:=``."""
    nodes = perception_nodes(arguments(tasks="planning", model="~/models/planner"))

    assert nodes[0].parameters["model"] == str(Path.home() / "models/planner")


def test_a_compressed_topic_selects_its_transport() -> None:
    given = arguments(tasks="planning", image_topic="/camera/image_raw/compressed")

    assert perception_nodes(given)[0].parameters == {"transport": "compressed"}
    assert perception_nodes({**given, "transport": "raw"})[0].parameters == {"transport": "raw"}


def test_namespace_and_name() -> None:
    """The root namespace is "/", as rclpy has it; slashes around a namespace do not matter."""
    assert [(n.namespace, n.name) for n in perception_nodes(arguments(tasks="planning"))] == [
        ("/", "planning")
    ]
    nodes = compare_nodes(arguments(tasks="planning", namespace="front/left/"))
    assert [node.namespace for node in nodes] == [
        "/front/left/baseline",
        "/front/left/compressed",
        "/front/left",
    ]


def test_composed_names_each_node_in_starting_order() -> None:
    process = composed(compare_nodes(arguments(tasks="planning")))

    assert process.executable == "compose"
    assert process.parameters == {
        "nodes": [
            "planning_node:/baseline/planning",
            "planning_node:/compressed/planning",
            "latency_monitor_node:/latency_monitor",
        ]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [("detection,lanes", "'lanes'"), ("", "one or more"), ("planning,planning", "each once")],
)
def test_wrong_tasks_are_refused(text: str, message: str) -> None:
    with pytest.raises(AdcpError, match=message):
        parse_tasks(text)


@pytest.mark.parametrize("text", ["9x", "a-b", "a//b", "a b"])
def test_wrong_namespaces_are_refused(text: str) -> None:
    with pytest.raises(AdcpError, match="namespace:="):
        parse_namespace(text)


def test_one_model_for_several_tasks_is_refused() -> None:
    with pytest.raises(AdcpError, match=r"model:=m.*tasks:="):
        perception_nodes(arguments(model="m"))


def test_a_rate_that_is_no_number_is_refused() -> None:
    given = arguments(bag="drive", topic="", rate="fast", loop="false", wait_s="1")

    with pytest.raises(AdcpError, match="rate:=fast"):
        player_node(given)


# ---- the demo


def demo(**given: str) -> dict[str, str]:
    empty = dict.fromkeys(("image_topic", "seed", "traffic", "weather", "transport"), "")
    return arguments(**{**empty, "drive": "expert", **given})


def test_the_demo_is_a_comparison_with_a_camera_and_its_ground_truth() -> None:
    nodes = demo_nodes(demo(seed="7", weather="rain", traffic="0.5"))

    assert [node.full_name for node in nodes[-2:]] == ["/latency_monitor", "/road_camera"]
    assert len(nodes) == 8
    assert nodes[-1].parameters == {"drive": "expert", "seed": 7, "traffic": 0.5, "weather": "rain"}
    assert nodes[-1].remappings == ()
    assert dict(nodes[-2].remappings)["image"] == "/road_camera/image", "for ~/side_by_side/compressed"
    assert nodes[-2].parameters["segmentation.ground_truth_topic"] == "/road_camera/ground_truth/mask"


def test_all_nodes_of_the_demo_in_one_process_have_distinct_names() -> None:
    """Remappings of one process apply to every node in it: each name must have one meaning."""
    process = composed(demo_nodes(demo(drive="baseline")))

    assert dict(process.remappings) == {
        "image": "/road_camera/image",
        "image/compressed": "/road_camera/image/compressed",
        "odometry": "/road_camera/odometry",
        "~/drive_command": "/baseline/planning/command",
    }
    assert len(process.remappings) == 4


def test_another_camera_is_selected_by_image_topic() -> None:
    nodes = demo_nodes(demo(image_topic="/front/image_raw", tasks="detection"))

    assert nodes[0].remappings == (("odometry", "/road_camera/odometry"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "1.5"),
        ("seed", "-3"),
        ("seed", "abc"),
        ("traffic", "7"),
        ("traffic", "nan"),
        ("traffic", "much"),
    ],
)
def test_a_camera_that_could_not_start_is_refused(name: str, value: str) -> None:
    """The models would never get images."""
    with pytest.raises(AdcpError, match=f"road camera: {name}: "):
        demo_nodes(demo(**{name: value}))


def test_a_planner_can_only_drive_where_it_runs() -> None:
    with pytest.raises(AdcpError, match="drive:=baseline needs planning"):
        demo_nodes(demo(tasks="detection", drive="baseline"))
