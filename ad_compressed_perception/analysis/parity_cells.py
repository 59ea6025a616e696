# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which backends a model can run on, in which precisions: the cells of ``adcp parity``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ad_compressed_perception.analysis.benchmark import BenchmarkVariant
from ad_compressed_perception.backends import Backend, backend_names, create_backend
from ad_compressed_perception.backends.choose_variant import missing_runtime, status_of
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.report.schemas.parity import MissingCell
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

REFERENCE_BACKEND = "onnxruntime"
FLOATS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Cell:
    """One backend with one file in one precision.

    Attributes:
        backend: the runtime's name.
        precision: as asked for: fp32, bf16, fp16, int8.
        variant: of the manifest, or the pass that made the file.
        manifest: the model, with the input and output of this file.
        path: the file.
        sha256: of the file; None: it was just made.
        options: of the backend.
        is_lossy: whether other results than the baseline's are expected, within a loss of agreement.
        verdict: of the variant's accept gate; empty where it has none.
        given: options that a user wrote, as text.
    """

    backend: str
    precision: str
    variant: str
    manifest: Manifest
    path: Path
    sha256: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    is_lossy: bool = False
    verdict: str = ""
    given: str = ""

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.variant}@{self.backend}{self.given} {self.precision}"

    def open(self) -> Pipeline:
        """Load it; raise AdcpError where the backend cannot."""
        task = create_task(self.manifest)
        session = create_backend(self.backend).load_checked(self.path, self.options, self.sha256)
        try:
            return Pipeline(task, session, self.variant)
        except BaseException:
            session.close()
            raise


def find_cells(
    manifests: Mapping[str, Manifest],
    baseline: str,
    threads: int,
    backends: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
) -> tuple[list[Cell], list[MissingCell]]:
    """Return the cells that can run here, the reference first, and what is missing.

    The baseline's file takes part in every precision that a backend offers for a float file; every other
    variant on each backend that reads its file.

    Args:
        manifests: variant to the manifest that holds it, see workspace.find.find_all.
        baseline: name of the baseline.
        threads: inside one inference, where a backend has that option.
        backends: only these, and the reference; None: all registered ones.
        precisions: only these, and the reference; None: all.

    Raises:
        AdcpError: a file is missing or altered; a name in ``backends`` is unknown.
    """
    for name in backends or ():
        create_backend(name)
    cells: list[Cell] = []
    missing: list[MissingCell] = []
    for name in backend_names():
        lacks = missing_runtime(name)
        asked = backends is None or name in backends
        if lacks:
            if asked and not _runs_others(name):
                missing.append(_not_installed(name, lacks))
            continue
        runtime = create_backend(name)
        needed = [key for key, one in runtime.options_type.model_fields.items() if one.is_required()]
        if needed and runtime.reads:
            given = ":".join(f"{key}=..." for key in needed)
            why = f"needs options, given as {baseline}@{name}:{given}"
            missing += [MissingCell(backend=name, precision="", why=why, install="")] if asked else []
            continue
        for variant, manifest in manifests.items():
            found = _cells_of(runtime, manifest, variant, baseline, threads)
            cells += [one for one in found if asked or one.backend == REFERENCE_BACKEND]
    reference = reference_of(cells, manifests[baseline], baseline)
    kept = [
        one
        for one in cells
        if one is not reference
        and (precisions is None or one.precision in precisions)
        and (backends is None or one.backend in backends)
    ]
    return [reference, *kept], missing


def reference_of(cells: Sequence[Cell], manifest: Manifest, baseline: str) -> Cell:
    """Return the baseline in fp32 on ONNX Runtime, or on its own backend where that cannot run it.

    Raises:
        BackendError: neither runs it here.
    """
    own = manifest.variant(baseline).backend
    for backend in (REFERENCE_BACKEND, own):
        for cell in cells:
            if (cell.backend, cell.variant, cell.precision) == (backend, baseline, "fp32"):
                return cell
    raise BackendError(
        f"the baseline of model {manifest.name!r} runs on {own}: {missing_runtime(own) or 'not in fp32'}"
    )


def with_threads(runtime: Backend, options: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return options with the number of threads, where the backend has that option."""
    return {**options, "threads": threads} if "threads" in runtime.options_type.model_fields else {**options}


def given_cells(
    texts: Sequence[BenchmarkVariant], manifests: Mapping[str, Manifest], baseline: str, threads: int
) -> list[Cell]:
    """Return cells that a user wrote as VARIANT@BACKEND:OPTION=VALUE, such as another provider or a server.

    Raises:
        AdcpError: an unknown variant or backend, a file that is missing or altered.
    """
    cells = []
    for text in texts:
        manifest = manifests.get(text.name, manifests[baseline])
        entry = manifest.variant(text.name)
        backend = text.backend or entry.backend
        runtime = create_backend(backend)
        base = entry.options if backend == entry.backend else {}
        cell = _cell(runtime, manifest, text.name, entry.precision, baseline, {**base}, threads)
        precision = text.options.get("precision", entry.precision)
        given = "".join(f":{key}={value}" for key, value in text.options.items())
        options = {**cell.options, **text.options}
        cells.append(replace(cell, precision=precision, options=options, given=given))
    return cells


def _cells_of(runtime: Backend, manifest: Manifest, variant: str, baseline: str, threads: int) -> list[Cell]:
    entry = manifest.variant(variant)
    if manifest.variant_path(variant).suffix not in runtime.reads:
        return []
    is_own = runtime.name == entry.backend
    if variant == baseline and entry.precision in FLOATS:
        own = entry.options if is_own else {}
        return [
            _cell(runtime, manifest, variant, precision, baseline, {**own, **options}, threads)
            for precision, options in runtime.precisions.items()
        ]
    base = entry.options if is_own else {}
    return [_cell(runtime, manifest, variant, entry.precision, baseline, base, threads)]


def _cell(
    runtime: Backend,
    manifest: Manifest,
    variant: str,
    precision: str,
    baseline: str,
    options: Mapping[str, Any],
    threads: int,
) -> Cell:
    entry = manifest.variant(variant)
    return Cell(
        runtime.name,
        precision,
        variant,
        manifest.for_variant(variant),
        manifest.checked_path(variant, allow_rejected=True),
        entry.sha256,
        with_threads(runtime, options, threads),
        is_lossy=variant != baseline,
        verdict=status_of(entry),
    )


def _runs_others(name: str) -> bool:
    """Return whether a backend has no files of its own; one that cannot be imported may have."""
    try:
        return not create_backend(name).reads
    except BackendError:
        return False


def _not_installed(backend: str, lacks: str) -> MissingCell:
    install = lacks if lacks.startswith("pip ") else ""
    return MissingCell(
        backend=backend, precision="", why="not installed" if install else lacks, install=install
    )
