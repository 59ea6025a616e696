# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of an inference node: declared, checked as a whole, and applied.

What a part or the swap of a model does with them is theirs: they are asked in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pydantic import ValidationError
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import StrictModel, describe_validation_error
from ad_compressed_perception.nodes import parameters
from ad_compressed_perception.nodes.camera_options import CameraOptions
from ad_compressed_perception.nodes.guard_options import GuardOptions
from ad_compressed_perception.nodes.node_part import NodePart
from ad_compressed_perception.nodes.options import HealthOptions, LiveOptions, SetupOptions, StartOptions
from ad_compressed_perception.nodes.rclpy_compat import on_parameters_set
from ad_compressed_perception.nodes.swap_parameters import LIVE_NAMES
from ad_compressed_perception.tasks.pipeline import Pipeline


class ParameterHost(Protocol):
    """What the parameters of a node depend on."""

    parts: tuple[NodePart, ...]

    @property
    def is_configured(self) -> bool:
        """Whether a model was loaded: some parameters may change before that only."""


class NodeParameters:
    """Declares and answers; begin() follows once the task has declared its own.

    Attributes:
        setup_names: those that take effect at configure.
        start: those that are read once.
        health: limits, as they are now.
        settings: of the task, as the worker uses them: exchanged as a whole, between two frames.
    """

    def __init__(self, node: Node, host: ParameterHost, settings_type: type[StrictModel]) -> None:
        """Declare them; ``node`` and ``host`` are the same object.

        Raises:
            AdcpError: a given parameter has the wrong type or is out of range.
        """
        self._node, self._host, self._settings_type = node, host, settings_type
        part_options = (part.options_type for part in host.parts)
        self._models: tuple[type[StrictModel], ...] = (
            *(StartOptions, SetupOptions, LiveOptions, CameraOptions, HealthOptions, settings_type),
            *(options for options in part_options if options is not None),
        )
        for model in self._models:
            parameters.declare(node, model)
        names = {*SetupOptions.model_fields, *GuardOptions.setup_names, *CameraOptions.setup_names}
        self.setup_names = names - LIVE_NAMES
        self.settings: Any = None
        self._chosen = parameters.given_overrides(node)
        self._is_adopting = False

    def begin(self) -> None:
        """Check the given values, once all parameters are declared; raise AdcpError."""
        for name in parameters.undeclared_overrides(self._node):
            self._node.get_logger().warning(f"parameter {name!r} does not exist here and is ignored")
        names = [name for model in self._models for name in model.model_fields]
        self._check(self._node.get_parameters(names))
        self.start = StartOptions(**parameters.values(self._node, StartOptions))
        self.health = HealthOptions(**parameters.values(self._node, HealthOptions))

    def answer_requests(self, on_applied: Callable[[set[str]], None]) -> None:
        """Answer requests from now on; ``on_applied`` is the first to get the names of what was set."""
        self._on_applied = on_applied
        self._node.add_on_set_parameters_callback(self._on_set)
        on_parameters_set(self._node, self._apply)

    def setup(self) -> SetupOptions:
        """Return those that name the model and the camera, as they are now."""
        return SetupOptions(**parameters.values(self._node, SetupOptions))

    def cameras(self) -> CameraOptions:
        """Return those of several cameras, as they are now."""
        return CameraOptions(**parameters.values(self._node, CameraOptions))

    # The task's settings --------------------------------------------------------------------------

    def settings_for(self, pipeline: Pipeline) -> Any:
        """Return the task's settings with a model: values that a user gave, else its manifest's."""
        present = parameters.values(self._node, self._settings_type)
        chosen = {name: value for name, value in present.items() if name in self._chosen}
        return self._settings_type(**{**pipeline.task.manifest.output.settings, **chosen})

    def adopt_settings(self, pipeline: Pipeline) -> None:
        """Use a model's settings, and let the parameters name them."""
        present = parameters.values(self._node, self._settings_type)
        settings = self.settings_for(pipeline)
        adopted = [
            Parameter(name, value=value) for name, value in vars(settings).items() if value != present[name]
        ]
        self._is_adopting = True
        try:
            if adopted:
                self._node.set_parameters_atomically(adopted)
        finally:
            self._is_adopting = False
        self.settings = pipeline.task.settings = settings

    # Requests -------------------------------------------------------------------------------------

    def _check(self, changed: list[Parameter]) -> None:
        """Validate values against their models; raise AdcpError with the reason."""
        by_name = {parameter.name: parameter.value for parameter in changed}
        for model in self._models:
            present = parameters.values(self._node, model)
            merged = {key: by_name.get(key, value) for key, value in present.items()}
            try:
                model.model_validate(merged)
            except ValidationError as error:
                raise AdcpError(f"parameter {describe_validation_error(error)}") from error

    def _on_set(self, changed: list[Parameter]) -> SetParametersResult:
        names = {parameter.name for parameter in changed}
        locked = sorted(names & self.setup_names) if self._host.is_configured else []
        fixed = sorted(names & set(StartOptions.model_fields))
        if fixed:
            return SetParametersResult(
                successful=False, reason=f"{fixed[0]!r} is read once, at the node's start"
            )
        if locked:
            return SetParametersResult(
                successful=False,
                reason=f"{locked[0]!r} takes effect at configure: deactivate and clean up first",
            )
        try:
            self._check(changed)
            for part in self._host.parts:
                part.check(parameters.plain(changed))
        except AdcpError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, changed: list[Parameter]) -> None:
        """Let parameters that were set take effect; the worker applies settings between two frames."""
        names = {parameter.name for parameter in changed}
        self._on_applied(names)
        if names & set(HealthOptions.model_fields):
            self.health = HealthOptions(**parameters.values(self._node, HealthOptions))
        new = set() if self._is_adopting else names & set(self._settings_type.model_fields)
        if new:  # before a new model of the same request brings its own
            self._chosen |= new
            for part in self._host.parts:
                part.settings_changed()
        for part in self._host.parts:
            part.apply(names)
        if new:
            self.settings = self._settings_type(**parameters.values(self._node, self._settings_type))
