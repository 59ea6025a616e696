# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labeled classes: a folder for each, csv files, names, ids and label maps; the accuracy counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.analysis.accuracy import create_accuracy
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.data.bad_frames import BadFrame
from ad_compressed_perception.data.labeled.classes import ClassData, GroundTruthClass
from ad_compressed_perception.data.labeled.label_map import ClassTable, LabelMap

LABELS = ["red", "amber light", "green"]


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def folders(root: Path, **images: int) -> Path:
    for name, count in images.items():
        for index in range(count):
            write_image(root / name / f"{index}.png")
    return root


def classes_of(data: ClassData) -> list[str]:
    """Return the class of each image, by what reading it gives."""
    items = list(data.items(range(len(data))))
    return [data.class_names[item.ground_truth.index] for item in items]


def refused(*arguments: Any) -> str:
    with pytest.raises(DataError) as error:
        ClassData(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    """Names match without case, spaces and underscores; what is no image or no class does not count."""
    folders(tmp_path, Red=2, amber_light=1, green=3)
    (tmp_path / "green" / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    data = ClassData(tmp_path, None, LABELS)
    assert sorted(classes_of(data)) == ["amber light", "green", "green", "green", "red", "red"]
    assert data.class_names == tuple(LABELS)
    assert data.ignored_files == ["green/notes.txt"]


def test_a_csv_file_with_names_relative_to_itself_to_images_or_to_a_folder(tmp_path: Path) -> None:
    folders(tmp_path / "a", images=1, other=1)
    (tmp_path / "a" / "labels.csv").write_text("\ufefffile, label\n0.png,red\nother/0.png,green\n", "utf-8")
    assert classes_of(ClassData(tmp_path / "a", None, LABELS)) == ["red", "green"]
    assert classes_of(ClassData(tmp_path / "a" / "labels.csv", None, LABELS)) == ["red", "green"]
    table = tmp_path / "b.csv"
    table.write_text("label,file\namber light,0.png\n")
    assert classes_of(ClassData(table, str(tmp_path / "a" / "other"), LABELS)) == ["amber light"]


def test_classes_that_are_numbers_are_ids_and_a_note_names_that(tmp_path: Path) -> None:
    """As in GTSRB; names that happen to be numbers are names where the model has them."""
    folders(tmp_path / "ids", **{"00000": 1, "00002": 1})
    data = ClassData(tmp_path / "ids", None, LABELS)
    assert classes_of(data) == ["red", "green"]
    assert "taken as the ids" in data.notes[0]
    folders(tmp_path / "names", **{"30": 1})
    data = ClassData(tmp_path / "names", None, ["80", "30"])
    assert (classes_of(data), data.notes) == (["30"], [])


def test_a_label_map_joins_other_names_and_leaves_classes_out(tmp_path: Path) -> None:
    folders(tmp_path, stop=2, go=1, unknown=3)
    chosen = LabelMap.model_validate(
        {
            "classes": {
                "stop": {"labels": ["red", "amber light"]},
                "drive": {"labels": ["green"], "categories": ["go"]},
            }
        }
    )
    data = ClassData(tmp_path, None, LABELS, chosen)
    assert sorted(classes_of(data)) == ["drive", "stop", "stop"]
    assert "3 images of classes that are not evaluated were left out: unknown" in data.notes[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,class\n0.png,red\n", "has no column label; it has: file, class"),
        ("file,label\n", "holds no labels"),
        ("file,label\n0.png\n", "line 2: expected a file and its label"),
        ("file,label\n0.png,red\n0.png,green\n", "names 0.png more than once"),
        ("file,label\n0.png,blue\n", "the model has no label blue; it has red, amber light, green"),
        ("file,label\n0.png,3\n", "the model has no label 3"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    write_image(tmp_path / "0.png")
    table = tmp_path / "labels.csv"
    table.write_text(text)
    assert named in refused(table, None, LABELS)


def test_a_wrong_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    folders(tmp_path / "flat", images=0)
    write_image(tmp_path / "flat" / "0.png")
    assert "a folder of images for each class (ROOT/CLASS/*.jpg)" in refused(tmp_path / "flat", None, LABELS)
    folders(tmp_path / "more", red=1, blue=1, violet=1)
    assert "no label blue, violet; it has red" in refused(tmp_path / "more", None, LABELS)
    folders(tmp_path / "good", red=1)
    assert "the labels are a csv file" in refused(tmp_path / "good", str(tmp_path), LABELS)


def test_an_image_that_is_missing_or_broken_is_a_bad_frame(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    (tmp_path / "labels.csv").write_text("file,label\n0.png,red\n1.png,red\n2.png,green\n")
    found = list(ClassData(tmp_path, None, LABELS).read([0, 1, 2]))
    assert [isinstance(one, BadFrame) for one in found] == [False, True, True]


def found_as(label: int | None, labels: int) -> Classification:
    ranked = np.array([] if label is None else [label], np.int64)
    return Classification(np.zeros(labels, np.float32), ranked, tuple(map(str, range(labels))))


def test_accuracy_recall_and_confusion_counted_by_hand(tmp_path: Path) -> None:
    """Red: 3 of 4 right, green: 1 of 2; a red one is found as green, a green one as nothing; no amber."""
    folders(tmp_path, red=4, green=2)
    score = create_accuracy(ClassData(tmp_path, None, LABELS))
    for true_class, found in [(0, 0), (0, 0), (0, 0), (0, 2), (2, 2), (2, None)]:
        score.add(found_as(found, 3), GroundTruthClass(true_class))
    score.finish()
    accuracy, mean_recall = score.figures()
    assert accuracy == pytest.approx(4 / 6)
    assert mean_recall == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert score.per_class() == {
        "red": {"recall": 0.75, "precision": 1.0, "frames": 4},
        "green": {"recall": 0.5, "precision": 0.5, "frames": 2},
    }
    assert score.confusion() == {"red": {"red": 3, "green": 1}, "green": {"green": 1, "(no label)": 1}}
    # Better than it looks: always red has four of six, too.
    assert score.notes() == ["Always saying the most frequent class would give an accuracy of 0.6667."]
    assert score.of_nothing() == {"accuracy": pytest.approx(4 / 6), "mean_recall": 0.5}
    assert score.figures(np.array([0, 0, 3]))[0] == pytest.approx(2 / 3)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 2))), min_size=1, max_size=40)
)
def test_figures_are_those_of_a_loop(pairs: list[tuple[int, int | None]]) -> None:
    data = object.__new__(ClassData)
    data.classes = ClassTable(tuple(LABELS), np.arange(3))
    score = create_accuracy(data)
    for true_class, found in pairs:
        score.add(found_as(found, 3), GroundTruthClass(true_class))
    score.finish()
    right = [true_class == found for true_class, found in pairs]
    recalls = [
        np.mean([ok for ok, (true_class, _) in zip(right, pairs, strict=True) if true_class == one])
        for one in {true_class for true_class, _ in pairs}
    ]
    assert score.figures() == pytest.approx((np.mean(right), np.mean(recalls)))
