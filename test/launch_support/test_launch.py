# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files under the real ``ros2 launch``: start, results, a killed node, shutdown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ad_compressed_perception.backends import backend_names
from ad_compressed_perception.core.manifest import Verdict, load_manifest
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.bags import road_frames, stamps_of, write_bag, write_messages
from support.classifiers import write_classifier
from support.models import WRITERS, draw_scene
from support.videos import packets_of, video_message, write_video_file

# The repository's folder launch can be mistaken for the module launch; launch_ros cannot.
pytest.importorskip("launch_ros", reason="ROS 2's launch_ros is not installed")
rclpy = pytest.importorskip("rclpy")

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "ad_compressed_perception"
LAUNCH_FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
# By the names in the shipped parameter files.
MODELS = {
    "detection": "road_detection",
    "segmentation": "road_segmentation",
    "planning": "road_planning",
}
CAMERA = "/camera/image_raw"
PATIENCE_S = 60.0
# What a machine with ROS 2 need not have for the Python that launches; the nodes run on another one.
NOT_IN_A_LAUNCH = ("pydantic", "numpy", "cv2", "onnx", "onnxruntime", "openvino", "rosbags")
BLOCKING = f"""
import os, sys

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {NOT_IN_A_LAUNCH} and os.path.basename(sys.argv[0]) == "ros2":
            raise ImportError(f"{{name}} is not on every machine with ROS 2")

sys.meta_path.insert(0, Blocked())
"""

pytestmark = pytest.mark.ros


def _package_prefix() -> str | None:
    """Return where the package is installed: the sourced workspace, or the repository's own."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    prefixes.append(str(REPOSITORY / "install" / PACKAGE))
    return next((each for each in prefixes if Path(each, "lib", PACKAGE).is_dir()), None)


@pytest.fixture(scope="session")
def ros2() -> str:
    """Return the path of the ros2 command; skips where it or the built package is missing."""
    command = shutil.which("ros2")
    if command is None:
        pytest.skip("there is no ros2 command")
    if _package_prefix() is None:
        pytest.skip(f"{PACKAGE} is not built: make setup, or colcon build")
    return command


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiny models, each with an accepted variant int8 (the baseline under that name)."""
    folder = tmp_path_factory.mktemp("models")
    for task, name in MODELS.items():
        path = WRITERS[task](folder / name)
        manifest = load_manifest(path)
        accepted = Verdict(status="accepted")
        manifest.variants["int8"] = manifest.variants["fp32"].model_copy(update={"verdict": accepted})
        save_manifest(manifest, path)
    return folder


