# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A search for people, from search.json alone: verdict, front, and why each other candidate lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from ad_compressed_perception.compression.search.choice import round_to_3_digits
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import describe_validation_error
from ad_compressed_perception.data.bad_frames import FrameAccount
from ad_compressed_perception.report.findings import VERDICT_LEVELS, Finding, sort_findings
from ad_compressed_perception.report.markdown_text import code, image, plain, table
from ad_compressed_perception.report.rendered import Rendered

SCHEMA = "adcp-search/1"
PLOT = "front.png"

Document = Mapping[str, Any]


def render_document(text: bytes, where: str, folder: Path) -> Rendered:
    """Render search.json; its plot stays as it is.

    Raises:
        DataError: it is no such document; one line.
    """
    try:
        return render_search(json.loads(text))
    except ValidationError as error:
        raise DataError(f"{where} is no {SCHEMA}: {describe_validation_error(error)}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is no {SCHEMA}: {type(error).__name__} {error}") from error


def render_search(document: Document) -> Rendered:
    """Return a search's Markdown and findings; raise KeyError, TypeError or ValueError where it is none."""
    sections = (_head(document), _candidates(document), _losers(document), _frames(document))
    markdown = "\n\n".join(block for section in sections for block in section) + "\n"
    return Rendered(markdown, sort_findings(list(_findings(document))))


def _findings(document: Document) -> Iterator[Finding]:
    winner, compressed = document["winner"], document.get("compressed")
    if winner is None:
        yield Finding("alarm", "rejected: no candidate is within the budget; nothing was stored.")
        nearest = document["nearest_miss"]
        if nearest is not None:
            yield Finding("note", f"Nearest miss: {nearest['name']}: {nearest['misses']}.")
    elif compressed is None:
        yield Finding("warning", f"{winner} won the search and was not verified.")
    else:
        verdict = compressed["verdict"]
        yield Finding(VERDICT_LEVELS.get(verdict["status"], "warning"), f"{winner}: {_verdict(compressed)}")
        if verdict["status"] == "inconclusive":
            for reason in verdict["reasons"]:
                yield Finding("warning", str(reason))
    account = FrameAccount.model_validate(document["source_frames"])
    for problem in account.sentences():
        yield Finding("warning", problem)
    if all(one["drop"] is None for one in document["candidates"]):
        yield Finding("alarm", "no candidate was measured.")


def _verdict(compressed: Document) -> str:
    """Return the verdict and the frames that it stands on; none of them chose the winner."""
    return f"{compressed['verdict_text']} on frames that the search did not use."


def _head(document: Document) -> Iterator[str]:
    frames = document["frames"]
    yield f"# {plain(document['model'])}: search for a recipe"
    yield (
        f"{len(document['candidates'])} candidates, budget {plain(document['budget']['text'])}, "
        f"{float(document['seconds']):.0f} s, on {plain(document['source'])}: "
        f"{_number(frames['calibration'])} frames to calibrate, {_number(frames['search'])} to compare, "
        f"{_number(frames['verification'])} to verify the winner."
    )
    if document["recipe"] is not None:
        yield f"The winner's recipe: {code(PurePath(document['recipe']).name)}."
    yield image("Drop against time of every candidate", PLOT)


def _number(count: Any) -> str:
    return "–" if count is None else str(int(count))


def _candidates(document: Document) -> Iterator[str]:
    front = document["front"]
    measured = [one for one in document["candidates"] if one["speed"] is not None and one["drop"] is not None]
    measured = [one for one in measured if one["drop"]["drop"] is not None]
    measured.sort(key=lambda one: (one["name"] not in front, -one["speed"]["ratio"]))
    yield "## Candidates measured"
    yield table(
        ("", "candidate", "drop (95 % interval)", "frames", "speed-up", "p99, ms", "size"),
        [(_place(one, document), plain(one["name"]), *_cells(one)) for one in measured],
        right_from=2,
    )
    yield (
        "Speed-up and p99 are from frame to result, interleaved with the baseline; the front has no "
        "candidate that another one equals or beats in everything. The drops chose the winner: they look "
        "better than on frames that chose nothing."
    )


def _place(candidate: Document, document: Document) -> str:
    if candidate["name"] == document["winner"]:
        return "winner"
    return "front" if candidate["name"] in document["front"] else ""


def _cells(candidate: Document) -> Sequence[str]:
    drop, speed = candidate["drop"], candidate["speed"]
    low, high = (_rounded(drop[key]) for key in ("low", "high"))
    size = candidate["size_ratio"]
    return (
        f"{_rounded(drop['drop'])} ({low} to {high})",
        str(drop["frames"]),
        f"{speed['ratio']:.2f}x",
        f"{speed['p99_ms']:.2f}",
        "–" if size is None else f"{size:.2f}",
    )


def _rounded(value: float | None) -> str:
    return "–" if value is None else str(round_to_3_digits(value))


def _losers(document: Document) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for one in document["candidates"]:
        if one["name"] != document["winner"]:
            reasons.setdefault(str(one["reason"]), []).append(str(one["name"]))
    if reasons:
        yield "## Why the others lost"
        yield "\n".join(f"- {plain(', '.join(names))}: {plain(why)}" for why, names in reasons.items())
    if document["left_out"]:
        yield "## Not tried"
        yield "\n".join(f"- {plain(what)}: {plain(why)}" for what, why in document["left_out"].items())


def _frames(document: Document) -> Iterator[str]:
    facts = document["facts"]
    if facts:
        yield "## Measured on"
        yield "\n".join(
            f"- {plain(str(key))}: {plain(str(value))}"
            for key, value in facts.items()
            if not isinstance(value, (dict, list)) or value
        )
