# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backend ``staged``: the stages of a model, each in a session of its own, at work on different frames."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal

from pydantic import Field

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import (
    BackendOptions,
    BackendStatus,
    HashingBackend,
    LayerTime,
    Outputs,
    Session,
    SessionInfo,
    Tensors,
)
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.backends.stage_file import (
    SCHEMA,
    STAGED,
    Stage,
    StageRuntime,
    StageTensor,
    read_stage_file,
)
from ad_compressed_perception.backends.stage_pipeline import PipelineStage, StagePipeline
from ad_compressed_perception.backends.stage_process import ProcessSession, StageRequest
from ad_compressed_perception.core.errors import AdcpError, BackendError
from ad_compressed_perception.core.model_files import (
    STAGES_NAME,
    check_folder_options,
    further_files,
    is_inside,
)
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

LOAD_LIMIT_S = 600.0
"""How long the process of a stage may take to load."""


class StagedOptions(BackendOptions):
    """Options of the backend ``staged``."""

    threads: int | None = Field(
        None, ge=0, le=1024, description="inside one operator of each stage; by default what stages.yaml says"
    )
    run_in: Literal["threads", "processes"] = Field(
        "threads", description="processes: each stage in one of its own, with shared memory between them"
    )
    depth: int = Field(
        0, ge=0, le=64, description="frames in flight at most; 0: as many as stages, so that none waits"
    )
    timeout_s: float = Field(
        60.0,
        ge=0.0,
        le=86_400.0,
        description="time of a stage for one frame after which it counts as hung; 0: none",
    )
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")
    stages: list[StageRuntime] = Field(
        default_factory=list, description="backend and options of each stage, instead of those of stages.yaml"
    )


class StagedSession(Session):
    """A model whose stages are at work on different frames.

    Attributes:
        total_threads: of all stages together; 0 where a runtime chooses.
    """

    def __init__(self, model: Path, options: StagedOptions, sha256: str | None) -> None:
        """Load all stages and warm up; raise BackendError where one of them cannot be loaded."""
        start = perf_counter()
        described = read_stage_file(model, sha256)
        self._described = described
        chosen = options.stages or described.stages
        if len(chosen) != len(described.stages):
            raise BackendError(f"{model} has {len(described.stages)} stages, the option stages {len(chosen)}")
        self._stages: list[PipelineStage] = []
        with ExitStack() as undo:
            for number, (stage, runtime) in enumerate(zip(described.stages, chosen, strict=True)):
                name = f"stage {number + 1} of {len(chosen)} ({stage.file})"
                session = _load_stage(name, model, stage, runtime, options)
                undo.callback(session.close)
                kept = described.kept_after(number)
                self._stages.append(_pipeline_stage(name, stage, session, kept))
            self._inputs = _specs(described.inputs)
            self.depth = options.depth or len(self._stages)
            self._pipeline = StagePipeline(self._stages, described.outputs, self.depth, options.timeout_s)
            undo.pop_all()
        # Threads refer to the pipeline: without this, a session that nobody closes would never end.
        self._end = weakref.finalize(self, self._pipeline.close)
        threads = [stage.session.info.threads for stage in self._stages]
        self.total_threads = sum(threads) if all(threads) else 0
        load_ms = (perf_counter() - start) * 1e3
        try:
            warmup_ms = warm_up(self, self._inputs, options.warmup_runs)
        except BaseException:
            self.close()
            raise
        self.info = self._describe(load_ms, warmup_ms)

    def infer(self, feeds: Tensors) -> Outputs:
        """Run one frame through all stages; see Session.infer. While it is in one, the others are idle."""
        return self._pipeline.wait(self.submit(feeds))

    def submit(self, feeds: Tensors) -> Future[Outputs]:
        """Begin a frame; see Session.submit."""
        check_feeds(self._inputs, feeds)
        return self._pipeline.submit(feeds)

    def layers(self) -> list[LayerRecord]:
        """List the layers of all stages, in order."""
        return [layer for stage in self._stages for layer in stage.session.layers()]

    def profile(self, feeds: Tensors, runs: int) -> list[LayerTime]:
        """Time the layers of all stages; see Session.profile."""
        check_feeds(self._inputs, feeds)
        tensors, times = dict(feeds), list[LayerTime]()
        for stage in self._stages:
            given = {name: tensors[name] for name in stage.inputs}
            times += stage.session.profile(given, runs)
            tensors |= stage.session.infer(given)
        return times

    def close(self) -> None:
        """End all stages, at once; frames in flight fail."""
        self._end()

    def _describe(self, load_ms: float, warmup_ms: float) -> SessionInfo:
        infos = [stage.session.info for stage in self._stages]
        precisions = {info.precision for info in infos}
        outputs = {spec.name: spec for info in infos for spec in info.outputs}
        counts = [stage.compute_ops for stage in self._described.stages]
        shares = [(info.integer_coverage, count) for info, count in zip(infos, counts, strict=True) if count]
        known = [(share, count) for share, count in shares if share is not None]
        coverage = (
            sum(share * count for share, count in known) / sum(count for _, count in known) if known else None
        )
        return SessionInfo(
            backend=StagedBackend.name,
            version=SCHEMA,
            requested_provider=_joined(f"{info.backend} {info.requested_provider}" for info in infos),
            provider=_joined(f"{info.backend} {info.provider}" for info in infos),
            precision=precisions.pop() if len(precisions) == 1 else "mixed",
            threads=max(info.threads for info in infos) if self.total_threads else 0,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=self._inputs,
            outputs=tuple(outputs[name] for name in self._described.outputs),
        )