class Launched:
    """A running ``ros2 launch`` with all its processes; what it need not have cannot be imported in it."""

    def __init__(self, ros2: str, log: Path, file: str, arguments: dict[str, str]) -> None:
        environment = dict(os.environ)
        blocking = log.parent / "blocking"
        blocking.mkdir(exist_ok=True)
        (blocking / "sitecustomize.py").write_text(BLOCKING)
        environment["PYTHONPATH"] = os.pathsep.join([str(blocking), environment.get("PYTHONPATH", "")])
        prefixes = [_package_prefix() or "", environment.get("AMENT_PREFIX_PATH", "")]
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(prefixes)
        environment["ROS_HOME"] = str(log.parent)
        assignments = [f"{name}:={value}" for name, value in arguments.items()]
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [ros2, "launch", *([file] if os.sep in file else [PACKAGE, file]), *assignments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        self._children: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        """Return the nodes' processes that run now; all ever seen are remembered."""
        if self.process.poll() is None:
            running = psutil.Process(self.process.pid).children(recursive=True)
            self._children |= set(running)
        return [child for child in self._children if child.is_running()]

    def child(self, executable: str, namespace: str) -> psutil.Process:
        for child in self.children():
            command = " ".join(child.cmdline())
            if f"/{executable} " in command and f"__ns:={namespace}" in command:
                return child
        raise AssertionError(f"no {executable} in {namespace}:\n{self.output}")

    def wait_for(self, text: str) -> None:
        wait(lambda: re.search(text, self.output) is not None, f"{text!r} in:", self)

    def end(self, sent: signal.Signals, *, nodes_too: bool = False) -> int:
        """Send a signal to the launch (and its nodes); return its exit status once nothing is left."""
        for child in self.children():
            if nodes_too:
                child.send_signal(sent)
        self.process.send_signal(sent)
        status = self.process.wait(PATIENCE_S)
        wait(lambda: not self.children(), "all processes to end", self)
        return status

    def clear(self) -> None:
        for process in [*self.children(), self.process]:
            if process.is_running() if isinstance(process, psutil.Process) else True:
                process.kill()
        self.process.wait()


def wait(condition: Callable[[], Any], what: str, launched: Launched) -> None:
    """Wait until a condition holds; a launch that ends before, or a minute, fails the test."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}\n{launched.output}"
        time.sleep(0.1)


@pytest.fixture
def start(ros2: str, tmp_path: Path, models: Path) -> Iterator[Callable[..., Launched]]:
    """Return a function that launches a file with the tiny models; what it started ends after."""
    running: list[Launched] = []

    def launch(file: str, *, default_models: bool = False, **arguments: str) -> Launched:
        if not default_models:
            arguments.setdefault("models", str(models))
        running.append(Launched(ros2, tmp_path / f"output_{len(running)}.txt", file, arguments))
        return running[-1]

    yield launch
    for launched in running:
        launched.clear()


class Observer:
    """Publishes camera images at 20 Hz and records results and diagnostics."""

    def __init__(self, context: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image

        self.node = rclpy.create_node("observer", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.diagnostics: dict[str, str] = {}
        self.results: dict[str, int] = {}
        self._frames = 0
        self._camera = self.node.create_publisher(Image, CAMERA, 1)
        self.node.create_timer(0.05, self._publish)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)

    def _publish(self) -> None:
        from sensor_msgs.msg import Image

        image = draw_scene(self._frames)
        self._frames += 1
        height, width = image.shape[:2]
        message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.data = image.tobytes()
        self._camera.publish(message)

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics |= {status.name: status.message for status in message.status}

    def subscribe(self, kind: type, topic: str) -> None:
        def count(_: Any) -> None:
            self.results[topic] = self.results.get(topic, 0) + 1

        self.results[topic] = 0
        self.node.create_subscription(kind, topic, count, 10)

    def nodes(self) -> set[str]:
        pairs = self.node.get_node_names_and_namespaces()
        return {f"{namespace.rstrip('/')}/{name}" for name, namespace in pairs}

    def spin_until(self, condition: Callable[[], Any], what: str, launched: Launched) -> None:
        def spin() -> bool:
            self._executor.spin_once(timeout_sec=0.1)
            return bool(condition())

        wait(spin, what, launched)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def observer(ros_context: Any) -> Iterator[Observer]:
    observer = Observer(ros_context)
    yield observer
    observer.close()


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_arguments_are_described(path: Path, ros2: str) -> None:
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(path))
    description = source.get_launch_description(LaunchContext())

    arguments = {argument.name: argument for argument in description.get_launch_arguments()}
    assert {"tasks", "model", "variant", "backend", "params_file", "namespace"} <= set(arguments)
    assert all(len(argument.description) > 10 for argument in arguments.values())
    assert arguments["use_sim_time"].choices == ["true", "false", ""]
    runtimes = set(backend_names()) - {"fault_injection"}  # loads only where faults are asked for
    assert all(name in arguments["backend"].description for name in runtimes)


def test_perception_runs_the_requested_tasks_and_ends_with_ctrl_c(
    start: Callable[..., Launched], observer: Observer
) -> None:
    from nav_msgs.msg import Path as PathMessage
    from vision_msgs.msg import Detection2DArray

    observer.subscribe(Detection2DArray, "/car/detection/detections")
    observer.subscribe(PathMessage, "/car/planning/trajectory")

    launched = start("perception.launch.py", tasks="detection,planning", namespace="car")

    observer.spin_until(lambda: min(observer.results.values()) > 3, "results", launched)
    assert observer.nodes() == {"/observer", "/car/detection", "/car/planning"}
    assert launched.end(signal.SIGINT) == 0
    assert "Traceback" not in launched.output
    assert launched.output.count("process has finished cleanly") == 2


def test_a_comparison_needs_no_argument(start: Callable[..., Launched], observer: Observer) -> None:
    """The shipped models, and of each the first accepted variant whose runtime is installed."""
    launched = start("compare.launch.py", default_models=True)

    tasks = ("detection", "segmentation", "planning")
    pairs = [f"/latency_monitor: {task}" for task in tasks]
    observer.spin_until(
        lambda: all("pairs" in observer.diagnostics.get(name, "") for name in pairs), "pairs", launched
    )
    running = re.findall(r"(road_\w+)/(\w+) on \w+", launched.output)
    assert {model for model, _ in running} == set(MODELS.values())
    for model in MODELS.values():
        variants = [variant for name, variant in running if name == model]
        assert len(set(variants)) == 2 and "baseline" in variants, "baseline and compressed"
    assert launched.end(signal.SIGINT) == 0


def test_a_shipped_model_is_found_by_its_name_with_its_task(start: Callable[..., Launched]) -> None:
    """An empty argument has its default; ``ros2 launch`` takes it in quotes only."""
    launched = start("perception.launch.py", model="road_planning", models="''", variant="''")

    launched.wait_for("road_planning/baseline on onnxruntime")
    assert "detection" not in launched.output
    assert launched.end(signal.SIGINT) == 0


def test_a_classifier_is_compared_where_its_model_is_named(
    start: Callable[..., Launched], observer: Observer, tmp_path: Path
) -> None:
    """No other task starts with it, and none starts it: the package has no model of this task."""
    from vision_msgs.msg import Classification

    model = write_classifier(tmp_path / "classifier")
    observer.subscribe(Classification, "/compressed/classification/classification")

    launched = start("compare.launch.py", model=str(model), variant="fp32")

    status = "/latency_monitor: classification"
    observer.spin_until(lambda: "pairs" in observer.diagnostics.get(status, ""), "pairs", launched)
    observer.spin_until(lambda: min(observer.results.values()) > 3, "results", launched)
    nodes = {"/baseline/classification", "/compressed/classification", "/latency_monitor"}
    assert observer.nodes() == {"/observer", *nodes}
    assert launched.end(signal.SIGINT) == 0
    assert "Traceback" not in launched.output


INCLUDING = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace

def generate_launch_description():
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource({file!r}), launch_arguments={arguments!r}.items()
    )
    return LaunchDescription([GroupAction([PushRosNamespace("robot"), include])])
"""


@pytest.mark.parametrize("composed", ["false", "true"])
def test_a_pushed_namespace_is_before_all_names(
    start: Callable[..., Launched], models: Path, observer: Observer, tmp_path: Path, composed: str
) -> None:
    """Also where all nodes of each camera are one process, which a pushed namespace must not rename."""
    arguments = {
        "models": str(models), "tasks": "planning", "cameras": "front,rear", "namespace": "car",
        "composed": composed, "image_topic": CAMERA.replace("camera", "{camera}"), "variant": "",
    }  # fmt: skip
    file = tmp_path / "including.launch.py"
    file.write_text(INCLUDING.format(file=str(REPOSITORY / "launch/compare.launch.py"), arguments=arguments))

    launched = start(str(file))

    names = {
        f"/robot/car/{camera}/{name}"
        for camera in ("front", "rear")
        for name in ("baseline/planning", "compressed/planning", "latency_monitor")
    }
    observer.spin_until(lambda: names <= observer.nodes(), f"{names}", launched)

    def subscribed(camera: str) -> set[str]:
        node = ("planning", f"/robot/car/{camera}/compressed")
        return {name for name, _ in observer.node.get_subscriber_names_and_types_by_node(*node)}

    observer.spin_until(
        lambda: all(f"/{camera}/image_raw" in subscribed(camera) for camera in ("front", "rear")),
        "each camera's nodes on its topic",
        launched,
    )
    assert "did you mean" not in launched.output
    assert launched.end(signal.SIGINT) == 0


def _ros2_param(ros2: str, *arguments: str) -> str:
    """Return the output of ``ros2 param``, without the daemon, which would outlive the test."""
    command = [ros2, "param", *arguments, "--no-daemon", "--spin-time", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_perception_with_a_monitor_takes_its_own_dump(
    start: Callable[..., Launched], ros2: str, observer: Observer, tmp_path: Path
) -> None:
    """``ros2 param load`` of what ``ros2 param dump`` wrote; deadline and log level are those given."""
    from nav_msgs.msg import Path as PathMessage

    launched = start(
        "perception.launch.py", tasks="planning", monitor="true", deadline_ms="70", log_level="warn"
    )
    observer.subscribe(PathMessage, "/planning/trajectory")
    observer.spin_until(lambda: observer.results["/planning/trajectory"], "a trajectory", launched)
    observer.spin_until(lambda: "/latency_monitor" in observer.nodes(), "the monitor", launched)

    for node in ("/planning", "/latency_monitor"):
        file = tmp_path / "dump.yaml"
        file.write_text(_ros2_param(ros2, "dump", node))
        loaded = _ros2_param(ros2, "load", node, str(file))
        assert loaded.count("successful") > 10
        assert "failed" not in loaded.lower(), loaded
    assert "deadline_ms: 70.0" in file.read_text()
    assert not re.search(r"\[INFO\] \[\d", launched.output), "a node's line below log_level"
    assert launched.end(signal.SIGINT) == 0


def test_a_killed_node_ends_no_other_and_the_monitor_names_it(
    start: Callable[..., Launched], observer: Observer
) -> None:
    launched = start("compare.launch.py", tasks="detection,planning")
    summary = observer.diagnostics
    observer.spin_until(lambda: "pairs" in summary.get("/latency_monitor: detection", ""), "pairs", launched)

    launched.child("detection_node", "/compressed").kill()

    observer.spin_until(
        lambda: "/compressed/detection" in summary["/latency_monitor: detection"],
        "the monitor to name it",
        launched,
    )
    others = {"/baseline/detection", "/baseline/planning", "/compressed/planning"}
    assert others | {"/latency_monitor"} <= observer.nodes()
    assert "pairs" in summary["/latency_monitor: planning"]
    # SIGTERM ends a launch immediately; its processes must end too.
    launched.end(signal.SIGTERM)


def test_both_sides_are_seen_on_the_camera_that_the_launch_names(
    start: Callable[..., Launched], observer: Observer
) -> None:
    """The monitor gets the camera's remapping, too; an image without a frame has no stamp."""
    from sensor_msgs.msg import CompressedImage

    stamps: list[int] = []
    observer.node.create_subscription(
        CompressedImage,
        "/latency_monitor/side_by_side/compressed",
        lambda message: stamps.append(message.header.stamp.sec),
        1,
    )
    launched = start("compare.launch.py", tasks="planning", image_topic=CAMERA)
    observer.spin_until(lambda: any(stamps), "an image of both sides", launched)
    assert launched.end(signal.SIGINT) == 0


def test_the_demo_runs_and_shuts_down_when_its_nodes_are_interrupted_twice(
    start: Callable[..., Launched], observer: Observer
) -> None:
    """A service manager interrupts all processes at once, and the launch forwards it to its nodes."""
    from nav_msgs.msg import Odometry
    from vision_msgs.msg import Detection2DArray

    results = [f"/{side}/detection/detections" for side in ("baseline", "compressed")]
    for topic in results:
        observer.subscribe(Detection2DArray, topic)
    observer.subscribe(Odometry, "/road_camera/odometry")

    launched = start("demo.launch.py", default_models=True, tasks="detection")

    observer.spin_until(lambda: min(observer.results.values()) > 3, "results", launched)
    assert launched.end(signal.SIGINT, nodes_too=True) == 0
    assert launched.output.count("process has finished cleanly") == 4, launched.output
    assert "Traceback" not in launched.output
    assert "terminate called" not in launched.output


def test_a_killed_launch_leaves_no_process(start: Callable[..., Launched]) -> None:
    launched = start("compare.launch.py", tasks="planning")
    launched.wait_for("watching /baseline/planning, /compressed/planning")

    assert launched.end(signal.SIGKILL) == -signal.SIGKILL


def test_arguments_override_the_parameter_file_and_a_dead_node_is_restarted(
    start: Callable[..., Launched], observer: Observer, tmp_path: Path
) -> None:
    """The node's log shows which variant runs; respawn restarts the same one."""
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        "/planning:\n  ros__parameters: {model: $(var models)/road_planning, variant: none}\n"
        "/**:\n  ros__parameters: {variant: none, max_age_ms: 1000.0}\n"
    )

    launched = start(
        "perception.launch.py",
        params_file=str(params_file),
        tasks="planning",
        variant="int8",
        respawn="true",
    )

    launched.wait_for("tiny_planner/int8 on onnxruntime")
    launched.child("planning_node", "/").kill()
    wait(lambda: launched.output.count("tiny_planner/int8 on") == 2, "a second start", launched)
    assert launched.end(signal.SIGINT) == 0


def write_packets(path: Path) -> Path:
    """Write a recording of 20 images as H.264."""
    kind = "sensor_msgs/msg/CompressedImage"
    packets = [
        (stamp, video_message(kind, packet, stamp, "h264"))
        for stamp, packet in zip(stamps_of(20), packets_of("h264", 20), strict=True)
    ]
    return write_messages(path, {f"{CAMERA}/compressed": (kind, packets)})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("drive", lambda path: write_bag(path, road_frames(20))),
        ("packets", write_packets),
        ("drive.mp4", lambda path: write_video_file(path, 20)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_replay_compares_a_recording_and_ends_with_it(
    name: str, write: Callable[[Path], Path], start: Callable[..., Launched], tmp_path: Path
) -> None:
    """In one process; the counts depend on the machine's load, that they add up does not."""
    bag = write(tmp_path / name)
    report = tmp_path / "report.json"

    launched = start("replay.launch.py", bag=str(bag), composed="true", report_path=str(report))

    assert launched.process.wait(PATIENCE_S) == 0, launched.output
    wait(lambda: not launched.children(), "all processes to end", launched)
    assert "20 frames published" in launched.output
    tasks = json.loads(report.read_text())["tasks"]
    assert set(tasks) == set(MODELS)
    for task in tasks.values():
        for variant in task["variants"].values():
            outcomes = ("processed", "dropped_stale", "dropped_busy", "failed", "pending")
            assert variant["received"] == sum(variant[outcome] for outcome in outcomes) > 0
            assert variant["processed"] > 0
            # Measured from publishing: the recorded stamps are from another day.
            assert 0.0 <= variant["stages_ms"]["transport_age"]["p50"] < 10_000.0


@pytest.mark.parametrize(
    ("file", "arguments", "message"),
    [
        ("perception.launch.py", {"backend": "tensorflow"}, "litert, onnxruntime, openvino"),
        ("perception.launch.py", {"tasks": "lanes"}, "'lanes' is not one of detection"),
        ("perception.launch.py", {"params_file": "none.yaml"}, "params_file none.yaml"),
        ("perception.launch.py", {"tasks": "planning", "model": "none"}, "no model at none"),
        ("compare.launch.py", {"models": "none"}, "models:=none: there is no such folder"),
        ("compare.launch.py", {"model": "nowhere"}, "model:=nowhere: there is no folder "),
        ("demo.launch.py", {"seed": "1.5"}, "seed:=1.5 is not a whole number"),
        ("demo.launch.py", {"traffic": "7"}, "road_camera failed with status 1"),
        ("replay.launch.py", {"bag": "none"}, "no such bag: none"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_argument_is_one_line_and_a_failure(
    start: Callable[..., Launched], file: str, arguments: dict[str, str], message: str
) -> None:
    launched = start(file, **arguments)

    assert launched.process.wait(PATIENCE_S) == 1
    assert message in launched.output
    assert "Traceback" not in launched.output
