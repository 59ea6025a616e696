# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that launch and parameter files name exists: executables, files, arguments, parameters.

ROS 2's launch is not needed for this; test_launch.py starts the launch files for real.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.registry import NODES, find
from ad_compressed_perception.core.resources import models_folder
from ad_compressed_perception.launch_support.plan import camera_remappings, write_parameters
from ad_compressed_perception.nodes.bag_player import BagPlayer
from ad_compressed_perception.nodes.compose import ComposeOptions
from ad_compressed_perception.nodes.monitor_options import TaskOptions
from ad_compressed_perception.nodes.parameters import declare
from support.bags import COMPRESSED_TOPIC, road_frames, write_bag
from support.launch import PACKAGE, REPOSITORY, Recording, record

rclpy = pytest.importorskip("rclpy")

LAUNCH_FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
# Of this package's nodes; aggregator.yaml is for diagnostic_aggregator.
PARAMETER_FILES = sorted(
    path for path in (REPOSITORY / "config").glob("*.yaml") if path.name != "aggregator.yaml"
)
TASKS = ("detection", "segmentation", "planning")
# Every argument that sets a parameter, with a value that does so.
EVERYTHING = {
    "namespace": "car",
    "variant": "int8",
    "backend": "openvino",
    "allow_rejected": "true",
    "transport": "raw",
    "use_sim_time": "true",
    "age_reference": "publish_time",
    "qos_reliability": "reliable",
    "max_age_ms": "250",
    "threads": "2",
    "keep_when_busy": "newest",
    "every_nth": "3",
    "camera_rate_hz": "30.5",
    "process_watchdog_s": "20",
    "fallback": "baseline",
    "frame_timeout_ms": "250",
    "hold_last_ms": "300",
    "odometry_topic": "/odometry",
    "baseline_variant": "fp32",
    "baseline_backend": "onnxruntime",
    "monitor": "true",
    "deadline_ms": "50",
    **{f"{task}_ground_truth_topic": f"/simulator/{task}" for task in TASKS},
    **{f"{task}_model": f"models/{task}" for task in TASKS},
}
# Commented lines that show a value other than the default.
EXAMPLES = {"backend_options"}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bag(tmp_path_factory.mktemp("recording") / "drive", road_frames(2)))


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


def read(path: Path, folder: Path, bag: str, **given: str) -> Recording:
    if path.name == "replay.launch.py":
        given = {"bag": bag, **given}
    if path.name == "demo.launch.py" and models_folder() is None:
        given = {"models": str(folder), **given}
    return record(path, folder, **given)


def executable_of(node: str) -> str:
    """Return the console script that becomes the node of this full name or pattern."""
    name = node.rpartition("/")[2]
    return name if name in ("bag_player", "compose") else f"{name}_node"


def build(executable: str, context: Any, parameters: dict[str, Any]) -> Any:
    """Return the real node of an executable, with parameters as from a file."""
    if executable == "compose":
        node = rclpy.create_node("compose", context=context, parameter_overrides=_overrides(parameters))
        declare(node, ComposeOptions)
        return node
    needed = {
        "latency_monitor_node": {"planning.baseline": "/baseline/planning"},
        "bag_player": {"bag": "any"},
    }
    parameters = {**needed.get(executable, {}), **parameters}
    node_class = BagPlayer if executable == "bag_player" else find(NODES, executable, AdcpError)
    return node_class(context=context, parameter_overrides=_overrides(parameters))


def _overrides(parameters: dict[str, Any]) -> list[Any]:
    return [rclpy.Parameter(name, value=value) for name, value in parameters.items()]


