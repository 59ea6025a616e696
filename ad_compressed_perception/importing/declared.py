# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Imports of models with several heads or inputs: both are described by the user, heads may be guessed.

Without a description each output tensor is guessed as a head by itself; heads of several tensors need one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ad_compressed_perception.backends import Session
from ad_compressed_perception.core.errors import AdcpError, ManifestError
from ad_compressed_perception.core.input_sources import ConstantInput, InputSource, split_image
from ad_compressed_perception.core.manifest import (
    InputSpec,
    Manifest,
    TaskName,
    Variant,
    describe_validation_error,
)
from ad_compressed_perception.core.task_names import MULTI_TASK, RAW
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.choices import Choice, Guess
from ad_compressed_perception.importing.guesser import Guesser
from ad_compressed_perception.importing.infer_manifest import infer_input, infer_output
from ad_compressed_perception.importing.model_facts import ModelFacts
from ad_compressed_perception.importing.request import ImportRequest
from ad_compressed_perception.onnx_graph.baked_inputs import bake_inputs
from ad_compressed_perception.tasks.pipeline import HeadSession

if TYPE_CHECKING:
    from onnx import ModelProto

_SOURCES: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, InputSource])


def is_declared(request: ImportRequest) -> bool:
    """Return whether an import is one of several heads or inputs."""
    return bool(request.inputs or request.outputs) or request.task == MULTI_TASK


def bake_constants(model: ModelProto, request: ImportRequest) -> ImportRequest:
    """Make the constant inputs constants of the graph, in place; return the request without them.

    Raises:
        ManifestError: a source is not valid, or a constant's file cannot be read.
        ModelFileError: the graph has no such input, or it has another shape.
    """
    try:
        _, rest = split_image(request.inputs)
        sources = _SOURCES.validate_python(rest)
    except ValidationError as error:
        raise ManifestError(f"inputs: {describe_validation_error(error)}") from error
    except ValueError as error:
        raise ManifestError(f"inputs: {error}") from error
    constants = {name: one for name, one in sources.items() if isinstance(one, ConstantInput)}
    if not constants:
        return request
    bake_inputs(model, {name: _numbers(name, one) for name, one in constants.items()})
    left = {name: value for name, value in request.inputs.items() if name not in constants}
    return replace(request, inputs=left)


def _numbers(name: str, source: ConstantInput) -> NDArray[Any]:
    if source.file is None:
        return np.asarray(source.value, np.float64)
    try:
        return np.asarray(np.load(Path(source.file).expanduser(), allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ManifestError(f"input {name!r}: {source.file} is no .npy file of numbers: {error}") from error


def image_of(facts: ModelFacts, request: ImportRequest, given: Mapping[str, Any]) -> InputSpec:
    """Return the image's input section, beside the inputs that the request describes.

    Raises:
        ManifestError: where the image is part of a stack only, its size is not given.
        ModelFileError: no input is left for the image, or it is none.
    """
    image, rest = split_image(request.inputs)
    fields = {**(image or {}), **given}
    left = [spec for spec in facts.inputs if spec.name not in rest]
    if left or image is not None:
        return infer_input(left, fields)
    try:
        return InputSpec(**fields)
    except ValidationError as error:
        raise ManifestError(
            f"the image is part of a stack, so describe it (width, height): "
            f"{describe_validation_error(error)}"
        ) from error


def declared_manifest(
    guesser: Guesser, frames: Sequence[Frame], are_real: bool, variant: Variant, source: str
) -> tuple[Manifest, Guess]:
    """Return the manifest of what was described, with heads guessed where they were not.

    Raises:
        ManifestError: the description is not valid.
    """
    request, facts, spec = guesser.request, guesser.facts, guesser.spec
    _, rest = split_image(request.inputs)
    fields: dict[str, Any] = {
        "name": guesser.name,
        "description": f"imported from {source}",
        "input": spec,
        "inputs": rest or None,
        "baseline": "fp32",
        "variants": {"fp32": variant},
    }
    choices: list[Choice] = []
    if request.outputs:
        fields |= {"task": MULTI_TASK, "outputs": dict(request.outputs)}
    elif request.task == MULTI_TASK:
        heads, fields["input"], choices = _guess_heads(guesser, frames, are_real)
        fields |= {"task": MULTI_TASK, "outputs": heads}
    else:
        task: TaskName = request.task or "raw"
        output = infer_output(task, request.labels, facts.outputs, request.decoder, request.decoder_options)
        fields |= {"task": task, "labels": list(request.labels), "output": output}
    guess = Guess(None, fields["input"], list(request.labels), choices)
    if summary := guess.summary():
        fields["description"] += f"; {summary}"
    try:
        return Manifest(**fields), guess
    except ValidationError as error:
        raise ManifestError(f"model {guesser.name!r}: {describe_validation_error(error)}") from error


def _guess_heads(
    guesser: Guesser, frames: Sequence[Frame], are_real: bool
) -> tuple[dict[str, Any], InputSpec, list[Choice]]:
    """Guess each output tensor as a head; raise ManifestError where the model has one output only."""
    if len(guesser.facts.outputs) < 2:
        raise ManifestError(f"model {guesser.name!r} has one output: {MULTI_TASK} is for several heads")
    if guesser.request.inputs:
        raise ManifestError("heads of a model with several inputs are not guessed: describe them as outputs")
    heads: dict[str, Any] = {}
    specs: list[InputSpec] = []
    choices: list[Choice] = []
    for place, output in enumerate(guesser.facts.outputs):
        name = head_name(output.name, place, heads)
        guess = _guess_head(guesser, output.name, frames, are_real)
        candidate = None if guess is None else guess.candidate
        if guess is None or candidate is None:
            heads[name] = {"task": RAW, "outputs": [output.name]}
            choices.append(
                Choice(f"head {name}", RAW, "convention", False, "no decoder fits this output alone")
            )
            continue
        options = dict(candidate.options)
        heads[name] = {
            "task": candidate.task,
            "labels": list(guess.labels),
            "decoder": candidate.decoder,
            "options": options,
            "outputs": [output.name],
        }
        specs.append(guess.spec)
        choices += [replace(one, what=f"head {name}: {one.what}", fix="") for one in guess.choices]
    if not specs:
        raise ManifestError(f"no head of {guesser.name!r} has a task that fits: describe them as outputs")
    texts = Counter(one.model_dump_json() for one in specs)
    chosen = InputSpec.model_validate_json(texts.most_common(1)[0][0])
    if len(texts) > 1:
        text = "the heads by themselves fit images that are prepared in different ways"
        choices.append(Choice("input", f"scale {chosen.scale:g}, {chosen.color}", "convention", False, text))
    return heads, chosen, choices


def _guess_head(guesser: Guesser, output: str, frames: Sequence[Frame], are_real: bool) -> Guess | None:
    session: Session = HeadSession(guesser.session, [output], guesser.name, False)
    facts = replace(guesser.facts, outputs=session.info.outputs)
    request = replace(guesser.request, task=None)
    alone = replace(guesser, session=session, facts=facts, request=request, all_candidates=[])
    try:
        return alone.guess(frames, are_real=are_real)
    except AdcpError:
        return None


def head_name(output: str, place: int, taken: Mapping[str, Any]) -> str:
    """Return a head's name made from a tensor's: small letters, digits and single underscores."""
    text = re.sub(r"[^a-z0-9]+", "_", output.lower()).strip("_")
    text = text if re.match(r"[a-z]", text) and text != "shadow" else f"head_{place}"
    return text if text not in taken else f"{text}_{place}"
