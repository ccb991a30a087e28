"""cifar10-sample: 600 photographs of each class of CIFAR-10 that come with the course, in one archive."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from perfteach.data.cache import DAMAGE
from perfteach.errors import DataError

if TYPE_CHECKING:
    from perfteach.data.images import ImageData

NAME = "CIFAR-10 sample (JPEG q75)"
_PACKAGE = Path(__file__).resolve().parent.parent
_FILE = Path("cifar10-sample", "cifar10-sample.tar.xz")
SAMPLE = _PACKAGE.parent / "data" / _FILE  # in a checkout
PLACES = (_PACKAGE / _FILE, SAMPLE)  # inside an installed package, or in a checkout


def load_sample() -> ImageData:
    """Read the sample: 4,500 images to train, 500 to validate and 1,000 to test, 32x32, in about a second.

    The split is fixed by the archive. Its validation images are among those that `load` sets apart from the whole of
    CIFAR-10 with seed 0, so a network that was trained on all images has not learned from them.

    Raises:
        DataError: when the archive is not there, or damaged.
    """
    import torch

    from perfteach.data.images import SPLITS, Split, assemble

    path = next((place for place in PLACES if place.is_file()), None)
    if path is None:
        raise DataError(
            f"the sample of CIFAR-10 is not here; it comes with a clone of the course as data/{_FILE.as_posix()}: "
            f"copy that file to {PLACES[0]}, or load 'synthetic10'"
        )
    found = _decoded(path)
    classes = tuple(sorted({label for _, label, _ in found}))
    splits = []
    for name in SPLITS:
        part = [(image, classes.index(label)) for split, label, image in found if split == name]
        images, labels = zip(*part, strict=True)
        pixels = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
        splits.append(Split(torch.from_numpy(pixels), torch.tensor(labels)))
    return assemble(NAME, classes, *splits, synthetic=False)


def _decoded(path: Path) -> list[tuple[str, str, npt.NDArray[np.uint8]]]:
    """Split, class and pixels uint8 [32,32,3] of every image, in the archive's order."""
    from PIL import Image

    found = []
    try:
        raw = lzma.decompress(path.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            for member in archive:
                split, label, _ = member.name.split("/")
                encoded = raw[member.offset_data : member.offset_data + member.size]
                found.append((split, label, np.asarray(Image.open(io.BytesIO(encoded), formats=("JPEG",)))))
        if len(found) != 6000:
            raise EOFError(f"it has {len(found):,} of 6,000 images")
    except DAMAGE as error:
        raise DataError(f"{path} is damaged ({error}); take it from the course's repository once more") from error
    return found
