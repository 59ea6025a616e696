# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random requests and messages to real nodes in one process: it lives, answers, works and ends with 0.

``ADCP_RANDOM_REQUESTS`` and ``ADCP_RANDOM_SEED`` choose how many and which; what ran is printed.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vision_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo, ObjectHypothesisWithPose

from ad_compressed_perception.core.timing import OUTCOMES, STAGES, FrameTiming, NodeReport
from ad_compressed_perception.messages import detection, timing
from ad_compressed_perception.nodes.qos import LATCHED_QOS, TIMING_QOS
from support.models import DETECTOR_LABELS, WRITERS, draw_scene
from support.ros import NodeProcess, Recorder, image_message, jpeg_message, node_process

pytestmark = pytest.mark.ros
COUNT = int(os.environ.get("ADCP_RANDOM_REQUESTS", "1500"))
SEED = int(os.environ.get("ADCP_RANDOM_SEED", "12"))
TASKS = ("detection", "segmentation", "planning")
NODES = tuple(f"/car/{task}" for task in TASKS)
MONITOR, STRANGER = "/car/latency_monitor", "/stranger/detection"
INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 2, 255, 2**31 - 1, 2**63 - 1)
FLOATS = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-300, 0.5, 1e308)
TEXTS = ("", " ", "nan", "-1", "1e999", "0x10", "\u2028", "\U0001f697" * 50, "../../etc", "x" * 5000, "{}")
NAMES = (
    *("model", "variant", "backend", "backend_options", "threads", "max_age_ms", "autostart", "transport"),
    *("qos_depth", "qos_reliability", "score_threshold", "max_detections", "use_sim_time", "age_reference"),
    *("detection.baseline", "pair_timeout_s", "no.such", "", "qos_overrides./clock.depth"),
)
SHUTDOWNS = {5, 6, 7}


@pytest.fixture
def recorder(ros_context: object) -> Iterator[Recorder]:
    listener = Recorder(ros_context)
    yield listener
    listener.close()