class StagedBackend(HashingBackend):
    """Runs the stages of a model that the pass ``partition`` cut."""

    name: ClassVar[str] = STAGED
    reads: ClassVar[tuple[str, ...]] = (Path(STAGES_NAME).suffix,)
    options_type: ClassVar[type[BackendOptions]] = StagedOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report that it is there; the stages' own backends are others."""
        return BackendStatus(
            cls.name,
            available=True,
            version=SCHEMA,
            providers=("threads", "processes"),
            detail="runs each stage on a backend of its own",
        )

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load all stages of a ``stages.yaml``, each with the hash that it has there.

        Raises:
            BackendError: a wrong option or ``stages.yaml``; a stage that is missing, altered or that its
                backend cannot load, which the message names.
        """
        return StagedSession(Path(model), self.parse_options(options), sha256)


def _pipeline_stage(name: str, stage: Stage, session: Session, kept: frozenset[str]) -> PipelineStage:
    inputs, outputs = (tuple(one.name for one in tensors) for tensors in (stage.inputs, stage.outputs))
    stop: Callable[[], object] = session.stop if isinstance(session, ProcessSession) else lambda: None
    return PipelineStage(name, session, inputs, outputs, kept, stop)


def _load_stage(
    name: str, model: Path, stage: Stage, runtime: StageRuntime, options: StagedOptions
) -> Session:
    path, folder = model.parent / stage.file, model.parent
    try:
        backend = create_backend(runtime.backend)
        known = backend.options_type.model_fields
        given = dict(runtime.options)
        given |= {"warmup_runs": 0} if "warmup_runs" in known else {}  # all stages warm up together
        given |= {"threads": options.threads} if options.threads is not None and "threads" in known else {}
        check_folder_options(name, given, (folder,))
        if not is_inside(path, [folder]):
            raise BackendError(f"it lies outside of {folder}")
        further = further_files(path) if path.is_file() else set()
        if further:
            names = ", ".join(sorted(further))
            raise BackendError(f"it reads further files, whose hashes nothing checks: {names}")
        if options.run_in == "processes":
            request = StageRequest(path, runtime.backend, given, stage.sha256, stage.inputs, stage.outputs)
            session: Session = ProcessSession(request, options.timeout_s, LOAD_LIMIT_S)
        else:
            session = backend.load_checked(path, given, stage.sha256)
        try:
            _require_as_listed(session.info.inputs, stage.inputs)
            _require_as_listed(session.info.outputs, stage.outputs)
        except BaseException:
            session.close()
            raise
    except AdcpError as error:
        raise BackendError(f"{model}: {name}: {error}") from error
    return session


def _require_as_listed(found: Sequence[TensorSpec], listed: Sequence[StageTensor]) -> None:
    specs = {one.name: one for one in found}
    if specs.keys() != {one.name for one in listed} or not all(
        _is_as_listed(specs[one.name], one) for one in listed
    ):
        raise BackendError("its inputs or outputs are others than stages.yaml says")


def _is_as_listed(spec: TensorSpec, listed: StageTensor) -> bool:
    return (
        spec.dtype == listed.dtype
        and len(spec.shape) == len(listed.shape)
        and all(size in (None, other) for size, other in zip(spec.shape, listed.shape, strict=True))
    )


def _specs(tensors: Sequence[StageTensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(one.name, tuple(one.shape), one.dtype) for one in tensors)


def _joined(texts: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(texts))