def defaults_of(executable: str, context: Any) -> dict[str, Any]:
    """Return every parameter that an executable's node declares, with its value."""
    node = build(executable, context, {})
    try:
        return {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
    finally:
        node.destroy_node()


def assert_accepted(executable: str, context: Any, parameters: dict[str, Any]) -> None:
    """Every name is declared and every value is of a type and in a range that the node takes."""
    old = {f"{task}.{name}" for task in TASKS for name in TaskOptions.old_keys()}
    unknown = parameters.keys() - defaults_of(executable, context).keys() - old
    assert not unknown, f"{executable} declares no such parameter"
    node = build(executable, context, parameters)
    try:
        for name, value in parameters.items():
            if name in old:  # cleared, so that a parameter file cannot set it under that name
                continue
            taken = node.get_parameter(name).value
            assert (list(taken) if isinstance(value, list) else taken) == value
    finally:
        node.destroy_node()


def flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters under their dotted names."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


# Files and executables --------------------------------------------------------------------------


def test_there_are_launch_and_parameter_files() -> None:
    """Without this check an empty folder would pass the tests below."""
    assert [path.name for path in LAUNCH_FILES] == [
        "compare.launch.py",
        "demo.launch.py",
        "perception.launch.py",
        "replay.launch.py",
    ]
    assert [path.name for path in PARAMETER_FILES] == [
        "compare.yaml",
        "demo.yaml",
        "perception.yaml",
    ]


@pytest.mark.parametrize("composed", ["false", "true"])
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_executable_is_a_console_script(
    path: Path,
    composed: str,
    bag: str,
    tmp_path: Path,
    setup_arguments: dict[str, Any],
) -> None:
    scripts = {
        entry.split("=")[0].strip()
        for entry in setup_arguments["entry_points"]["console_scripts"]
        if ".nodes." in entry
    }
    recording = read(path, tmp_path, bag, composed=composed)
    assert recording.processes
    for process in recording.processes:
        assert process["package"] == PACKAGE
        assert process["executable"] in scripts


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_file_named_is_installed(
    path: Path,
    bag: str,
    tmp_path: Path,
    setup_arguments: dict[str, Any],
) -> None:
    """The launch file itself, what it includes, its parameter file, and the models in that."""
    if path.name == "demo.launch.py" and models_folder() is None:
        pytest.skip("the default models are not there")
    installed = {REPOSITORY / name for _, names in setup_arguments["data_files"] for name in names}
    recording = read(path, tmp_path, bag)
    assert recording.packages == {PACKAGE}
    parameter_file = Path(recording.values["params_file"])
    assert {path, parameter_file, *recording.included} <= installed
    for section in yaml.safe_load(parameter_file.read_text("utf-8")).values():
        model = section["ros__parameters"].get("model")
        if model is not None:
            place = model.replace("$(var models)", recording.values["models"])
            assert Path(place, "model.yaml") in installed


# Arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_described(path: Path, bag: str, tmp_path: Path) -> None:
    recording = read(path, tmp_path, bag)
    assert {"tasks", "namespace", "params_file", "use_sim_time", "image_topic", "transport"} <= set(
        recording.declared
    )
    assert {"model", "variant", "backend"} <= set(recording.declared)
    for name, options in recording.declared.items():
        assert len(options["description"]) > 10, name
        if recording.values[name] in ("true", "false"):
            assert options["choices"] == ["true", "false", ""], name


def test_arguments_that_readers_need_are_declared(bag: str, tmp_path: Path) -> None:
    """What the functions read, and what the parameter files refer to, is declared somewhere."""
    declared = {
        name
        for file in ("perception.launch.py", "replay.launch.py", "demo.launch.py")
        for name in read(REPOSITORY / "launch" / file, tmp_path, bag).declared
    }
    sources = [*(REPOSITORY / PACKAGE / "launch_support").glob("*.py"), *PARAMETER_FILES]
    read_somewhere = set()
    for source in sources:
        text = source.read_text("utf-8")
        read_somewhere |= set(re.findall(r'arguments(?:\.get\(|\[)"([a-z_]+)"', text))
        read_somewhere |= set(re.findall(r'parse_bool\(arguments, "([a-z_]+)"', text))
        read_somewhere |= set(re.findall(r"\$\(var ([a-z_]+)\)", text))
    assert {"tasks", "models", "composed"} <= read_somewhere
    assert read_somewhere <= declared


@pytest.mark.parametrize(
    ("name", "value"), [("log_level", "loud"), ("transport", "zip"), ("composed", "yes")]
)
def test_a_value_that_is_no_choice_is_refused(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        record(REPOSITORY / "launch/perception.launch.py", tmp_path, **{name: value})


@pytest.mark.parametrize("file", ["demo.launch.py", "perception.launch.py"])
def test_a_models_folder_that_is_not_there_is_one_line(file: str, tmp_path: Path) -> None:
    """Only where a model is looked for in it."""
    path = REPOSITORY / "launch" / file
    nowhere = str(tmp_path / "nowhere")

    with pytest.raises(AdcpError, match=r"models:=.*nowhere: there is no such folder"):
        record(path, tmp_path, models=nowhere, planning_model="model")

    assert record(path, tmp_path, models=nowhere, tasks="planning", planning_model="model").processes


def test_an_argument_of_a_task_that_does_not_run_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Failed before: it was ignored without a word, and the node ran the baseline."""
    record(
        REPOSITORY / "launch/perception.launch.py", tmp_path, tasks="detection", planning_variant="prune_int8"
    )
    assert "planning_variant:=prune_int8 has no effect: this launch runs detection" in caplog.text
    assert caplog.text.count("no effect") == 1
    # A task whose name has an underscore, too.
    record(REPOSITORY / "launch/perception.launch.py", tmp_path, tasks="detection", multi_task_variant="int8")
    assert "multi_task_variant:=int8 has no effect: this launch runs detection" in caplog.text


BLOCKED = """
import sys
from pathlib import Path

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("pydantic", "numpy", "cv2", "onnx", "onnxruntime", "rosbags"):
            raise ImportError(f"{name} is not on every machine with ROS 2")

sys.meta_path.insert(0, Blocked())
from support.launch import REPOSITORY, record
folder, bag = Path(sys.argv[1]), sys.argv[2]
for path in sorted((REPOSITORY / "launch").glob("*.launch.py")):
    given = {"bag": bag} if path.name == "replay.launch.py" else {}
    print(path.name, len(record(path, folder, **given).processes))
"""


def test_a_launch_imports_only_what_every_machine_with_ros_has(bag: str, tmp_path: Path) -> None:
    """``ros2 launch`` runs on the system's Python, whatever environment the nodes are in."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(tmp_path), bag],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "test")])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(LAUNCH_FILES)


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_room_for_large_images_is_an_environment_of_all_nodes(path: Path, bag: str, tmp_path: Path) -> None:
    """Fast DDS reads the profile by one name before and by another since its version 3."""
    profile = str(REPOSITORY / "config/fastdds_large_images.xml")
    for process in read(path, tmp_path, bag, large_images="true").processes:
        assert list(process["additional_env"].values()) == [profile, profile]
    assert not any(process["additional_env"] for process in read(path, tmp_path, bag).processes)


def test_a_log_level_is_passed_to_all_nodes(bag: str, tmp_path: Path) -> None:
    path = REPOSITORY / "launch/replay.launch.py"
    for process in read(path, tmp_path, bag, log_level="warn").processes:
        assert process["ros_arguments"] == ["--log-level", "warn"]


# Parameters -------------------------------------------------------------------------------------


def sections(path: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of each node pattern of a file, under dotted names."""
    content = yaml.safe_load(path.read_text("utf-8"))
    return {node: flat(section["ros__parameters"]) for node, section in content.items()}


def commented_parameters(path: Path) -> list[tuple[str, str, Any]]:
    """Return (node pattern, name, value) of the parameters in comments."""
    found = []
    node = ""
    for line in path.read_text("utf-8").splitlines():
        if match := re.match(r"(/\S+):$", line):
            node = match[1]
        elif match := re.match(r"    # ([a-z_.]+): (.+)$", line):
            found.append((node, match[1], yaml.safe_load(match[2])))
    return found


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)
def test_every_parameter_of_a_file_is_declared(path: Path, context: Any) -> None:
    for node, parameters in sections(path).items():
        assert_accepted(executable_of(node), context, parameters)


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)
def test_commented_parameters_show_the_defaults(path: Path, context: Any) -> None:
    """A default stated in two places must be the same in both."""
    commented = commented_parameters(path)
    assert len(commented) >= 4
    for node, name, value in commented:
        defaults = defaults_of(executable_of(node), context)
        assert name in defaults
        if name not in EXAMPLES:
            assert value == defaults[name], f"{node} {name}"
            assert type(value) is type(defaults[name]), f"{node} {name}"


@pytest.mark.parametrize("composed", ["false", "true"])
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_parameter_set_by_a_launch_file_is_declared(
    path: Path, composed: str, bag: str, tmp_path: Path, context: Any
) -> None:
    # A node created only to read its parameters also writes its report when destroyed.
    everything = {**EVERYTHING, "report_path": str(tmp_path / "report.json")}
    recording = read(path, tmp_path, bag, composed=composed, **everything)

    written = {}
    for file in tmp_path.glob("launch_arguments_*.yaml"):
        written |= sections(file)

    assert len(written) >= len(TASKS)
    for node, parameters in written.items():
        assert_accepted(executable_of(node), context, parameters)
    for process in recording.processes:
        for entry in process["parameters"]:
            file = entry if isinstance(entry, str) else entry.args[0]
            assert Path(file).is_file()


def test_monitor_watches_the_nodes_that_are_started(bag: str, tmp_path: Path) -> None:
    """A name that differs between node and monitor would always be reported as missing."""
    recording = read(
        REPOSITORY / "launch/compare.launch.py", tmp_path, bag, namespace="/car/", tasks="planning"
    )

    (file,) = tmp_path.glob("launch_arguments_*.yaml")
    monitor = sections(file)["/**/**/car/latency_monitor"]
    started = {f"{each['namespace']}/{each['name']}" for each in recording.processes}
    assert started == {
        "/car/baseline/planning",
        "/car/compressed/planning",
        "/car/latency_monitor",
    }
    assert monitor["planning.baseline"] in started
    assert set(monitor["planning.compressed"]) <= started
    assert "detection.baseline" not in monitor


def test_the_demo_s_planner_drives_the_car_it_sees(bag: str, tmp_path: Path) -> None:
    """Publishers and subscribers of images, odometry, commands and ground truth use the same names."""
    path = REPOSITORY / "launch/demo.launch.py"
    recording = read(path, tmp_path, bag, namespace="car", tasks="planning,detection", drive="compressed")

    rules = {f"{each['namespace']}/{each['name']}": dict(each["remappings"]) for each in recording.processes}
    assert rules["/car/compressed/planning"]["image/compressed"] == "/car/road_camera/image/compressed"
    assert rules["/car/compressed/planning"]["odometry"] == "/car/road_camera/odometry"
    assert rules["/car/road_camera"] == {"~/drive_command": "/car/compressed/planning/command"}
    (file,) = tmp_path.glob("launch_arguments_*.yaml")
    monitor, camera = (sections(file)[f"/**/**/car/{name}"] for name in ("latency_monitor", "road_camera"))
    assert monitor["planning.ground_truth_topic"] == "/car/road_camera/ground_truth/trajectory"
    assert monitor["detection.ground_truth_topic"] == "/car/road_camera/ground_truth/detections"
    assert camera == {"drive": "command"}


@pytest.mark.parametrize("fault", ["", "nan"])
def test_faults_are_enabled_only_where_one_is_asked_for(fault: str, bag: str, tmp_path: Path) -> None:
    recording = read(REPOSITORY / "launch/demo.launch.py", tmp_path, bag, tasks="planning", fault=fault)

    assert recording.environment == ({"ADCP_INJECT_FAULTS": "1"} if fault else {})


def test_compose_is_given_the_same_nodes(bag: str, tmp_path: Path) -> None:
    path = REPOSITORY / "launch/compare.launch.py"
    separate = read(path, tmp_path, bag, namespace="car")
    names = {f"{each['executable']}:{each['namespace']}/{each['name']}" for each in separate.processes}
    folder = tmp_path / "composed"
    folder.mkdir()

    (process,) = read(path, folder, bag, namespace="car", composed="true").processes

    (file,) = folder.glob("launch_arguments_*.yaml")
    assert set(sections(file)["/**/**/compose"]["nodes"]) == names
    assert len(names) == 2 * len(TASKS) + 1
    # A name given to the process would rename every node in it.
    assert "name" not in process
    assert "namespace" not in process


def test_replay_takes_topic_and_transport_from_the_recording(bag: str, tmp_path: Path) -> None:
    recording = read(REPOSITORY / "launch/replay.launch.py", tmp_path, bag, tasks="detection")

    assert recording.values["transport"] == "compressed"
    assert recording.values["image_topic"] == COMPRESSED_TOPIC
    remappings = [process["remappings"] for process in recording.processes]
    assert all(("image/compressed", COMPRESSED_TOPIC) in pairs for pairs in remappings)
    player = next(each for each in recording.processes if each["executable"] == "bag_player")
    parameters = sections(Path(player["parameters"][0]))["/**/**/bag_player"]
    assert parameters["publish_clock"] is True
    assert parameters["wait_for_subscribers"] == 2  # one task, baseline and compressed


# How rcl merges parameters -----------------------------------------------------------------------

LAYOUTS = {
    "wildcard": {"/**": {"threads": 2}},
    "full name": {"/car/detection": {"threads": 2}},
    "full name first": {"/car/detection": {"threads": 2}, "/**": {"threads": 3}},
    "wildcard first": {"/**": {"threads": 3}, "/car/detection": {"threads": 2}},
    "namespace wildcards": {"/*/detection": {"threads": 3}, "/**/detection": {"threads": 2}},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_arguments_override_every_parameter_file(
    layout: dict[str, Any], tmp_path: Path, context: Any
) -> None:
    """Rcl merges in the order in which node patterns first appear, not in the order of the files."""
    from ad_compressed_perception.launch_support.plan import PlannedNode

    params_file = tmp_path / "user.yaml"
    params_file.write_text(
        yaml.safe_dump(
            {node: {"ros__parameters": values} for node, values in layout.items()}, sort_keys=False
        )
    )
    planned = PlannedNode("detection_node", "/car/detection", {"threads": 7})
    overrides = write_parameters([planned], tmp_path)
    files = ["--params-file", str(params_file), "--params-file", str(overrides)]

    node = rclpy.create_node(
        planned.name,
        namespace=planned.namespace,
        context=context,
        cli_args=["--ros-args", *files],
        use_global_arguments=False,
        automatically_declare_parameters_from_overrides=True,
    )

    assert node.get_parameter("threads").value == 7
    node.destroy_node()


@pytest.mark.parametrize(
    ("image_topic", "raw", "compressed"),
    [
        ("/camera/image_raw", "/camera/image_raw", "/camera/image_raw/compressed"),
        ("/camera/image_raw/compressed", "/camera/image_raw", "/camera/image_raw/compressed"),
        ("front", "/car/front", "/car/front/compressed"),
        ("", "/car/image", "/car/image/compressed"),
    ],
)
def test_camera_topics(image_topic: str, raw: str, compressed: str, context: Any) -> None:
    rules = [
        argument for pair in camera_remappings(image_topic) for argument in ("-r", f"{pair[0]}:={pair[1]}")
    ]
    node = rclpy.create_node(
        "detection",
        namespace="/car",
        context=context,
        cli_args=["--ros-args", *rules] if rules else [],
        use_global_arguments=False,
    )

    assert node.resolve_topic_name("image") == raw
    assert node.resolve_topic_name("image/compressed") == compressed
    node.destroy_node()


@pytest.mark.parametrize(
    ("respawn", "argument", "file", "passed"),
    [
        ("true", "", "/**: {ros__parameters: {threads: 1}}  # process_watchdog_s: 3.0\n", 10.0),
        ("true", "0", "/**: {ros__parameters: {threads: 1}}\n", 0.0),
        ("true", "", "/**: {ros__parameters: {process_watchdog_s: 3.0}}\n", None),
        ("false", "", "/**: {ros__parameters: {threads: 1}}\n", None),
    ],
)
def test_processes_that_are_started_again_are_ended_when_nothing_in_them_runs(
    respawn: str, argument: str, file: str, passed: float | None, tmp_path: Path
) -> None:
    """Without respawn the end would make a passing fault a lasting one; what the user says goes before."""
    params_file = tmp_path / "parameters.yaml"
    params_file.write_text(file)

    recording = record(
        REPOSITORY / "launch" / "perception.launch.py",
        tmp_path,
        params_file=str(params_file),
        tasks="planning",
        model="m",
        respawn=respawn,
        process_watchdog_s=argument,
    )

    *_, overrides = recording.processes[0]["parameters"]
    (section,) = yaml.safe_load(Path(overrides).read_text()).values()
    assert section["ros__parameters"].get("process_watchdog_s") == passed