def parameters_file(folder: Path) -> Path:
    """Write the parameters of three nodes and a monitor in one process, all on simulated time."""
    entries = [f"{task}_node:/car/{task}" for task in TASKS] + [f"latency_monitor_node:{MONITOR}"]
    document: dict[str, Any] = {"/compose": {"ros__parameters": {"nodes": entries}}}
    for task, node in zip(TASKS, NODES, strict=True):
        model = str(WRITERS[task](folder / task))
        document[node] = {"ros__parameters": {"model": model, "use_sim_time": True}}
    document[MONITOR] = {
        "ros__parameters": {
            "use_sim_time": True,
            "publish_period_s": 0.2,
            "detection.baseline": NODES[0],
            "detection.compressed": [STRANGER],
            "segmentation.baseline": NODES[1],
        }
    }
    path = folder / "parameters.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Sender:
    """Sends one random request or message a call."""

    def __init__(self, recorder: Recorder, seed: int) -> None:
        self.sent: Counter[str] = Counter()
        self._random = random.Random(seed)
        create = recorder.node.create_publisher
        self._clock = create(Clock, "/clock", 10)
        self._image = create(Image, "/car/image", 10)
        self._jpeg = create(CompressedImage, "/car/image/compressed", 10)
        self._timings = [create(DiagnosticArray, f"{n}/timing", TIMING_QOS) for n in (*NODES, STRANGER)]
        self._detections = create(Detection2DArray, f"{STRANGER}/detections", 10)
        self._labels = create(LabelInfo, f"{STRANGER}/label_info", LATCHED_QOS)
        self._labels.publish(detection.label_info(DETECTOR_LABELS, Header()))
        client = recorder.node.create_client
        self._change = [client(ChangeState, f"{node}/change_state") for node in NODES]
        self._get = [client(GetState, f"{node}/get_state") for node in NODES]
        self._set = [client(SetParameters, f"{node}/set_parameters") for node in (*NODES, MONITOR)]
        self.kinds: dict[str, Callable[[], None]] = {
            "change_state": self.change_state,
            "get_state": lambda: self._call(self._get, GetState.Request()),
            "set_parameters": self.set_parameters,
            "timing": self.timing,
            "clock": self.clock,
            "image": self.image,
            "jpeg": self.jpeg,
            "detections": self.detections,
        }

    def send(self) -> None:
        """Send something."""
        kind = self._random.choice(tuple(self.kinds))
        self.kinds[kind]()
        self.sent[kind] += 1

    def _call(self, clients: list[Any], request: Any) -> None:
        client = self._random.choice(clients)
        client.remove_pending_request(client.call_async(request))  # nobody waits for this answer

    def change_state(self) -> None:
        """Any transition except a shutdown, by id or by label; half of them are impossible."""
        pick = self._random
        number = pick.choice([1, 2, 3, 4, pick.randrange(256)])
        label = pick.choice(["", "", "", "configure", "activate", "no such", pick.choice(TEXTS)])
        transition = Transition(id=0 if number in SHUTDOWNS else number, label=label)
        self._call(self._change, ChangeState.Request(transition=transition))

    def set_parameters(self) -> None:
        """One to three values of any type for names that exist or do not."""
        pick = self._random
        self._call(
            self._set,
            SetParameters.Request(
                parameters=[
                    Parameter(name=pick.choice(NAMES), value=self._value()) for _ in range(pick.randint(1, 3))
                ]
            ),
        )

    def _value(self) -> ParameterValue:
        pick = self._random
        return ParameterValue(
            type=pick.choice([*range(10), 10, 77, 255]),
            bool_value=pick.random() < 0.5,
            integer_value=pick.choice(INTEGERS),
            double_value=pick.choice(FLOATS),
            string_value=pick.choice(TEXTS),
            double_array_value=[pick.choice(FLOATS)],
            string_array_value=[pick.choice(TEXTS)],
        )

    def _stamp_ns(self) -> int:
        seconds = self._random.choice([-(2**31), -1, 0, 1, 1_700_000_000, 2**31 - 1])
        return seconds * 10**9 + self._random.randrange(10**9)

    def clock(self) -> None:
        """Negative, zero, jumping, and above what a stamp can hold."""
        message = Clock(clock=timing.ns_to_stamp(self._stamp_ns()))
        if self._random.random() < 0.2:
            message.clock.nanosec = 2**32 - 1
        self._clock.publish(message)

    def timing(self) -> None:
        """A timing message with some of its entries replaced, removed or doubled."""
        pick = self._random
        report = NodeReport(
            *("/car/detection", "detection", "m", "v", "b", "p", "p", "x"),
            FrameTiming(self._stamp_ns(), pick.choice(OUTCOMES), dict.fromkeys(STAGES, 1.0), 7.0, ""),
            pick.choice([0, 1, 5, 10**6]),
            dict.fromkeys(OUTCOMES, pick.choice([0, 1, 10**5])),
        )
        message = timing.to_message(report)
        status = message.status[0]
        for pair in pick.sample(list(status.values), pick.randint(0, 6)):
            pair.value = pick.choice([*TEXTS, *map(str, INTEGERS), *map(str, FLOATS), "9" * 5000])
        if pick.random() < 0.3:
            status.values = pick.sample(list(status.values), pick.randrange(len(status.values)))
        if pick.random() < 0.1:
            status.values = [*status.values, KeyValue(key=pick.choice(TEXTS), value=pick.choice(TEXTS))]
        if pick.random() < 0.1:
            message.status = []
        pick.choice(self._timings).publish(message)

    def image(self) -> None:
        """An image whose sizes, encoding and bytes need not fit each other."""
        pick = self._random
        message = image_message(draw_scene(pick.randrange(50), 64, 48), self._stamp_ns())
        if pick.random() < 0.7:
            message.encoding = pick.choice(["rgb8", "mono16", "bayer_rggb8", "yuv422", "32FC1", *TEXTS])
        if pick.random() < 0.3:
            message.width = pick.choice([0, 1, 63, 2**32 - 1])
        if pick.random() < 0.3:
            message.step = pick.choice([0, 1, 191, 2**32 - 1])
        if pick.random() < 0.3:
            message.data = message.data[: pick.randrange(len(message.data))]
        self._image.publish(message)

    def jpeg(self) -> None:
        """A JPEG with changed bytes."""
        pick = self._random
        message = jpeg_message(draw_scene(pick.randrange(50), 64, 48), self._stamp_ns())
        for _ in range(pick.choice([0, 1, 20])):
            message.data[pick.randrange(len(message.data))] = pick.randrange(256)
        message.format = pick.choice(["jpeg", "png", "h264", *TEXTS])
        self._jpeg.publish(message)

    def detections(self) -> None:
        """Objects of a node that is no detector: impossible boxes, scores and labels."""
        pick = self._random
        message = Detection2DArray()
        message.header.stamp = timing.ns_to_stamp(self._stamp_ns())
        for _ in range(pick.randrange(4)):
            found = Detection2D(results=[ObjectHypothesisWithPose() for _ in range(pick.randrange(3))])
            found.bbox.size_x, found.bbox.size_y = pick.choice(FLOATS), pick.choice(FLOATS)
            for one in found.results:
                one.hypothesis.class_id = pick.choice(
                    [*DETECTOR_LABELS, *DETECTOR_LABELS, pick.choice(TEXTS)]
                )
                one.hypothesis.score = pick.choice(FLOATS)
            message.detections = [*message.detections, found]
        self._detections.publish(message)


