# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The result of a compression, and the figures that the gate and the manifest take from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ad_compressed_perception.analysis.sizes import Sizes
from ad_compressed_perception.compression.pass_runner import PassRecord
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.coverage import IntegerCoverage
from ad_compressed_perception.compression.verification.gate import AccuracyDrop, EndToEndTimes, Measured
from ad_compressed_perception.compression.verification.scores import PartDrop
from ad_compressed_perception.compression.verification.verify import Verification
from ad_compressed_perception.core.manifest import Manifest, Variant, Verdict
from ad_compressed_perception.report.compression_schema import CompressionReport
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
    passes: list[PassRecord]
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
    def variant(self) -> Variant:
        """The new entry."""
        return self.manifest.variant(self.name)

    @property
    def verdict(self) -> Verdict:
        """The verdict of the accept gate."""
        verdict = self.variant.verdict
        assert verdict is not None  # entered by compress_model
        return verdict


def gate_figures(
    verification: Verification,
    coverage: IntegerCoverage,
    sizes: tuple[Sizes, Sizes],
    accuracy: AccuracyDrop | None = None,
) -> Measured:
    """Return the figures that the accept gate compares with its terms."""
    agreement, latency = verification.agreement, verification.latency
    return Measured(
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
    records: list[PassRecord],
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
        "passes": [asdict(record) for record in records],
    }
