# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From launch arguments to nodes: names, precedence of the arguments, refusals in one line."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import TaskName
from ad_compressed_perception.core.task_names import DEFAULT_TASKS, MULTI_TASK, RAW, TASK_NAMES
from ad_compressed_perception.launch_support.argument_values import (
    find_model,
    of_camera,
    parse_cameras,
    parse_namespace,
    parse_tasks,
    pushed_namespace,
)
from ad_compressed_perception.launch_support.plan import (
    PlannedNode,
    compare_nodes,
    composed,
    perception_nodes,
    player_node,
    tasks_of,
    with_camera,
    write_parameters,
)
from ad_compressed_perception.nodes.monitor_options import TaskOptions
from ad_compressed_perception.nodes.options import parse_backend_options
from ad_compressed_perception.tasks import TASKS
from ad_road_simulation.faults.options import FaultOptions
from ad_road_simulation.launch_support.demo_plan import demo_nodes
from ad_road_simulation.nodes.road_camera_options import WeatherOption
from support.models import write_planner
from support.several_heads import write_two_heads

REPOSITORY = Path(__file__).resolve().parents[2]


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


def test_a_fallback_is_of_the_compressed_side_as_the_baseline_has_none() -> None:
    given = arguments(tasks="planning", fallback="baseline", frame_timeout_ms="250", hold_last_ms="300")

    nodes = by_name(compare_nodes(given))

    guarded = {"fallback_variant": "baseline", "frame_timeout_ms": 250.0, "hold_last_ms": 300.0}
    assert nodes["/compressed/planning"] == guarded
    assert nodes["/baseline/planning"] == {}


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
    [("detection,lanes", "'lanes'"), ("planning,planning", "each once")],
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


@pytest.mark.parametrize(("name", "value"), [("seed", "1.5"), ("seed", "abc"), ("traffic", "much")])
def test_a_number_of_the_camera_that_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(AdcpError, match=f"{name}:={value} is not a"):
        demo_nodes(demo(**{name: value}))


def test_without_its_camera_the_demo_ends() -> None:
    """The camera refuses what is out of its ranges, and the models would never get images."""
    nodes = demo_nodes(demo(traffic="7"))

    assert [node.is_required for node in nodes] == [False] * 7 + [True]


def test_a_planner_can_only_drive_where_it_runs() -> None:
    with pytest.raises(AdcpError, match="drive:=baseline needs planning"):
        demo_nodes(demo(tasks="detection", drive="baseline"))


MODELS = REPOSITORY / "models"


def test_a_fault_is_injected_into_the_compressed_side_with_the_baseline_as_standby() -> None:
    nodes = by_name(demo_nodes(demo(fault="nan:0.25", models=str(MODELS))))

    assert "backend" not in nodes["/baseline/planning"]
    planning, detection = nodes["/compressed/planning"], nodes["/compressed/detection"]
    assert planning["variant"] == "prune_int8_onnxruntime", (
        "accepted, and on the runtime that is always there"
    )
    assert planning["backend"] == detection["backend"] == "fault_injection"
    assert planning["fallback_variant"] == "baseline"
    options = parse_backend_options(planning["backend_options"])
    assert FaultOptions(**options).kind == ["nan"], "a text, not the number of YAML or JSON"
    assert options["probability"] == 0.25 and options["inner"] == "onnxruntime"


def test_a_named_variant_gets_the_fault_in_its_own_runtime() -> None:
    given = demo(fault="hang", models=str(MODELS), tasks="planning", variant="prune_int8")
    compressed = by_name(demo_nodes(given))["/compressed/planning"]

    assert compressed["variant"] == "prune_int8"
    assert parse_backend_options(compressed["backend_options"])["inner"] == "openvino"


@pytest.mark.parametrize(
    ("fault", "words"),
    [("fire", "fault:=fire: unknown fault 'fire'; known: raise"), ("nan:7", "fault:=nan:7: .*at most 1")],
)
def test_a_fault_that_is_none_is_refused(fault: str, words: str) -> None:
    with pytest.raises(AdcpError, match=words):
        demo_nodes(demo(fault=fault, models=str(MODELS)))


def test_a_model_without_an_accepted_variant_has_nothing_to_inject_into(tmp_path: Path) -> None:
    write_planner(tmp_path / "road_planning")
    with pytest.raises(AdcpError, match="no accepted variant; name one with variant:="):
        demo_nodes(demo(fault="nan", tasks="planning", models=str(tmp_path)))


# ---- more arguments


def test_each_camera_has_its_own_topic_namespace_and_report() -> None:
    given = arguments(
        namespace="/car", image_topic="/sensors/{camera}/image", report_path="live.json", cameras=""
    )

    front = of_camera(given, "front", 2)

    assert (front["namespace"], front["image_topic"]) == ("/car/front", "/sensors/front/image")
    assert front["report_path"] == "live_front.json"
    only = of_camera({**given, "image_topic": "/{camera}/image_raw"}, "", 1)
    assert (only["namespace"], only["image_topic"]) == ("/car", "/camera/image_raw")
    assert only["report_path"] == "live.json"


def test_cameras_that_would_get_the_same_images_are_refused() -> None:
    with pytest.raises(AdcpError, match=r"image_topic:=/image: .*\{camera\}"):
        of_camera(arguments(image_topic="/image"), "front", 2)
    # One camera may be on any topic; a relative one belongs to the namespace, which differs.
    assert of_camera(arguments(image_topic="/image"), "front", 1)["image_topic"] == "/image"
    assert of_camera(arguments(image_topic="image"), "front", 2)["image_topic"] == "image"