def restore(recorder: Recorder, folder: Path) -> None:
    """Bring all nodes to the parameters with which they began, unconfigured, on the system's time."""
    for task, node in zip(TASKS, NODES, strict=True):
        for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            request = ChangeState.Request(transition=Transition(id=number))
            recorder.call(ChangeState, f"{node}/change_state", request)  # refused where impossible
        values = {
            "model": ParameterValue(type=4, string_value=str(folder / task)),
            "use_sim_time": ParameterValue(type=1, bool_value=False),
            "transport": ParameterValue(type=4, string_value="raw"),
            "variant": ParameterValue(type=4, string_value=""),
            "backend": ParameterValue(type=4, string_value=""),
            "backend_options": ParameterValue(type=9),
            "threads": ParameterValue(type=2, integer_value=1),
            "max_age_ms": ParameterValue(type=3, double_value=0.0),
            "qos_reliability": ParameterValue(type=4, string_value="best_effort"),
            "qos_depth": ParameterValue(type=2, integer_value=1),
        }
        given = [Parameter(name=name, value=value) for name, value in values.items()]
        answer = recorder.call(
            SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=given)
        )
        assert [one.reason for one in answer.results if not one.successful] == []


def state_of(recorder: Recorder, node: str) -> int:
    return int(recorder.call(GetState, f"{node}/get_state", GetState.Request()).current_state.id)


def change(recorder: Recorder, node: str, number: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=number))
    return bool(recorder.call(ChangeState, f"{node}/change_state", request).success)


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[NodeProcess]:
    arguments = ["--params-file", str(parameters_file(tmp_path))]
    with node_process("compose", *arguments, log=tmp_path / "log") as process:
        yield process


