# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Record what users of a checkout get, and compare two recordings.

``record OUT`` runs the commands and the nodes of a checkout and writes one JSON file a section; ``compare
BEFORE AFTER`` prints what differs, exit status 1 when anything does. Nothing of the package is imported here:
the entry points in the checkout's ``setup.py`` say what to run, so that its modules may move. What differs
from run to run (times, memory) is recorded as its type only: see VOLATILE_KEYS and VOLATILE_TEXT.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import yaml

VOLATILE_KEYS = re.compile(
    "created|seconds|.*_ms|.*_hz|.*speedup.*|rounds|(loaded|running|peak)_bytes"  # times and memory
    "|processed|dropped_.*|failed|pending|deadline_misses|not_inference_share"  # counts of a replay
)
"""Keys of reports and manifests whose values are recorded as types."""
VOLATILE_TEXT = re.compile(
    r"speed-up|times as fast|\bp50|\bp99|\d ms\b|memory|→"  # a row with an arrow gives a pass's seconds
    r"|written \d{4}-"
)
"""Lines with such words are recorded without their numbers."""
LOAD_NOTE = "Other programs kept"
"""A line that begins so is left out: it is there when the machine was busy."""
VOLATILE_FILES = re.compile(r".*\.(md|json|jsonl|yaml)|costs\.png|latency\.png|stages\.png")
"""Files of a report that are recorded by name: they show times, or are recorded in another way."""

MODELS = {task: f"models/road_{task}" for task in ("detection", "segmentation", "planning")}
RECIPES = ("fp32_fused", "int8", "int8_mixed", "weights_int8", "palettize6", "int8_openvino")
FRAMES = 120  # 100 verify, the rest calibrates
CALIBRATION_FRAMES = 8
PATIENCE_S = 120.0
QUIET_S = 1.5  # the ROS graph is complete when nothing new came for so long
START_S = 2.0  # a process that refuses its parameters has ended by then
DIAGNOSTICS_S = 3.0
OBSERVER = "record_behavior_observer"
NUMBER = re.compile(r"(?<![A-Za-z_\d])\d[\d.,]*")

READ_SETUP = """
import json, runpy, setuptools
found = {}
setuptools.setup = found.update
runpy.run_path("setup.py")
print(json.dumps({key: found[key] for key in ("name", "version", "packages", "entry_points")}))
"""
RUN_SCRIPT = "import sys; sys.argv[0] = {name!r}; from {module} import {function} as main; sys.exit(main())"
LOCATE = "import importlib, sys; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]))"


@dataclass(frozen=True)
class Checkout:
    """One checkout, ready to be run.

    Attributes:
        root: its folder.
        work: temporary folder for what the runs write.
        scripts: module and function of each console script.
        environment: variables of the child processes.
        recordings: drives recorded so far, by name.
    """

    root: Path
    work: Path
    scripts: dict[str, str]
    environment: dict[str, str]
    recordings: dict[str, Path] = field(default_factory=dict)

    def command(self, script: str) -> list[str]:
        """Return the command that runs a console script of this checkout."""
        module, _, function = self.scripts[script].partition(":")
        return [sys.executable, "-c", RUN_SCRIPT.format(name=script, module=module, function=function)]

    def run(self, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a console script to its end."""
        return run_child([*self.command(script), *map(str, arguments)], self.root, self.environment)

    def camera_bag(self) -> Path:
        """Return the small recording that all sections share; made when first asked for."""
        if "bag" not in self.recordings:
            folder = self.work / "camera_bag"
            done = self.run(
                "adcp", "camera", "--bag", "--frames", str(FRAMES), "--seed", "7", "--out", folder
            )
            if done.returncode:
                raise RuntimeError(f"adcp camera failed: {done.stderr}")
            self.recordings["bag"] = folder
        return self.recordings["bag"]


def run_child(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed."""
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )


def open_checkout(root: Path, work: Path) -> Checkout:
    """Prepare a checkout; end the program when Python would import another one in its place."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("ADCP_WORK", "AD_SHARED")},
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(work / "log"),
    }
    read = run_child([sys.executable, "-c", READ_SETUP], root, environment)
    if read.returncode:
        sys.exit(f"error: {root}/setup.py cannot be read: {read.stderr}")
    setup = json.loads(read.stdout)
    metadata = write_metadata(setup, work)
    environment["PYTHONPATH"] = f"{metadata}{os.pathsep}{root}"
    names = sorted({package.partition(".")[0] for package in setup["packages"]})
    located = run_child([sys.executable, "-c", LOCATE, *names], work, environment)
    files = located.stdout.split()
    if located.returncode or not all(Path(path).resolve().is_relative_to(root) for path in files):
        sys.exit(f"error: Python does not import {', '.join(names)} from {root}: {files} {located.stderr}")
    targets = dict(line.split(" = ", 1) for line in setup["entry_points"]["console_scripts"])
    return Checkout(root, work, targets, environment)


def write_metadata(setup: dict[str, Any], work: Path) -> Path:
    """Write the checkout's own entry points as installed metadata, which hides that of the environment."""
    folder = work / "metadata"
    info = folder / f"{setup['name']}-{setup['version']}.dist-info"
    info.mkdir(parents=True)
    heading = f"Metadata-Version: 2.1\nName: {setup['name']}\nVersion: {setup['version']}\n"
    (info / "METADATA").write_text(heading, encoding="utf-8")
    groups = [f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in setup["entry_points"].items()]
    (info / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    return folder


# What is stable of a result ---------------------------------------------------------------------


def type_tree(value: Any) -> Any:
    """Return a value's keys and types; of a list the first entry stands for all."""
    if isinstance(value, dict):
        return {key: type_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [type_tree(item) for item in value[:1]]
    if value is None or isinstance(value, bool):
        return value
    return "<number>" if isinstance(value, int | float) else "<text>"


def stable(value: Any) -> Any:
    """Return a report without what differs from run to run."""
    if isinstance(value, dict):
        return {
            key: type_tree(item) if VOLATILE_KEYS.fullmatch(str(key)) else stable(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [stable(item) for item in value if not str(item).startswith(LOAD_NOTE)]
    return "\n".join(stable_lines(value)) if isinstance(value, str) else value


def stable_lines(text: str, volatile: re.Pattern[str] = VOLATILE_TEXT) -> list[str]:
    """Return the lines of a text, without the numbers of those that are about times or memory."""
    return [
        NUMBER.sub("N", line) if volatile.search(line) else line
        for line in text.splitlines()
        if not line.lstrip("- ").startswith(LOAD_NOTE)
    ]


def sha256(content: bytes) -> str:
    """Return a hash as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def describe_folder(folder: Path, volatile: re.Pattern[str] | None = VOLATILE_FILES) -> dict[str, str]:
    """Return the files of a folder, each with its hash unless its content is volatile."""
    return {
        path.relative_to(folder).as_posix(): (
            "<volatile>" if volatile and volatile.fullmatch(path.name) else sha256(path.read_bytes())
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_json(path: Path) -> Any:
    """Return the stable part of a JSON file, or None where there is none."""
    return stable(json.loads(path.read_text("utf-8"))) if path.is_file() else None


# Commands ---------------------------------------------------------------------------------------


def record_help(checkout: Checkout) -> dict[str, Any]:
    """Return the help of every command, from the top down, and the version."""
    found: dict[str, Any] = {"adcp --version": checkout.run("adcp", "--version").stdout.splitlines()}
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        verbs = waiting.pop(0)
        done = checkout.run("adcp", *verbs, "--help")
        found[" ".join(("adcp", *verbs, "--help"))] = {
            "exit": done.returncode,
            "text": [line.rstrip() for line in done.stdout.splitlines()],
        }
        _, box, commands = done.stdout.partition("─ Commands ")
        waiting += [(*verbs, verb) for verb in re.findall(r"^│ (\w[\w-]*) ", commands if box else "", re.M)]
    return found


def record_recording(checkout: Checkout) -> dict[str, Any]:
    """Return what `adcp camera` writes: a folder of labeled images, and the messages of a bag."""
    from rosbags.highlevel import AnyReader

    folder = checkout.work / "camera_folder"
    done = checkout.run("adcp", "camera", "--frames", "12", "--seed", "7", "--out", folder)
    topics: dict[str, Any] = {}
    with AnyReader([checkout.camera_bag()]) as reader:
        for connection in reader.connections:
            digest = hashlib.sha256()
            for _, stamp, message in reader.messages([connection]):
                digest.update(stamp.to_bytes(8, "little") + message)
            topics[connection.topic] = {
                "type": connection.msgtype,
                "count": connection.msgcount,
                "sha256": digest.hexdigest(),
            }
    files = describe_folder(folder, None)
    printed = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    return {"exit": done.returncode, "printed": printed, "folder": files, "bag": topics}


def record_drive(checkout: Checkout) -> dict[str, Any]:
    """Return the report of a short route in closed loop, every plan 60 ms late."""
    out = checkout.work / "drive"
    options = "--variants baseline,prune_int8 --routes 1 --length 200 --seed 1 --latency 60 --jobs 1"
    done = checkout.run("adcp", "drive", MODELS["planning"], *options.split(), "--out", out)
    path = out / "report.json"
    return {
        "exit": done.returncode,
        "printed": done.stdout.splitlines(),
        "files": describe_folder(out),
        "report": json.loads(path.read_text("utf-8")) if path.is_file() else done.stderr,
        "report.md": (out / "report.md").read_text("utf-8").splitlines() if path.is_file() else [],
    }


def record_replay(checkout: Checkout) -> dict[str, Any]:
    """Return the structure of a replay's report and whether its accounts are complete."""
    out = checkout.work / "replay"
    options = ("--tasks", "planning", "--models", MODELS["planning"], "--limit", "30", "--out", str(out))
    done = checkout.run("adcp", "replay", checkout.camera_bag(), *options)
    path = out / "report.json"
    if not path.is_file():
        return {"exit": done.returncode, "error": done.stderr}
    variants = json.loads(path.read_text("utf-8"))["tasks"]["planning"]["variants"]
    ends = ("processed", "dropped_stale", "dropped_busy", "failed", "pending")
    return {
        "exit": done.returncode,
        "files": sorted(describe_folder(out)),
        "report": read_json(path),
        "report.md": stable_lines((out / "report.md").read_text("utf-8"), re.compile("")),
        "accounts complete": {
            name: variant["received"] == sum(variant[end] for end in ends)
            for name, variant in variants.items()
        },
    }


# Compressed variants ----------------------------------------------------------------------------


def record_variants(checkout: Checkout) -> dict[str, Any]:
    """Return what the recipes make of the default models."""
    found = {}
    for model in MODELS.values():
        for recipe in RECIPES:
            name = f"{Path(model).name}/{recipe}"
            print(f"  {name}", flush=True)
            found[name] = record_variant(checkout, model, recipe)
    return found


def record_variant(checkout: Checkout, model: str, recipe: str) -> dict[str, Any]:
    """Compress one model by one recipe and return what that made."""
    work = checkout.work / "variants"
    options = ("--recipe", recipe, "--frames", str(CALIBRATION_FRAMES), "--work", str(work))
    done = checkout.run("adcp", "compress", model, "--calibration", checkout.camera_bag(), *options)
    folder = work / Path(model).name
    if done.returncode not in (0, 3, 4):  # neither accepted nor rejected nor inconclusive
        return {"exit": done.returncode, "error": done.stderr}
    name, entry = list(yaml.safe_load((folder / "model.yaml").read_text("utf-8"))["variants"].items())[-1]
    report = folder / f"{name}.report"
    return {
        "exit": done.returncode,
        "name": name,
        "entry": stable(entry),
        "file": describe_model(folder / entry["file"]),
        "report files": describe_folder(report),
        "report": read_json(report / "report.json"),
        "report.md": stable_lines((report / "report.md").read_text("utf-8")),
    }


def describe_model(path: Path) -> dict[str, Any]:
    """Return a variant's file in parts; of a packed one its members too."""
    content = path.read_bytes()
    if path.suffix == ".onnx":
        return {"sha256": sha256(content), **describe_onnx(content), "outputs": run_onnx(content)}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return {
        "sha256": sha256(content),
        "members": {name: sha256(member) for name, member in members.items()},
        **describe_onnx(members["graph.onnx"]),
    }


def describe_onnx(content: bytes) -> dict[str, Any]:
    """Return the operators, weights and metadata of an ONNX file."""
    model = onnx.load_from_string(content)
    return {
        "opsets": {opset.domain: opset.version for opset in model.opset_import},
        "operators": [node.op_type for node in model.graph.node],
        "weights": {
            tensor.name: f"{onnx.TensorProto.DataType.Name(tensor.data_type)} {list(tensor.dims)} "
            + sha256(tensor.SerializeToString())
            for tensor in model.graph.initializer
        },
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def run_onnx(content: bytes) -> dict[str, Any]:
    """Return the outputs of a model for a fixed random image, rounded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    values = np.random.default_rng(0).random(shape)
    image = (values * 255).astype(np.uint8) if "uint8" in given.type else values.astype(np.float32)
    found = {}
    for output, result in zip(session.get_outputs(), session.run(None, {given.name: image}), strict=True):
        rounded = np.round(np.asarray(result, np.float64), 4) + 0.0
        figures = [float(round(figure, 4)) for figure in (rounded.min(), rounded.mean(), rounded.max())]
        found[output.name] = {
            "type": f"{result.dtype} {list(result.shape)}",
            "least, mean, largest": figures,
            "sha256 rounded": sha256(rounded.tobytes()),
        }
    return found


# Nodes ------------------------------------------------------------------------------------------


def record_nodes(checkout: Checkout) -> dict[str, Any]:
    """Return what each executable shows to other nodes, and how it ends."""
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", ROS_LOG_DIR=str(checkout.work / "log"))
    bag = f"bag:={checkout.camera_bag()}"
    composed = 'nodes:=["planning_node:/a/planning", "latency_monitor_node:/a/monitor"]'
    cases: dict[str, tuple[str, ...]] = {
        **{f"{task}_node": ("autostart:=false",) for task in MODELS},
        **dict.fromkeys(("road_camera_node", "latency_monitor_node", "compose", "bag_player"), ()),
        "planning_node without a model": (),
        "latency_monitor_node of a planner": ("planning.baseline:=/a/planning",),
        "compose of two": (composed, "autostart:=false", "planning.baseline:=/a/planning"),
        "bag_player of a bag": (bag,),
    }
    found = {}
    for case, parameters in cases.items():
        print(f"  {case}", flush=True)
        found[case] = record_process(checkout, case.partition(" ")[0], parameters)
    return found


def record_process(checkout: Checkout, executable: str, parameters: tuple[str, ...]) -> dict[str, Any]:
    """Start an executable, look at its nodes, let it load a model if it can, and interrupt it."""
    arguments = ["--ros-args", *(word for parameter in parameters for word in ("-p", parameter))]
    model = MODELS.get(executable.removesuffix("_node")) if parameters else None
    found: dict[str, Any] = {}
    with claimed_domain() as domain, tempfile.TemporaryFile("w+") as stream:
        process = subprocess.Popen(
            [*checkout.command(executable), *arguments],
            cwd=checkout.root,
            env={**checkout.environment, "ROS_DOMAIN_ID": str(domain)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            with observer(domain) as eye:
                if eye.wait_for_nodes(process):
                    found["started"] = eye.nodes()
                    if model:
                        found["active"] = eye.activate(checkout.root / model)
                    found["diagnostics"] = eye.diagnostics()
                    process.send_signal(signal.SIGINT)
                found["exit"] = process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        stream.seek(0)
        output = [re.sub(r"\[\d+\.\d+\]", "[TIME]", line) for line in stream.read().splitlines()]
        return {**found, "output": output} if found["exit"] else found


@contextmanager
def claimed_domain() -> Iterator[int]:
    """Yield a ROS domain that no test on this machine uses: they claim the same address."""
    for domain in random.SystemRandom().sample(range(1, 101), 100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
            try:
                claim.bind(f"\0ad_compressed_perception-test-domain-{domain}")
            except OSError:
                continue
            yield domain
            return


@contextmanager
def observer(domain: int) -> Iterator[Observer]:
    """Yield a node in a ROS domain that looks at the others."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    try:
        yield Observer(context)
    finally:
        context.try_shutdown()


class Observer:
    """A node that looks at the others of its domain."""

    def __init__(self, context: Any) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor

        self._node = rclpy.create_node(OBSERVER, context=context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._received: list[Any] = []
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._received.append, 100)

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def _names(self) -> list[tuple[str, str]]:
        return sorted(
            (name, space)
            for name, space in self._node.get_node_names_and_namespaces()
            if name != OBSERVER and not name.startswith("_")
        )

    def wait_for_nodes(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the process has nodes; False when it ended without, or soon after."""
        end = time.monotonic() + PATIENCE_S
        while not self._names() and process.poll() is None and time.monotonic() < end:
            self._spin(0.1)
        if process.poll() is None:
            self._spin(START_S)
        return process.poll() is None

    def _settle(self) -> None:
        """Wait until nothing new has come to the graph for a while."""
        before: Any = None
        for _ in range(40):
            now = [(name, self._interface(*name)) for name in self._names()]
            if now and now == before:
                return
            before = now
            self._spin(QUIET_S)

    def nodes(self) -> dict[str, Any]:
        """Return every node with its topics, services and parameters."""
        self._settle()
        return {
            f"{space.rstrip('/')}/{name}": {
                **self._interface(name, space),
                "parameters": self._parameters(f"{space.rstrip('/')}/{name}"),
            }
            for name, space in self._names()
        }

    def _interface(self, name: str, space: str) -> dict[str, Any]:
        node = self._node
        publishers, subscriptions = node.get_publishers_info_by_topic, node.get_subscriptions_info_by_topic
        published = dict(node.get_publisher_names_and_types_by_node(name, space))
        subscribed = dict(node.get_subscriber_names_and_types_by_node(name, space))
        return {
            "publishes": self._with_qos(published, publishers, (name, space)),
            "subscribes": self._with_qos(subscribed, subscriptions, (name, space)),
            "services": dict(node.get_service_names_and_types_by_node(name, space)),
        }

    def _with_qos(
        self, topics: dict[str, list[str]], look_up: Callable[[str], list[Any]], owner: tuple[str, str]
    ) -> dict[str, list[str]]:
        return {
            topic: sorted(
                f"{end.topic_type} {end.qos_profile.reliability.name} {end.qos_profile.durability.name}"
                for end in look_up(topic)
                if (end.node_name, end.node_namespace) == owner
            )
            for topic in topics
        }

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service; once more when the first answer was lost while both sides met."""
        client = self._node.create_client(kind, service)
        client.wait_for_service(timeout_sec=PATIENCE_S)
        self._spin(0.5)
        for _ in range(3):
            future = client.call_async(request)
            self._executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S / 4)
            if future.done():
                return future.result()
        raise RuntimeError(f"no answer from {service}")

    def _parameters(self, node: str) -> dict[str, Any]:
        from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
        from rclpy.parameter import parameter_value_to_python

        names = self._call(ListParameters, f"{node}/list_parameters", ListParameters.Request()).result.names
        asked = DescribeParameters.Request(names=names)
        described = self._call(DescribeParameters, f"{node}/describe_parameters", asked).descriptors
        request = GetParameters.Request(names=names)
        values = self._call(GetParameters, f"{node}/get_parameters", request).values
        found = {}
        for name, descriptor, value in zip(names, described, values, strict=True):
            plain = parameter_value_to_python(value)
            found[name] = {
                "value": plain if isinstance(plain, str | int | float | None) else list(plain),
                "type": descriptor.type,
                "description": descriptor.description,
                "constraints": descriptor.additional_constraints,
                "read only": descriptor.read_only,
                "dynamic": descriptor.dynamic_typing,
                "ranges": [
                    [limit.from_value, limit.to_value, limit.step]
                    for limit in (*descriptor.integer_range, *descriptor.floating_point_range)
                ],
            }
        return found

    def activate(self, model: Path) -> dict[str, Any]:
        """Let the lifecycle node load a model and start; return the nodes then."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        ((name, space),) = self._names()
        node = f"{space.rstrip('/')}/{name}"
        request = [Parameter("model", value=str(model)).to_parameter_msg()]
        answer = self._call(
            SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=request)
        )
        done = [answer.results[0].successful]
        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=number))
            done.append(self._call(ChangeState, f"{node}/change_state", request).success)
        return {"done": done, "nodes": self.nodes()}

    def diagnostics(self) -> dict[str, Any]:
        """Return what /diagnostics says from now on: names, hardware and keys, without values."""
        self._received.clear()
        self._spin(DIAGNOSTICS_S)
        return {
            status.name: {"hardware": status.hardware_id, "keys": [entry.key for entry in status.values]}
            for message in self._received
            for status in message.status
        }


# Recording and comparing ------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[Checkout], dict[str, Any]]] = {
    "help": record_help,
    "nodes": record_nodes,
    "recording": record_recording,
    "drive": record_drive,
    "replay": record_replay,
    "variants": record_variants,
}


def record(out: Path, root: Path, sections: list[str], keep: bool) -> int:
    """Record sections of a checkout, one JSON file each."""
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tidies up first
    work = Path(tempfile.mkdtemp(prefix="record_behavior_"))
    try:
        checkout = open_checkout(root, work)
        for section in sections:
            start = time.monotonic()
            text = json.dumps(SECTIONS[section](checkout), indent=1, sort_keys=True, ensure_ascii=False)
            text = text.replace(str(work), "<temporary>").replace(str(root), "<checkout>")
            (out / f"{section}.json").write_text(text + "\n", encoding="utf-8")
            print(f"{section}: {time.monotonic() - start:.0f} s", flush=True)
    finally:
        if keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work)
    return 0


def shorten(text: str, length: int = 500) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def differences(path: str, before: Any, after: Any) -> Iterator[str]:
    """Yield a line for every difference of two values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(f"{path}/{key}", before.get(key, "<absent>"), after.get(key, "<absent>"))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(f"{path}[{index}]", old, new)
    elif isinstance(before, list) and isinstance(after, list):
        old_lines, new_lines = ([json.dumps(item, ensure_ascii=False) for item in x] for x in (before, after))
        changed = difflib.unified_diff(old_lines, new_lines, lineterm="", n=0)
        yield from (f"{path}: {line}" for line in changed if not line.startswith(("---", "+++", "@@")))
    elif before != after:
        old, new = (shorten(json.dumps(value, ensure_ascii=False)) for value in (before, after))
        yield f"{path}: {old} -> {new}"


def compare(before: Path, after: Path) -> int:
    """Print every difference of two recordings; 1 when there is any."""
    names = sorted({path.name for folder in (before, after) for path in folder.glob("*.json")})
    count = 0
    for name in names:
        loaded = [
            json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else "<absent>"
            for folder in (before, after)
        ]
        for line in differences(name.removesuffix(".json"), *loaded):
            print(line)
            count += 1
    print(f"{count} differences in {len(names)} sections")
    return 1 if count or not names else 0


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="Record what users of a checkout get; compare recordings.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    recorder = verbs.add_parser("record", help="record a checkout into a folder")
    recorder.add_argument("out", type=Path)
    recorder.add_argument("--root", type=Path, default=Path.cwd(), help="the checkout; default: this folder")
    recorder.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    recorder.add_argument("--keep", action="store_true", help="keep the temporary folder")
    comparer = verbs.add_parser("compare", help="print the differences of two recordings")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.verb == "compare":
        return compare(given.before, given.after)
    return record(given.out.resolve(), given.root.resolve(), given.only, given.keep)


if __name__ == "__main__":
    sys.exit(main())
