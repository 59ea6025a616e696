# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds all input tensors of a model from a frame: the image, earlier images, constants and values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import DataError, ManifestError, ModelFileError, ResultError
from ad_compressed_perception.core.input_sources import ConstantInput, PreviousInput, history_of, topics_of
from ad_compressed_perception.core.manifest import InputSpec, Manifest
from ad_compressed_perception.core.tensors import Feeds, TensorSpec
from ad_compressed_perception.image.decode import Frame, FrameInputs
from ad_compressed_perception.image.frame_inputs import following
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.prepare import Preparer


class InputPreparer:
    """Prepares frames for one model; a value that is missing fails the frame, and is never made up.

    Attributes:
        image_name: tensor of the image; empty before bind where the file has one input, or where the image
            is part of a stack only.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Prepare for a manifest's ``input`` and ``inputs``.

        Raises:
            ManifestError: an input's source does not fit.
        """
        self._manifest = manifest
        self._spec: InputSpec = manifest.input
        self._sources = dict(manifest.inputs or {})
        self._topics = topics_of(self._sources)
        self._preparer = Preparer(manifest.input)
        self.image_name = manifest.input.name or ""
        self._depth = history_of(self._sources)
        self._prepared: list[tuple[Frame, NDArray[Any]]] = []
        self._tensors: dict[str, TensorSpec] = {}
        self._constants: Feeds = {}
        for name, source in self._sources.items():
            if isinstance(source, ConstantInput) and source.file is not None:
                raise ManifestError(
                    f"model {manifest.name!r}, input {name!r}: a constant's file is for the inputs of "
                    "adcp import, which bakes it into the graph; write its value here"
                )

    @property
    def _is_stacked_only(self) -> bool:
        """Whether the image is fed as part of a stack and not by itself."""
        stacks = (one for one in self._sources.values() if isinstance(one, PreviousInput))
        return self._spec.name is None and any(one.include_current for one in stacks)

    def bind(self, inputs: Iterable[TensorSpec]) -> None:
        """Check a loaded model's inputs against the manifest.

        Raises:
            ModelFileError: names, shapes or types differ from the manifest.
        """
        known = {tensor.name: tensor for tensor in inputs}
        model, listed = self._manifest.name, ", ".join(known)
        missing = [name for name in self._sources if name not in known]
        if missing:
            raise ModelFileError(
                f"model {model!r}: the manifest has an input {missing[0]!r}, the file has {listed}"
            )
        images = [name for name in known if name not in self._sources]
        self._bind_image(known, images)
        further = [name for name in images if name != self.image_name]
        if further:
            raise ModelFileError(
                f"model {model!r}: the file's input {further[0]!r} has no source in the manifest: name it "
                "under inputs"
            )
        for name, source in self._sources.items():
            self._tensors[name] = known[name]
            if isinstance(source, PreviousInput):
                self._check_stack(known[name], source)
            elif isinstance(source, ConstantInput):
                self._constants[name] = self._shaped(name, np.asarray(source.value, np.float64))

    def _bind_image(self, known: Mapping[str, TensorSpec], images: list[str]) -> None:
        if self._is_stacked_only:
            self.image_name = ""
            return
        spec, model = self._spec, self._manifest.name
        name = spec.name or (images[0] if len(images) == 1 else None)
        if name is None or name not in known:
            raise ModelFileError(
                f"model {model!r}: the manifest's input is {spec.name!r}, the file has {', '.join(known)}"
            )
        tensor = known[name]
        if not _fits(tensor.shape, spec.shape) or tensor.dtype != spec.dtype:
            raise ModelFileError(
                f"model {model!r}: the manifest's input is {spec.dtype}{list(spec.shape)}, "
                f"the file's {name!r} is {tensor.dtype}{list(tensor.shape)}"
            )
        self.image_name = name

    def _check_stack(self, tensor: TensorSpec, source: PreviousInput) -> None:
        count = source.frames + source.include_current
        axes = len(self._spec.shape) + (source.stack == "new_axis")
        shape = list(self._spec.shape)
        if source.axis < axes:
            if source.stack == "new_axis":
                shape.insert(source.axis, count)
            else:
                shape[source.axis] *= count
        if source.axis >= axes or not _fits(tensor.shape, shape) or tensor.dtype != self._spec.dtype:
            raise ModelFileError(
                f"model {self._manifest.name!r}: {count} images of {self._spec.dtype}"
                f"{list(self._spec.shape)} along axis {source.axis} are {self._spec.dtype}{shape}, the "
                f"file's {tensor.name!r} is {tensor.dtype}{list(tensor.shape)}"
            )

    def __call__(self, frame: Frame) -> tuple[Feeds, Geometry]:
        """Return the feeds, whose arrays may be reused by the next call, and the frame's geometry.

        Raises:
            ImageError: the frame has no pixels.
            ResultError: an earlier image or a value is missing, or a value is beyond the range of its tensor;
                the line says which and why.
        """
        tensor, geometry = self._preparer(frame)
        if not self._sources:
            return {self.image_name: tensor}, geometry
        feeds: Feeds = {} if self._is_stacked_only else {self.image_name: tensor}
        given = frame.inputs or FrameInputs()
        if self._depth:
            present = tensor.copy()  # before earlier frames are prepared in the same array
            if self.image_name:
                feeds[self.image_name] = present
            for name, source in self._sources.items():
                if isinstance(source, PreviousInput):
                    feeds[name] = self._stack(name, source, frame, present, given.previous)
            self._remember(frame, present)
        for name in self._topics:
            feeds[name] = self._value(name, frame, given)
        return {**feeds, **self._constants}, geometry

    def _stack(
        self,
        name: str,
        source: PreviousInput,
        frame: Frame,
        present: NDArray[Any],
        previous: tuple[Frame, ...],
    ) -> NDArray[Any]:
        found = following(frame, previous, source.max_gap_s)[-source.frames :]
        missing = source.frames - len(found)
        if missing and source.at_start == "fail":
            why = "" if frame.inputs is not None else " (the frame came alone)"
            raise ResultError(
                f"model {self._manifest.name!r}, input {name!r}: {source.frames} earlier images are needed, "
                f"{len(found)} follow each other by at most {source.max_gap_s:g} s{why}"
            )
        tensors = [self._prepare_earlier(one) for one in found]
        tensors = [(tensors[0] if tensors else present)] * missing + tensors
        tensors += [present] if source.include_current else []
        ordered = tensors if source.order == "oldest_first" else tensors[::-1]
        joined = np.stack if source.stack == "new_axis" else np.concatenate
        return np.asarray(joined(ordered, axis=source.axis))

    def _prepare_earlier(self, frame: Frame) -> NDArray[Any]:
        """Return an earlier frame's tensor: as it was prepared in its turn, else prepared now."""
        for known, tensor in self._prepared:
            if known.pixels is frame.pixels:
                return tensor
        tensor = self._preparer(frame)[0].copy()
        self._remember(frame, tensor)
        return tensor

    def _remember(self, frame: Frame, tensor: NDArray[Any]) -> None:
        self._prepared.append((frame, tensor))
        del self._prepared[: -(self._depth + 1)]

    def _value(self, name: str, frame: Frame, given: FrameInputs) -> NDArray[Any]:
        value = given.values.get(name)
        if value is None:
            why = given.problems.get(name) or "no value came with the frame, which is an image alone"
            raise ResultError(f"model {self._manifest.name!r}, input {name!r}: {why}")
        source = self._topics[name]
        return self._shaped(name, value * source.scale + source.offset)

    def _shaped(self, name: str, value: NDArray[np.float64]) -> NDArray[Any]:
        """Return numbers in the tensor's shape and type; one number fills it."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelFileError(f"model {self._manifest.name!r}: input {name!r} is not bound to a file")
        shape = [size or 1 for size in tensor.shape]
        count = int(np.prod(shape))
        if value.size not in (1, count):
            raise ResultError(
                f"model {self._manifest.name!r}, input {name!r}: {value.size} numbers do not fit "
                f"{tensor.dtype}{shape}"
            )
        flat = np.broadcast_to(value.reshape(-1), (count,)) if value.size == 1 else value.reshape(-1)
        if (beyond := _beyond(flat, np.dtype(tensor.dtype))) is not None:
            raise ResultError(
                f"model {self._manifest.name!r}, input {name!r}: {beyond:g} is beyond the range of "
                f"{tensor.dtype}"
            )
        return np.ascontiguousarray(flat.reshape(shape)).astype(tensor.dtype)


def _beyond(numbers: NDArray[np.float64], dtype: np.dtype[Any]) -> float | None:
    """Return a number that a cast would turn into another one or into infinity; None: there is none."""
    if dtype.kind not in "fiu":
        return None
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    cast = np.trunc(numbers) if dtype.kind in "iu" else numbers
    fits = (cast >= float(limits.min)) & (cast <= float(limits.max))
    return None if fits.all() else float(numbers[~fits][0])


def prepared_feeds(
    manifest: Manifest, inputs: tuple[TensorSpec, ...], frames: Iterable[Frame]
) -> Iterator[Feeds]:
    """Yield the feeds of each frame for a graph that is no session; the arrays are copies.

    Args:
        manifest: of the model as it is now.
        inputs: of the graph.
        frames: with what the model's inputs need, where it has several.

    Raises:
        DataError: an input besides the image is missing at a frame.
        ModelFileError: the graph's inputs are not the manifest's.
    """
    if manifest.inputs is None:
        names = [spec.name for spec in inputs]
        name = manifest.input.name if manifest.input.name in names else names[0]
        prepare = Preparer(manifest.input)
        for frame in frames:
            yield {name: prepare(frame)[0].copy()}
        return
    prepare_all = InputPreparer(manifest)
    prepare_all.bind(inputs)
    for number, frame in enumerate(frames, start=1):
        try:
            feeds, _ = prepare_all(frame)
        except ResultError as error:
            raise DataError(f"frame {number} of the chosen ones: {error}") from error
        yield {name: array.copy() for name, array in feeds.items()}


def _fits(shape: tuple[int | None, ...], expected: Iterable[int]) -> bool:
    sizes = tuple(expected)
    return len(shape) == len(sizes) and all(
        size in (None, other) for size, other in zip(shape, sizes, strict=True)
    )


def with_example_inputs(frame: Frame, manifest: Manifest) -> Frame:
    """Return a frame that comes with inputs of no meaning, to run a model where nothing is judged by it.

    Earlier images are the same as the frame, 1 ns apart; every value is 1. Not for results.
    """
    if manifest.inputs is None:
        return frame
    depth = history_of(manifest.inputs)
    previous = tuple(replace(frame, stamp_ns=frame.stamp_ns - back) for back in range(depth, 0, -1))
    values = {name: np.ones(1) for name in topics_of(manifest.inputs)}
    return replace(frame, inputs=FrameInputs(previous, values))
