# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The result of a compression, and the figures that the gate and the manifest take from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ad_compressed_perception.analysis.sizes import Sizes
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.coverage import IntegerCoverage
from ad_compressed_perception.compression.verification.gate import AccuracyDrop, EndToEndTimes, Measured
from ad_compressed_perception.compression.verification.labeled_check import LabeledCheck
from ad_compressed_perception.compression.verification.scores import PartDrop
from ad_compressed_perception.compression.verification.task_scores import accept_of_head
from ad_compressed_perception.compression.verification.verify import Verification
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, Variant, Verdict
from ad_compressed_perception.pass_api.terms import AcceptSpec
from ad_compressed_perception.report.schemas.compression import CompressionReport, PassReport, Stored
from ad_compressed_perception.workspace.store import REPORT_SUFFIX


@dataclass(frozen=True)
class CompressionResult:
    """The result of one compression.

    Attributes:
        manifest: the manifest with the new entry; its ``folder`` holds the variant.
        name: the variant's name.
        replaced: whether an older variant of that name was replaced.
        passes: what each pass did.
        coverage: of the executed graph.
        verification: agreement and times.
        baseline_sizes: stored, as read by the runtime, in memory.
        variant_sizes: likewise.
        seconds: total time.
        report: as stored in ``report_folder``.
    """

    manifest: Manifest
    name: str
    replaced: bool
    recipe: LoadedRecipe
    source: str
    passes: list[PassReport]
    coverage: IntegerCoverage
    verification: Verification
    baseline_sizes: Sizes
    variant_sizes: Sizes
    seconds: float
    report: CompressionReport

    @property
    def report_folder(self) -> Path:
        """Folder of the report, its plots and its images."""
        return self.manifest.folder / f"{self.name}{REPORT_SUFFIX}"

    @property
    def baseline_bytes(self) -> int:
        """Size of the baseline as stored."""
        return self.baseline_sizes.stored_bytes

    @property
    def variant_bytes(self) -> int:
        """Size of the variant as stored."""
        return self.variant_sizes.stored_bytes

    @property
    def document(self) -> CompressionReport:
        """The report with the places of what was stored, as ``--json`` prints it."""
        stored = Stored(
            manifest=str(self.manifest.folder / MANIFEST_NAME),
            file=str(self.manifest.variant_path(self.name)),
            report=str(self.report_folder / "report.json"),
            recipe=str(self.recipe.path),
            replaced=self.replaced,
            seconds=self.seconds,
        )
        return self.report.model_copy(update={"stored": stored})

    @property
    def variant(self) -> Variant:
        """The new entry."""
        return self.manifest.variant(self.name)

    @property
    def verdict(self) -> Verdict:
        """The verdict of the accept gate."""
        verdict = self.variant.verdict
        assert verdict is not None  # entered by compress_model
        return verdict


@dataclass(frozen=True)
class HeadFigures:
    """What one head of a model with several is judged by besides its agreement.

    Attributes:
        accept: its terms.
        accuracy: its loss of accuracy on labeled data; None where none was given for it.
    """

    accept: AcceptSpec
    accuracy: AccuracyDrop | None = None


def figures_of_heads(
    accept: AcceptSpec, manifest: Manifest, labeled: Mapping[str, LabeledCheck] = MappingProxyType({})
) -> dict[str, HeadFigures]:
    """Return how each head of a model is judged; none of a model with one task.

    Args:
        accept: the recipe's terms.
        manifest: the model.
        labeled: accuracy of the heads with labeled data.
    """
    return {
        name: HeadFigures(
            accept_of_head(accept, manifest, name), labeled[name].gate_drop if name in labeled else None
        )
        for name in manifest.outputs or {}
    }


def gate_figures(
    verification: Verification,
    coverage: IntegerCoverage,
    sizes: tuple[Sizes, Sizes],
    accuracy: AccuracyDrop | None = None,
    heads: Mapping[str, HeadFigures] = MappingProxyType({}),
) -> Measured:
    """Return the figures that the accept gate compares with its terms.

    Args:
        verification: agreement and times.
        coverage: of the executed graph.
        sizes: of baseline and variant.
        accuracy: loss of accuracy on labeled data.
        heads: of a model with several: how each is judged.

    Raises:
        ValueError: the agreement is that of several heads, and no terms are given for each.
    """
    if verification.agreement.heads.keys() != heads.keys():
        raise ValueError("every head is to be judged: see figures_of_heads")
    agreement, latency = verification.agreement, verification.latency
    by_head = {
        name: (own.accept, gate_figures(verification.of_head(name), coverage, sizes, own.accuracy))
        for name, own in heads.items()
    }
    return Measured(
        heads=by_head,
        drop=agreement.drop,
        drop_low=agreement.drop_low,
        drop_high=agreement.drop_high,
        frames=agreement.frames,
        informative_frames=agreement.informative_frames,
        failed_frames=agreement.failed_frames,
        speedup=latency.speedup_p50,
        speedup_low=latency.speedup_p50_low,
        speedup_high=latency.speedup_p50_high,
        p99_ms=latency.variant_p99_ms,
        size_ratio=sizes[1].stored_bytes / sizes[0].stored_bytes,
        integer_coverage=coverage.share,
        accuracy=accuracy,
        labels=agreement.labels,
        label_text=agreement.label_text,
        outputs=agreement.outputs,
        slices=tuple(
            PartDrop(rule.title, part.drop, part.drop_low, part.drop_high, part.frames)
            for rule, part in verification.slices.items()
        ),
        sizes=agreement.sizes,
        distances=agreement.distances,
        lost=agreement.lost,
        rare=agreement.rare,
        end_to_end=EndToEndTimes(
            latency.speedup_end_to_end_p50,
            latency.speedup_end_to_end_p50_low,
            latency.speedup_end_to_end_p50_high,
            float(np.percentile(verification.times.variant_end_to_end_ms, 99)),
        ),
    )


def manifest_figures(
    verification: Verification,
    coverage: IntegerCoverage,
    sizes: tuple[Sizes, Sizes],
    records: list[PassReport],
    accuracy: AccuracyDrop | None = None,
) -> dict[str, Any]:
    """Return the figures that the manifest's entry keeps."""
    return {
        "baseline_bytes": sizes[0].stored_bytes,
        "variant_bytes": sizes[1].stored_bytes,
        "size_ratio": sizes[1].stored_bytes / sizes[0].stored_bytes,
        "baseline_sizes": sizes[0].as_dict(),
        "variant_sizes": sizes[1].as_dict(),
        "integer_coverage": coverage.share,
        "integer_compute_ops": coverage.integer,
        "compute_ops": coverage.compute,
        "agreement": verification.agreement.as_dict(),
        "inference": verification.latency.as_dict(),
        **({} if accuracy is None else {"accuracy_drop": asdict(accuracy)}),
        "passes": [record.model_dump() for record in records],
    }
