# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several tasks on one inference: each head of a model is decoded by a task of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray
from pydantic import Field, field_validator

from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import HeadResult, HeadResults
from ad_compressed_perception.core.task_names import MULTI_TASK
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.core.yaml_file import YamlError, parse_yaml
from ad_compressed_perception.tasks.base import Decoder, Task, TaskSettings
from ad_compressed_perception.tasks.classification import ClassificationTask
from ad_compressed_perception.tasks.detection import DetectionTask
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.output_kinds import OutputKinds
from ad_compressed_perception.tasks.planning import PlanningTask
from ad_compressed_perception.tasks.raw import RawTask
from ad_compressed_perception.tasks.segmentation import SegmentationTask

HEAD_TASKS: dict[str, type[Task[Any]]] = {
    task.name: task for task in (DetectionTask, SegmentationTask, PlanningTask, ClassificationTask, RawTask)
}
"""Tasks that a head may have."""


class MultiTaskSettings(TaskSettings):
    """Live settings of all heads, in one text: which heads there are is known from the manifest only."""

    head_settings: str = Field(
        "",
        description="settings of heads as YAML, such as {objects: {score_threshold: 0.4}}; those not "
        "named are the manifest's",
    )

    @field_validator("head_settings")
    @classmethod
    def _is_mapping(cls, text: str) -> str:
        _by_head(text)
        return text


def _by_head(text: str) -> dict[str, dict[str, Any]]:
    """Return head to settings; raise ValueError where the text is no such mapping."""
    try:
        found = parse_yaml(text) if text.strip() else {}
    except YamlError as error:
        raise ValueError(f"no YAML: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ValueError("a mapping of head names to mappings of settings is needed: {head: {name: value}}")
    return {str(name): value for name, value in found.items()}


class HeadsDecoder:
    """The decoders of all heads, where something asks for the model's."""

    def __init__(self, heads: Mapping[str, Task[Any]], select: Mapping[str, list[str] | None]) -> None:
        """Combine decoders; ``select``: output names that a head sees, None for all."""
        self._heads, self._select = heads, select

    @property
    def needs_nms(self) -> bool:
        """Whether boxes of the file are to be suppressed: no detector among the heads gives each once."""
        found = [task.decoder.needs_nms for task in self._heads.values() if isinstance(task, DetectionTask)]
        return all(found)

    def check(self, outputs: tuple[TensorSpec, ...]) -> None:
        """Raise ModelFileError when one head's outputs cannot be decoded."""
        for name, task in self._heads.items():
            task.decoder.check(select_specs(outputs, self._select[name], task.manifest.name))

    def output_kinds(self) -> dict[str, OutputKinds]:
        """Return what the outputs of all heads are."""
        return {
            output: kinds
            for task in self._heads.values()
            for output, kinds in task.decoder.output_kinds().items()
        }


def select_specs(
    outputs: tuple[TensorSpec, ...], names: list[str] | None, model: str
) -> tuple[TensorSpec, ...]:
    """Return the outputs that a head sees; raise ModelFileError where the file lacks one."""
    if names is None:
        return outputs
    known = {spec.name: spec for spec in outputs}
    missing = [name for name in names if name not in known]
    if missing:
        raise ModelFileError(f"model {model!r}: no output {missing[0]!r}; the file has: {', '.join(known)}")
    return tuple(known[name] for name in names)


class MultiTask(Task[HeadResults]):
    """One inference, a result of each head.

    Attributes:
        heads: name to task, in the manifest's order. Each knows the manifest of its head.
    """

    name = MULTI_TASK
    settings_type = MultiTaskSettings
    decoder_type = Decoder  # unused: each head has its own

    def __init__(self, manifest: Manifest) -> None:
        """Build every head's task.

        Raises:
            ManifestError: a decoder of another task, wrong decoder options or settings; names the head.
        """
        specs = manifest.outputs or {}
        own = {name: manifest.head(name) for name in specs}
        self.heads: dict[str, Task[Any]] = {name: HEAD_TASKS[each.task](each) for name, each in own.items()}
        self._select = {name: spec.outputs for name, spec in specs.items()}
        self._applied: Any = None
        super().__init__(manifest)

    def _build_decoder(self) -> Any:
        return HeadsDecoder(self.heads, self._select)

    @property
    def settings(self) -> Any:
        """Live settings of all heads."""
        return self._settings

    @settings.setter
    def settings(self, settings: MultiTaskSettings) -> None:
        if settings is self._applied:  # set before every frame
            return
        for name, own in self.settings_of_heads(settings).items():
            self.heads[name].settings = own
        self._settings = self._applied = settings

    def settings_of_heads(self, settings: MultiTaskSettings) -> dict[str, Any]:
        """Return each head's settings; raise ManifestError where a head, name or value is unknown."""
        given = _by_head(settings.head_settings)
        unknown = [name for name in given if name not in self.heads]
        if unknown:
            raise ManifestError(
                f"head_settings: model {self.manifest.name!r} has no head {unknown[0]!r}; it has: "
                f"{', '.join(self.heads)}"
            )
        return {
            name: task.parse_settings({**task.manifest.output.settings, **given.get(name, {})})
            for name, task in self.heads.items()
        }

    @classmethod
    def parse_settings(cls, values: Mapping[str, Any]) -> Any:
        """Validate live settings: ``head_settings``, or a mapping of head names to settings."""
        given = {name: value for name, value in values.items() if name in cls.settings_type.model_fields}
        heads = {name: value for name, value in values.items() if name not in given}
        if heads:
            given = {"head_settings": json.dumps({**_by_head(given.get("head_settings", "")), **heads})}
        return super().parse_settings(given)

    def planners(self) -> Iterator[PlanningTask]:
        """Yield the heads that plan."""
        return (task for task in self.heads.values() if isinstance(task, PlanningTask))

    def observe_speed(self, speed_mps: float | None) -> None:
        """Set the vehicle's speed for all heads that plan; see PlanningTask."""
        for task in self.planners():
            task.observe_speed(speed_mps)

    def outputs_of(self, head: str, outputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the outputs that a head's decoder sees."""
        names = self._select[head]
        return outputs if names is None else {name: outputs[name] for name in names if name in outputs}

    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> HeadResults:
        """Return the results of all heads; raise OutputError where one of them has none, naming it."""
        found: dict[str, HeadResult] = {
            name: task.decode(self.outputs_of(name, outputs), geometry) for name, task in self.heads.items()
        }
        return HeadResults(found)