def test_random_requests_end_no_process(tmp_path: Path, recorder: Recorder, composed: NodeProcess) -> None:
    """Failed before: the first impossible ChangeState, negative /clock or negative count ended all nodes."""
    print(f"{COUNT} requests and messages, seed {SEED}")
    recorder.listen("/diagnostics", DiagnosticArray)
    for node in NODES:
        assert state_of(recorder, node) == State.PRIMARY_STATE_ACTIVE
    sender = Sender(recorder, SEED)
    for number in range(COUNT):
        sender.send()
        if number % 10 == 0:  # so that requests arrive, and are not dropped by full queues
            state_of(recorder, NODES[number // 10 % len(NODES)])
            assert composed.process.poll() is None, composed.log
    print(dict(sender.sent))

    # Everything answers and works as before.
    restore(recorder, tmp_path)
    for node in NODES:
        assert change(recorder, node, Transition.TRANSITION_CONFIGURE), composed.log
        assert change(recorder, node, Transition.TRANSITION_ACTIVATE), composed.log
        assert state_of(recorder, node) == State.PRIMARY_STATE_ACTIVE
        recorder.listen(f"{node}/timing", DiagnosticArray)
    recorder.received["/diagnostics"].clear()
    camera = recorder.node.create_publisher(Image, "/car/image", 1)

    def processed(node: str) -> bool:
        return any("processed" in m.status[0].message for m in recorder.received[f"{node}/timing"])

    def reports(name: str) -> bool:
        return any(s.name == name for m in recorder.received["/diagnostics"] for s in m.status)

    recorder.wait_for(
        lambda: all(processed(node) and reports(node) for node in NODES) and reports(f"{MONITOR}: callbacks"),
        lambda: camera.publish(image_message(draw_scene(0), 5 * 10**9)),
    )
    request = GetParameters.Request(names=["pair_timeout_s"])
    assert recorder.call(GetParameters, f"{MONITOR}/get_parameters", request).values[0].double_value == 1.0
    assert composed.stop() == 0, composed.log
    assert "Traceback" not in composed.log


def test_an_impossible_transition_is_refused_by_an_answer(recorder: Recorder, composed: NodeProcess) -> None:
    """Failed before: RCLError went through executor.spin, and all nodes of the process ended."""
    recorder.listen("/diagnostics", DiagnosticArray)
    assert not change(recorder, NODES[0], 77)
    assert not change(recorder, NODES[0], Transition.TRANSITION_ACTIVATE)  # it is active
    assert state_of(recorder, NODES[0]) == State.PRIMARY_STATE_ACTIVE
    recorder.wait_for(lambda: warned(recorder, NODES[0], "transition refused"))
    assert composed.stop() == 0


def test_a_negative_clock_and_a_negative_count_are_warnings(
    recorder: Recorder, composed: NodeProcess
) -> None:
    """Failed before: ValueError inside rclpy, or of the monitor's report, ended all nodes of the process."""
    recorder.listen("/diagnostics", DiagnosticArray)
    clock = recorder.node.create_publisher(Clock, "/clock", 10)
    timings = recorder.node.create_publisher(DiagnosticArray, f"{STRANGER}/timing", TIMING_QOS)
    negative = Clock(clock=timing.ns_to_stamp(-(10**9)))
    sound = FrameTiming(5, "processed", {"infer": 1.0}, 1.0)
    report = NodeReport(
        *(STRANGER, "detection", "m", "v", "b", "p", "p", "x"), sound, -1, dict.fromkeys(OUTCOMES, 0)
    )

    def send() -> None:
        clock.publish(negative)
        timings.publish(timing.to_message(report))

    recorder.wait_for(lambda: all(warned(recorder, node, "x ValueError in") for node in NODES), send)
    recorder.wait_for(
        lambda: warned(recorder, f"{MONITOR}: callbacks", f"{STRANGER}/timing: message not understood"),
        send,
    )
    assert state_of(recorder, NODES[0]) == State.PRIMARY_STATE_ACTIVE
    assert composed.stop() == 0
    # The 1st, 10th, 100th failure are logged: how many there are depends on how often send() was needed.
    lines = [
        line for line in composed.log.splitlines() if f"{STRANGER}/timing: message not understood" in line
    ]
    numbers = [int(line.rpartition("(failure ")[2].split()[0]) for line in lines]
    assert numbers == [10**power for power in range(len(numbers))] != []


def warned(recorder: Recorder, name: str, text: str) -> bool:
    """Whether a status of this name is a WARN or worse with this text."""
    return any(
        status.name == name and status.level >= DiagnosticStatus.WARN and text in status.message
        for message in recorder.received["/diagnostics"]
        for status in message.status
    )
