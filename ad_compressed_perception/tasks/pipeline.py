# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs one variant on a frame: prepare, infer, decode, each timed."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from ad_compressed_perception.backends import Session, create_backend
from ad_compressed_perception.backends.choose_variant import find_variant, naming_others
from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Result
from ad_compressed_perception.core.task_names import NO_NODE, RAW
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks import Task, create_task


class Pipeline:
    """A task and a loaded variant, ready for frames. One thread at a time."""

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
        inferred = perf_counter()
        result: Result = self.task.decode(outputs, geometry)
        done = perf_counter()
        stages_ms = {
            "prepare": (prepared - start) * 1e3,
            "infer": (inferred - prepared) * 1e3,
            "post": (done - inferred) * 1e3,
        }
        return result, stages_ms

    def close(self) -> None:
        """Release the model."""
        self.session.close()


def open_pipeline(
    manifest: Manifest,
    variant: str | None = None,
    *,
    task: str | None = None,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
    allow_rejected: bool = False,
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

    Raises:
        AdcpError: a missing or altered file, a rejected variant, an unknown backend or option, a
            model that contradicts its manifest. The message is one line.
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
        session = create_backend(runtime).load_checked(path, {**base, **(options or {})}, chosen.sha256)
    try:
        return Pipeline(built, session, name)
    except BaseException:
        session.close()
        raise
