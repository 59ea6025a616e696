# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the user specifies of a model that is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ad_compressed_perception.core.manifest import TaskName


@dataclass(frozen=True)
class ImportRequest:
    """What the user specifies of a model; the rest is read from its file or guessed.

    Attributes:
        task: its name; guessed where None.
        name: the model's name; the file's by default.
        labels: class names, in the order of the model's classes; of the metadata or guessed by default.
        decoder: name of the decoder; guessed by default.
        decoder_options: its options.
        input: fields of InputSpec.
        convert: turn a .tflite file into ONNX instead of running it in LiteRT.
        sample: BAG, BAG:TOPIC or a folder of images that candidates are judged and the outputs checked on;
            None for drawn ones.
        data: labeled data, as of ``adcp evaluate``, to rank scale, color order and resizing by accuracy.
        label_map: from the data's names to the labels.
        inputs: sources of all inputs, as ``inputs`` of a manifest; constants are baked into the graph.
        outputs: heads, as ``outputs`` of a manifest; with task multi_task guessed by default.
        raw_when_doubtful: take task raw where the only decoder that fits gives implausible results.
    """

    task: TaskName | None = None
    name: str | None = None
    labels: Sequence[str] = ()
    decoder: str | None = None
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    convert: Literal["auto", "onnx"] = "auto"
    sample: str | None = None
    data: str | None = None
    label_map: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    raw_when_doubtful: bool = False
