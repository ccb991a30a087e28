"""Make data/cifar10-sample/cifar10-sample.tar.xz, the small piece of CIFAR-10 that comes with the course.

It takes the bytes of the JPEG files as they are, so that the images are exactly those of the recorded runs. Validation
images are drawn from the 5,000 that `load` sets apart with its own seed: a network that was trained on all images has
not learned from them. The seed below chooses among them, by class.

    python tools/make_sample.py cifar10-jpeg.tar.xz                write the archive
    python tools/make_sample.py cifar10-jpeg.tar.xz --check        compare it with what would be written
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np

from perfteach.data.images import _by_class
from perfteach.data.sample import SAMPLE, load_sample

SEED = 0
IMAGES = {"train": 450, "validation": 50, "test": 100}  # of each class
Chosen = dict[str, dict[str, list[str]]]  # split -> class -> names of files in the source


def choose(names: list[str]) -> Chosen:
    """The files of each split and class, of an archive's names in train/<class>/ and test/<class>/."""
    files = sorted(name for name in names if name.endswith(".jpg"))
    classes = sorted({name.split("/")[1] for name in files})
    chosen: Chosen = {split: {} for split in IMAGES}
    training = [name for name in files if name.startswith("train/")]
    labels = np.array([classes.index(name.split("/")[1]) for name in training])
    for number, rows in enumerate(_by_class(labels, len(classes), 0)):  # the order in which `divide` takes validation
        apart = round(0.1 * len(rows))
        tests = [name for name in files if name.startswith(f"test/{classes[number]}/")]
        pools = {
            "validation": [training[row] for row in rows[:apart]],
            "train": [training[row] for row in rows[apart:]],
            "test": tests,
        }
        for stream, (split, pool) in enumerate(pools.items()):
            order = np.argsort(np.random.PCG64([SEED, number, stream]).random_raw(len(pool)), kind="stable")
            chosen[split][classes[number]] = sorted(pool[k] for k in order[: IMAGES[split]])
    return chosen


def pack(source: Path) -> bytes:
    """The sample as a tar.xz: one image of each class in turn, and nothing in it that depends on the day."""
    with tarfile.open(source) as archive:
        chosen = choose(archive.getnames())
        wanted = {name for by_class in chosen.values() for names in by_class.values() for name in names}
        content = {info.name: archive.extractfile(info).read() for info in archive if info.name in wanted}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=9, format=tarfile.USTAR_FORMAT) as sample:
        for split, by_class in chosen.items():
            for row in zip(*by_class.values(), strict=True):
                for name in row:
                    info = tarfile.TarInfo(f"{split}/{name.split('/', 1)[1]}")
                    info.size, info.mode = len(content[name]), 0o644
                    sample.addfile(info, io.BytesIO(content[name]))
    return packed.getvalue()


def main() -> int:
    """Write or compare; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the sample of CIFAR-10 that comes with the course.")
    parser.add_argument("source", type=Path, help="archive of all images in train/<class>/, test/<class>/ form")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the archive differs")
    asked = parser.parse_args()
    packed = pack(asked.source)
    if asked.check:
        same = SAMPLE.is_file() and SAMPLE.read_bytes() == packed
        print("The sample is what this script makes." if same else f"{SAMPLE} differs.")
        return 0 if same else 1
    SAMPLE.parent.mkdir(parents=True, exist_ok=True)
    SAMPLE.write_bytes(packed)
    print(f"{SAMPLE}: {len(packed):,} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")
    print(f"images: {load_sample().checksum}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
