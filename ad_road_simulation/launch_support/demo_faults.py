# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in the compressed side of demo.launch.py: which variant on which runtime, and its standby."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.yaml_file import read_yaml_mapping
from ad_compressed_perception.launch_support.argument_values import find_model
from ad_compressed_perception.launch_support.plan import COMPRESSED, PlannedNode
from ad_road_simulation.faults.kinds import BACKEND, FaultRequest, parse_fault

_FRAME_TIMEOUT_MS = 500.0
"""After this the standby answers; a cold or loaded computer needs less for a frame of the default models."""


def with_fault(nodes: list[PlannedNode], arguments: Mapping[str, str]) -> list[PlannedNode]:
    """Return the nodes, those of the compressed side with the fault that the arguments name, and a standby.

    Raises:
        AdcpError: an unknown fault, or a model whose manifest cannot be read or has no compressed variant.
    """
    text = arguments.get("fault", "")
    if not text:
        return nodes
    try:
        fault = parse_fault(text)
    except AdcpError as error:
        raise AdcpError(f"fault:={text}: {error}") from error
    return [
        replace(node, parameters=node.parameters | _faulty(node, arguments, fault))
        if f"/{COMPRESSED}/" in node.full_name
        else node
        for node in nodes
    ]


def _faulty(node: PlannedNode, arguments: Mapping[str, str], fault: FaultRequest) -> dict[str, Any]:
    """Return the parameters of a node whose variant runs with a fault, beside the baseline as standby."""
    model = node.parameters.get("model") or f"road_{node.name}"
    variant, runtime = _variant(str(model), arguments.get("models", ""), node.parameters)
    options = fault.backend_options(runtime)
    return {
        "variant": variant,
        "backend": BACKEND,
        "backend_options": [f"{name}={json.dumps(value)}" for name, value in options.items()],
        "fallback_variant": "baseline",
        "frame_timeout_ms": _FRAME_TIMEOUT_MS,
    }


def _variant(model: str, models: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Return the variant that is to run, and its runtime: that of the arguments, else the first accepted one.

    An accepted one for ONNX Runtime is preferred, which every installation has.
    """
    folder = find_model(model, models)
    file = folder / "model.yaml" if folder.is_dir() else folder
    manifest = read_yaml_mapping(file, "manifest", AdcpError, strict=False)
    variants, baseline = manifest.get("variants") or {}, manifest.get("baseline")
    runtimes = {
        str(name): str(entry.get("backend", "onnxruntime"))
        for name, entry in variants.items()
        if name != baseline and isinstance(entry, dict)
    }
    chosen = str(parameters.get("variant", "accepted"))
    if chosen != "accepted":
        return chosen, str(parameters.get("backend", "") or runtimes.get(chosen, "onnxruntime"))
    accepted = [
        name
        for name in runtimes
        if isinstance(verdict := variants[name].get("verdict"), dict) and verdict.get("status") == "accepted"
    ]
    if not accepted:
        raise AdcpError(f"fault: {file} has no accepted variant; name one with variant:=")
    name = min(accepted, key=lambda name: runtimes[name] != "onnxruntime")
    return name, runtimes[name]
