# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC: an XML file an image, in Annotations/, the images in JPEGImages/ (or images/).

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf. Its boxes count pixels from 1 and hold
the last one: left = xmin - 1, right = xmax. Tools that use the format otherwise count from 0 and differ by
one pixel; files of a folder VOC... are taken as the former, all others as the latter. Objects that are
difficult are ignored, as in its evaluation.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.data.frames import list_images
from ad_compressed_perception.data.labeled.box_labels import (
    BoxLabels,
    LabeledBox,
    LabeledImage,
    file_of,
    is_set,
    names_of,
    unique_stems,
)

FOLDERS = ("Annotations", "annotations")
_IMAGE_FOLDERS = ("JPEGImages", "images")
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def xml_folder(folder: Path) -> Path | None:
    """Return where the XML files of a data set are; None where there are none."""
    for place in (folder, *(folder / name for name in FOLDERS)):
        if place.is_dir() and any(_xml_files(place)):
            return place
    return None


def _xml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.xml") if not path.name.startswith("."))


def read_voc(labels: Path, frames: str | None) -> BoxLabels:
    """Return the labels of a folder of VOC files.

    Args:
        labels: folder of the XML files, or the one that holds Annotations/.
        frames: folder of the images.

    Raises:
        DataError: a file is malformed; the message names it.
    """
    folder = xml_folder(labels)
    if folder is None:
        raise DataError(f"{labels} holds no XML files of Pascal VOC")
    root = folder.parent if folder.name in FOLDERS else folder
    beside = (root / name for name in _IMAGE_FOLDERS)
    images = Path(frames).expanduser() if frames else next((each for each in beside if each.is_dir()), root)
    files = list_images(images)
    stems = {path.stem: path for path in reversed(files)}
    listed = [_read_image(path, images, stems) for path in _xml_files(folder)]
    absent = len(set(files) - {image.path for image in listed})
    notes = [f"{absent} images without an XML file were left out."] if absent else []
    return BoxLabels(labels, listed, names_of(listed), notes=notes)


def _read_image(path: Path, images: Path, stems: dict[str, Path]) -> LabeledImage:
    try:
        content = path.read_bytes()
        plain = content.replace(b"\0", b"")  # UTF-16
        if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
            raise DataError(f"{path} declares a document type or entities, which labels do not need")
        root = ElementTree.fromstring(content)
    except OSError as cause:
        raise DataError(f"cannot read {path}: {cause.strerror or cause}") from cause
    except ElementTree.ParseError as cause:
        raise DataError(f"{path} is no XML file: {cause}") from cause
    if root.tag != "annotation":
        raise DataError(f"{path} is no file of Pascal VOC: its top level is {root.tag!r}")
    first = 1.0 if (root.findtext("folder") or "").startswith("VOC") else 0.0
    boxes = [_read_box(path, one, first) for one in root.findall("object")]
    width, height = root.findtext("size/width"), root.findtext("size/height")
    name = (root.findtext("filename") or "").strip()
    # Tools leave out the suffix, or write a path of another computer.
    file = stems.get(path.stem) or file_of(images, name or path.stem)
    return LabeledImage(file, boxes, width=_size(width), height=_size(height))


def _size(text: str | None) -> int | None:
    """Return a size; None where the tool wrote none or zero."""
    return int(text) or None if text is not None and text.strip().isdecimal() else None


def _read_box(path: Path, one: ElementTree.Element, first: float) -> LabeledBox:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path} has an object without a name")
    try:
        edges = [float(one.findtext(f"bndbox/{key}") or "") for key in _EDGES]
    except ValueError:
        raise DataError(f"{path}: object {name!r} has no bndbox of {', '.join(_EDGES)}") from None
    if not all(map(math.isfinite, edges)):
        raise DataError(f"{path}: object {name!r} has a box that is not finite")
    is_difficult = is_set(one.findtext("difficult"))
    box = (edges[0] - first, edges[1] - first, edges[2], edges[3])
    try:
        score = None if one.find("score") is None else float(one.findtext("score") or "")
    except ValueError:
        raise DataError(f"{path}: object {name!r} has a score that is no number") from None
    return LabeledBox(box, name, is_ignored=is_difficult, score=score)


def write_voc(folder: Path, name: str, labels: BoxLabels) -> Path:
    """Write boxes, with their scores, as FOLDER/NAME/*.xml with pixels from 0; return the folder."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    for stem, image in zip(unique_stems(labels, "voc"), labels.images, strict=True):
        root = ElementTree.Element("annotation")
        _add(root, "filename", image.path.name)
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
            _add(size, key, str(value or 0))
        for box in image.boxes:
            _add_object(root, box)
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(target / f"{stem}.xml", encoding="utf-8")
    return target


def _add_object(root: ElementTree.Element, box: LabeledBox) -> None:
    one = ElementTree.SubElement(root, "object")
    _add(one, "name", box.category)
    _add(one, "difficult", str(int(box.is_ignored)))
    if box.score is not None:
        _add(one, "score", f"{box.score:.9g}")
    edges = ElementTree.SubElement(one, "bndbox")
    for key, value in zip(_EDGES, box.box_xyxy, strict=True):
        _add(edges, key, f"{value:.9g}")


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text