@pytest.mark.parametrize("text", ["front,front", "a-b", "front/left", "9"])
def test_wrong_cameras_are_refused(text: str) -> None:
    with pytest.raises(AdcpError, match="cameras:="):
        parse_cameras(text)


@pytest.mark.parametrize(
    ("namespace", "pushed", "expected"),
    [
        ("car", "/robot", "/robot/car"),
        ("", "/robot", "/robot"),
        ("/car", "/robot", "/car"),
        ("car", "", "/car"),
    ],
)
def test_a_namespace_is_below_the_pushed_one_unless_it_is_absolute(
    namespace: str, pushed: str, expected: str
) -> None:
    assert parse_namespace(pushed_namespace(namespace, pushed)) == expected


def test_the_monitor_of_perception_watches_its_nodes() -> None:
    given = arguments(namespace="car", monitor="true", deadline_ms="50", planning_deadline_ms="80")

    monitor = perception_nodes(given)[-1]

    assert monitor.full_name == "/car/latency_monitor"
    assert monitor.parameters["planning.baseline"] == "/car/planning"
    deadlines = {task: monitor.parameters[f"{task}.deadline_ms"] for task in DEFAULT_TASKS}
    assert deadlines == {"detection": 50.0, "segmentation": 50.0, "planning": 80.0}


def test_a_deadline_that_nothing_would_check_is_refused() -> None:
    with pytest.raises(AdcpError, match="detection.deadline_ms is a parameter of the monitor: set monitor:="):
        perception_nodes(arguments(deadline_ms="50"))
    with pytest.raises(AdcpError, match="odometry_topic is a parameter of the monitor: set monitor:="):
        perception_nodes(arguments(tasks="detection", odometry_topic="/odom"))
    planner = perception_nodes(arguments(tasks="planning", odometry_topic="/odom"))
    assert [node.name for node in planner] == ["planning"], "the planner listens to it, without a monitor too"
    with pytest.raises(AdcpError, match="monitor:=yes is neither true nor false"):
        perception_nodes(arguments(monitor="yes"))


def test_a_model_with_several_heads_has_its_node(tmp_path: Path) -> None:
    """Failed before: it was refused. Its manifest names no task, the heads say what it is."""
    model = write_two_heads(tmp_path / "model")
    given = arguments(tasks="", model=str(model), monitor="true", fallback="baseline", variant="int8")

    node, monitor = perception_nodes(given | {"odometry_topic": "/odom", "multi_task_deadline_ms": "80"})

    assert (node.executable, node.full_name) == ("multi_task_node", "/multi_task")
    assert node.parameters == {"model": str(model), "variant": "int8", "fallback_variant": "baseline"}
    assert monitor.parameters["multi_task.baseline"] == "/multi_task"
    assert monitor.parameters["multi_task.deadline_ms"] == 80.0
    # Beside other tasks it is named by its own arguments; a head may plan, so that odometry is of use.
    several = arguments(tasks="multi_task,detection", multi_task_model=str(model), multi_task_variant="fp32")
    found = by_name(perception_nodes(several | {"odometry_topic": "/odom"}))
    assert found == {"/multi_task": {"model": str(model), "variant": "fp32"}, "/detection": {}}


def test_ground_truth_is_of_one_task() -> None:
    with pytest.raises(AdcpError, match="ground_truth_topic:=/boxes: which of"):
        compare_nodes(arguments(ground_truth_topic="/boxes"))

    monitor = compare_nodes(arguments(tasks="planning", ground_truth_topic="/boxes"))[-1]
    assert monitor.parameters["planning.ground_truth_topic"] == "/boxes"
    # Also where a parameter file still has the old name.
    (old,) = TaskOptions.old_keys()
    assert monitor.parameters[f"planning.{old}"] == ""


@pytest.mark.parametrize("task", ["classification", "multi_task"])
def test_the_demo_refuses_what_it_has_no_ground_truth_of(task: str) -> None:
    """Failed before: a KeyError."""
    with pytest.raises(AdcpError, match=f"tasks:={task}: the road camera has ground truth of detection, "):
        demo_nodes(demo(tasks=task))


def test_odometry_is_remapped_also_in_the_demo() -> None:
    given = demo(odometry_topic="/vehicle/odometry", tasks="planning")

    nodes = with_camera(demo_nodes(given), given)

    assert dict(nodes[0].remappings)["odometry"] == "/vehicle/odometry"
    assert [name for name, _ in nodes[0].remappings].count("odometry") == 1


def test_a_model_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder models before those of the package; a folder of that name here before both."""
    monkeypatch.chdir(tmp_path)
    mine = write_planner(tmp_path / "mine" / "road_planning")

    assert find_model("road_planning", str(tmp_path / "mine")) == mine
    assert find_model("road_planning", "") == REPOSITORY / "models/road_planning"
    assert find_model("yolox_nano", "") == REPOSITORY / "config/reference_models/yolox_nano"
    assert tasks_of(arguments(tasks="", model="road_planning")) == ["planning"]
    write_planner(tmp_path / "road_planning")
    assert find_model("road_planning", str(tmp_path / "mine")) == Path("road_planning")


def test_names_that_are_stated_twice_are_the_same() -> None:
    """A launch cannot import the modules that have them: those need more than every machine has."""
    assert tuple(TASKS) == get_args(TaskName)
    assert {*TASKS} == {*TASK_NAMES, RAW} and MULTI_TASK in TASK_NAMES
    pytest.importorskip("launch_ros", reason="ROS 2's launch_ros is not installed")
    from ad_road_simulation.launch_support.arguments import WEATHERS

    assert get_args(WeatherOption) == WEATHERS
