# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs one variant on a frame: prepare, infer, decode, each timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from ad_compressed_perception.backends import Session, create_backend
from ad_compressed_perception.backends.choose_variant import find_variant, naming_others
from ad_compressed_perception.backends.strict import refuse_fallback
from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.task_names import NO_NODE, RAW
from ad_compressed_perception.core.tensors import LayerRecord
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks import Task, create_task
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.multi_task import select_specs


@dataclass(frozen=True)
class Inferred:
    """A frame between inference and decoding.

    Attributes:
        frame: the image.
        feeds: the model's inputs.
        outputs: raw.
        geometry: between model pixels and source pixels.
        prepare_ms: how long preparing took, milliseconds.
        infer_ms: likewise, the inference.
    """

    frame: Frame
    feeds: Mapping[str, Any]
    outputs: Mapping[str, Any]
    geometry: Geometry
    prepare_ms: float
    infer_ms: float


class Pipeline:
    """A task and a loaded variant, ready for frames. One thread at a time.

    Attributes:
        on_outputs: looks at the model's inputs and raw outputs of every frame, before they are decoded.
    """

    on_outputs: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None

    def __init__(self, task: Task[Any], session: Session, variant: str) -> None:
        """Bind the task to the session; raise ModelFileError where they contradict each other."""
        task.bind(session.info)
        self.task = task
        self.session = session
        self.variant = variant

    def run(self, frame: Frame) -> tuple[Result, dict[str, float]]:
        """Return the frame's result and the milliseconds of prepare, infer and post."""
        start = perf_counter()
        feeds, geometry = self.task.prepare(frame)
        prepared = perf_counter()
        outputs = self.session.infer(feeds)
        infer_ms = (perf_counter() - prepared) * 1e3
        return self.finish(Inferred(frame, feeds, outputs, geometry, (prepared - start) * 1e3, infer_ms))

    def finish(self, inferred: Inferred) -> tuple[Result, dict[str, float]]:
        """Return what run() does for a frame whose outputs are known already."""
        start = perf_counter()
        if self.on_outputs is not None:
            self.on_outputs(inferred.feeds, inferred.outputs)
        result: Result = self.task.decode(inferred.outputs, inferred.geometry)
        post_ms = (perf_counter() - start) * 1e3
        return result, {"prepare": inferred.prepare_ms, "infer": inferred.infer_ms, "post": post_ms}

    def close(self) -> None:
        """Release the model."""
        self.session.close()


class HeadSession(Session):
    """A session of which a head sees its own outputs only."""

    def __init__(self, session: Session, names: list[str] | None, model: str, closes: bool) -> None:
        self._session, self._closes = session, closes
        self.info = replace(session.info, outputs=select_specs(session.info.outputs, names, model))
        self._names = tuple(spec.name for spec in self.info.outputs)

    def infer(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model; return the head's outputs."""
        outputs = self._session.infer(feeds)
        return {name: outputs[name] for name in self._names if name in outputs}

    def layers(self) -> list[LayerRecord]:
        """List the layers of the whole model."""
        return self._session.layers()

    def close(self) -> None:
        """Release the model where it is this one's to close."""
        if self._closes:
            self._session.close()


def pipeline_of_head(pipeline: Pipeline, head: str, *, closes: bool = False) -> Pipeline:
    """Return a pipeline of one head of a model with several, as if the model had this task only.

    Args:
        pipeline: of the model; both run one session, so one thread at a time may use them.
        head: its name.
        closes: whether closing what is returned closes the model.

    Raises:
        ManifestError: there is no such head.
    """
    manifest = pipeline.task.manifest
    own = manifest.head(head)
    session = HeadSession(pipeline.session, (manifest.outputs or {})[head].outputs, own.name, closes)
    return Pipeline(create_task(own), session, pipeline.variant)


def of_head(manifest: Manifest, head: str | None, option: str) -> Manifest:
    """Return the manifest of the head that ``option`` named; of a model with one task, its own.

    Raises:
        ManifestError: the model has several heads and none was named, or it has no such head.
    """
    if head is None and manifest.outputs is not None:
        raise ManifestError(
            f"model {manifest.name!r} has several heads: name one with {option}: "
            f"{', '.join(manifest.outputs)}"
        )
    return manifest if head is None else manifest.head(head)


def heads_of(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Return a pipeline for each head by its name; of a model with one task itself, under the name ""."""
    heads = pipeline.task.manifest.outputs
    return {"": pipeline} if heads is None else {name: pipeline_of_head(pipeline, name) for name in heads}


def open_pipeline(
    manifest: Manifest,
    variant: str | None = None,
    *,
    task: str | None = None,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
    allow_rejected: bool = False,
    strict: bool = False,
) -> Pipeline:
    """Load a variant (the baseline by default) after every check the manifest asks for.

    Args:
        manifest: the model.
        variant: the variant's name, or "accepted" (see backends.choose_variant.find_variant).
        task: the task the model must be for; any when None.
        backend: runs the variant's file on another backend than the manifest names; the manifest's
            backend options are then not used.
        options: backend options that override the manifest's.
        allow_rejected: load a variant its gate rejected.
        strict: refuse another provider than asked for, and where the runtime is the manifest's and
            ``options`` choose none, another precision than it states.

    Raises:
        AdcpError: a missing or altered file, a rejected variant, an unknown backend or option, a
            model that contradicts its manifest, ``strict``. The message is one line.
    """
    name = find_variant(manifest, variant, backend)
    chosen = manifest.variant(name)
    if task is not None and manifest.task != task:
        why = f"; {NO_NODE}" if manifest.task == RAW else ""
        raise ManifestError(f"model {manifest.name!r} is for task {manifest.task!r}, not {task!r}{why}")
    built = create_task(manifest.for_variant(name))
    runtime = backend or chosen.backend
    base = chosen.options if runtime == chosen.backend else {}
    with naming_others(manifest, name, runtime):
        path = manifest.checked_path(name, allow_rejected=allow_rejected)
        found, given = create_backend(runtime), {**base, **(options or {})}
        session = found.load_checked(path, found.strict_options(given) if strict else given, chosen.sha256)
    try:
        if strict:
            is_stated = runtime == chosen.backend and "precision" in chosen.model_fields_set
            option = (options or {}).get("precision")
            stated = chosen.precision if is_stated and option is None else None
            refuse_fallback(session.info, stated, option)
        return Pipeline(built, session, name)
    except BaseException:
        session.close()
        raise


def open_head(manifest: Manifest, head: str | None, variant: str | None = None, **options: Any) -> Pipeline:
    """Load a variant for one head of several; None: as it is. Further arguments are open_pipeline's.

    Raises:
        AdcpError: as open_pipeline, or there is no such head.
    """
    pipeline = open_pipeline(manifest, variant, **options)
    if head is None:
        return pipeline
    try:
        return pipeline_of_head(pipeline, head, closes=True)
    except BaseException:
        pipeline.close()
        raise
