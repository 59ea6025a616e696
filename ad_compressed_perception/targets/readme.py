# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""README of an exported folder: what is in it, the vendor's commands, and how its outputs come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ad_compressed_perception.report.kit.text import plain

if TYPE_CHECKING:
    from ad_compressed_perception.report.schemas.device_export import DeviceExport
    from ad_compressed_perception.targets.rule_file import ExportSpec, Target


def readme_text(document: DeviceExport, target: Target, spec: ExportSpec) -> str:
    """Return the README as Markdown."""
    commands = "\n".join([*spec.commands, "python run_on_device.py"])
    tail = ["| tail.onnx | what the PC computes behind it: " + plain(", ".join(document.cut_nodes)) + " |"]
    lines = [
        f"# {plain(document.model)} for {target.title}",
        "",
        f"Form: {document.precision}. Reference: the float model's outputs on {len(document.frames)} frames.",
        "",
        "| file | what it is |",
        "|---|---|",
        "| model.onnx | the model in the target's form, all sizes fixed |",
        *(tail if document.cut_nodes else []),
        "| calibration/images, calibration/tensors | calibration set of the vendor's quantizer: images, and "
        "the tensors (npy) that the model gets |",
        "| frames, inputs | reference frames: images, and the tensors that the device runs |",
        "| expected | the float model's outputs, for the verdict |",
        "| run_on_device.py, job.json | runs all frames; needs numpy and the runtime only |",
        "| export.json, recipe.yaml | hashes, and the terms of the verdict |",
        "",
        "## On the device",
        "",
        "```",
        commands,
        "```",
        "",
        *([" ".join(spec.notes), ""] if spec.notes else []),
        "expected/, frames/ and calibration/ may stay on the PC.",
        "",
        "## Back on the PC",
        "",
        "Copy outputs/ from the device into this folder, then:",
        "",
        "```",
        "adcp verdict --outputs THIS_FOLDER",
        "```",
        "",
        "Outputs of another model, of other frames, or of some of the frames only are refused.",
    ]
    if document.float_operators:
        lines += ["", f"In float for accuracy: {plain(', '.join(document.float_operators))}."]
    if document.findings:
        lines += ["", "## What the target's rules say", ""]
        lines += [
            f"* {one.consequence.replace('_', ' ')}: {one.operator} {plain(one.node)}: {plain(one.text)}"
            for one in document.findings
        ]
    return "\n".join(lines) + "\n"
