# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ranks preparations of the images by accuracy on a few labeled frames, one property after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, collect, use_settings
from ad_compressed_perception.analysis.output_plausibility import choose_evenly
from ad_compressed_perception.backends import Session
from ad_compressed_perception.core.errors import DataError, ResultError
from ad_compressed_perception.core.manifest import InputSpec, Manifest
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.importing.candidates import Candidate
from ad_compressed_perception.importing.choices import Choice, Row
from ad_compressed_perception.importing.preparations import Scaling
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.pipeline import Pipeline

MOST_FRAMES = 48
_MARGIN = 0.05
"""Share of the better figure by which the next must be worse for a certain choice."""
_LEAST_ABOVE, _FEWEST_FRAMES = 0.05, 4
"""A share that is no higher above results which ignore the image, or few frames, settle nothing: the labels
may be of other images, and one lucky box makes the difference."""
_RESIZES: tuple[dict[str, Any], ...] = (
    {"resize": "stretch"},
    {"resize": "letterbox", "letterbox_align": "center", "pad_value": 114},
    {"resize": "letterbox", "letterbox_align": "top_left", "pad_value": 114},
)


class LabeledRanking:
    """Measures accuracy for preparations of one model.

    Attributes:
        rows: what was measured, best first, for the table.
        table: property to value and accuracy, best first.
    """

    def __init__(
        self,
        session: Session,
        manifest_of: Callable[[Candidate, InputSpec], Manifest],
        data: str,
        label_map: str | None = None,
    ) -> None:
        """Remember what to measure on."""
        self._session = session
        self._manifest_of = manifest_of
        self._data = data
        self._label_map = label_map
        self.rows: list[Row] = []
        self.table: dict[str, list[tuple[str, float]]] = {}
        self._metric = ""
        self._frames = 0
        self._least = 0.0

    def best_input(
        self,
        candidate: Candidate,
        specs: Mapping[tuple[str, str], InputSpec],
        start: tuple[str, str],
        is_open: Callable[..., bool],
    ) -> InputSpec:
        """Return the input with the best accuracy, changing scale, color order and resizing in turn.

        Args:
            candidate: task and decoder.
            specs: (name of the scaling, color order) to input.
            start: the key to begin with.
            is_open: whether none of some fields of the input was given.

        Raises:
            DataError: the data is not for this model.
        """
        scale, color = start
        if is_open("scale", "mean", "std"):
            names = list(dict.fromkeys(name for name, _ in specs))
            scale = self._best(
                "scale", candidate, {name: specs[name, color] for name in names if (name, color) in specs}
            )
        spec = specs.get((scale, color)) or next(iter(specs.values()))
        if spec.color != "GRAY" and is_open("color"):
            color = self._best("color", candidate, {order: specs[scale, order] for order in ("RGB", "BGR")})
            spec = specs[scale, color]
        if is_open("resize"):
            choices = {
                "_".join(str(value) for value in fields.values() if value != 114): spec.model_copy(
                    update=fields
                )
                for fields in _RESIZES
            }
            own = {key: value for key, value in choices.items() if _same_geometry(value, spec)}
            ordered = {**own, **choices}
            spec = ordered[self._best("resize", candidate, ordered)]
        return spec

    def choice(self, what: str, value: str, scalings: Sequence[Scaling]) -> Choice:
        """Return the choice of a property by its figures."""
        ranked = self.table.get(what, [])
        if len(ranked) < 2:
            return Choice(what, value, "data", True, "the only one")
        (_, best), (name, second) = ranked[:2]
        certain = best - self._least >= _LEAST_ABOVE and best - second > _MARGIN * abs(best)
        if best < 0.0:  # errors, negated
            certain = second < best * (1.0 + _MARGIN)
        certain = certain and self._frames >= _FEWEST_FRAMES
        shown = f"{self._metric} {abs(best):.3f} on {self._frames} labeled frames, {name} {abs(second):.3f}"
        fix = next((one.options for one in scalings if one.name == name), f"--input-{what} {_option(name)}")
        return Choice(what, value, "data", certain, shown, fix)

    def _best(self, what: str, candidate: Candidate, specs: Mapping[str, InputSpec]) -> str:
        found = sorted(self._measured(candidate, specs), key=lambda pair: -pair[1])
        self.table[what] = found
        for name, accuracy in found:
            self.rows.append(Row(candidate, f"{what} {name}", None, abs(accuracy), name == found[0][0]))
        return found[0][0]

    def _measured(self, candidate: Candidate, specs: Mapping[str, InputSpec]) -> Iterator[tuple[str, float]]:
        for name, spec in specs.items():
            manifest = self._manifest_of(candidate, spec)
            data = open_labeled(self._data, manifest, self._label_map)
            pipeline = Pipeline(create_task(manifest), self._session, manifest.baseline)
            if candidate.task == "detection":
                use_settings(pipeline, **DETECTION_SETTINGS)
            indices = choose_evenly(range(len(data)), MOST_FRAMES)
            try:
                score = collect(pipeline, data, indices, failed=[])
            except ResultError:
                yield name, float("-inf")
                continue
            self._metric, self._frames = score.names[0], len(indices)
            self._least = score.of_nothing().get(self._metric, 0.0)
            figure = float(score.figures()[0])
            if figure != figure:
                raise DataError(f"{data.describe}: no figure on {len(indices)} frames, nothing to rank by")
            yield name, -figure if score.names[0] in score.lower_is_better else figure


def _same_geometry(one: InputSpec, other: InputSpec) -> bool:
    if one.resize != other.resize:
        return False
    return one.resize != "letterbox" or one.letterbox_align == other.letterbox_align


def _option(name: str) -> str:
    return name.replace("letterbox_center", "letterbox-center").replace("letterbox_top_left", "letterbox")
