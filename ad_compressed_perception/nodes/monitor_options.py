# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the latency monitor, and the comparison they ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import Field, field_validator

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import StrictModel
from ad_compressed_perception.core.task_names import MULTI_TASK
from ad_compressed_perception.core.task_names import TASK_NAMES as TASK_NAMES
from ad_compressed_perception.monitor.comparison import TaskComparison
from ad_compressed_perception.monitor.frame_health import parse_budgets
from ad_compressed_perception.monitor.limits import WatchLimits
from ad_compressed_perception.monitor.windows import WINDOWS_S


class MonitorOptions(StrictModel):
    """Parameters of the monitor itself; read once, at its start."""

    pair_timeout_s: float = Field(
        default=1.0, gt=0.0, le=600.0, description="how long a result waits for its partner, s"
    )
    stale_after_s: float = Field(
        default=2.0, gt=0.0, le=3600.0, description="silence after which a node is missing, s"
    )
    publish_period_s: float = Field(
        default=1.0, gt=0.0, le=60.0, description="period of /diagnostics and ~/summary, s"
    )
    read_period_s: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="period of reading all messages that came, s; 0: each one as it comes, which costs more",
    )
    windows_s: list[float] = Field(
        default_factory=lambda: list(WINDOWS_S),
        description="how far back the rolling windows look, s; alarms use the first one",
    )
    raise_after_s: float = Field(
        default=2.0, ge=0.0, le=600.0, description="time beyond a limit after which an alarm begins, s"
    )
    clear_after_s: float = Field(
        default=5.0, ge=0.0, le=600.0, description="time within its limits after which an alarm ends, s"
    )
    odometry_topic: str = Field(
        default="",
        description="the vehicle's odometry (nav_msgs/Odometry), for the distance traveled during a latency; "
        "empty: the speed is not known",
    )
    report_path: str = Field(
        default="", description="file for the live report.json, written at the end; empty: none"
    )
    report_period_s: float = Field(
        default=10.0, gt=0.0, le=3600.0, description="period of writing the report meanwhile, s"
    )

    @field_validator("windows_s")
    @classmethod
    def _check_windows(cls, value: list[float]) -> list[float]:
        if not value or any(not 1.0 <= each <= 600.0 for each in value) or sorted(set(value)) != value:
            raise ValueError("name one or more windows of 1 to 600 s, the shortest first, each once")
        return value


class TaskOptions(WatchLimits):
    """Parameters of a task, under its name as prefix; read once, at the monitor's start."""

    renamed = {"truth_topic": "ground_truth_topic"}

    baseline: str = Field(default="", description="full name of the reference node; empty: none")
    compressed: list[str] = Field(
        default_factory=list, description="full names of the nodes compared with the baseline"
    )
    deadline_ms: float = Field(
        default=0.0, ge=0.0, le=1e6, description="end-to-end deadline of a result; 0: none"
    )
    ground_truth_topic: str = Field(
        default="",
        description="topic of the ground-truth results, with their labels on TOPIC/label_info; of a model "
        "with several heads TOPIC/HEAD and TOPIC/HEAD/label_info; empty: none",
    )


def variant_names(nodes: list[str]) -> dict[str, str]:
    """Return a short name for every node: its innermost namespace, or its full name.

    ``/baseline/detection`` is "baseline", ``/detection`` is "detection". Where two nodes would have
    the same short name, each gets its full name without the leading slash.
    """
    short = {node: ([*node.split("/")[1:-1], node.rsplit("/", 1)[-1]][-2:])[0] for node in nodes}
    uses = Counter(short.values())
    return {(name if uses[name] == 1 else node.removeprefix("/")): node for node, name in short.items()}


def task_comparison(task: str, options: TaskOptions) -> TaskComparison | None:
    """Return what a task's parameters ask for; None where they name no node.

    Raises:
        AdcpError: a node name that is not a full one, or that is given twice.
    """
    nodes = [options.baseline] if options.baseline else []
    nodes += [node for node in options.compressed if node]
    for node in nodes:
        if not node.startswith("/") or node.endswith("/") or "//" in node:
            raise AdcpError(
                f"parameter {task}.baseline or {task}.compressed: {node!r} is not a full node name "
                f"such as /baseline/{task}"
            )
        if nodes.count(node) > 1:
            raise AdcpError(
                f"parameters {task}.baseline and {task}.compressed name {node!r} twice; "
                "a node cannot be compared with itself"
            )
    if not nodes:
        return None
    names = variant_names(nodes)
    baseline = next((name for name, node in names.items() if node == options.baseline), None)
    return TaskComparison(
        names,
        baseline,
        options.deadline_ms or None,
        bool(options.ground_truth_topic),
        options,
        parse_budgets(options.stage_budgets_ms),
        task == MULTI_TASK,
    )


def comparisons(options: Mapping[str, TaskOptions]) -> dict[str, TaskComparison]:
    """Return the comparison of every task that names a node.

    Raises:
        AdcpError: no task names one, or a name is wrong.
    """
    requested = {task: task_comparison(task, each) for task, each in options.items()}
    found = {task: comparison for task, comparison in requested.items() if comparison is not None}
    if not found:
        keys = ", ".join(f"{task}.baseline" for task in options)
        raise AdcpError(f"latency_monitor: nothing to watch; set {keys} or their .compressed")
    return found
