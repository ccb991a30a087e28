"""Odd files and archives: read rightly, or refused in one line, in little memory and time."""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import load_tool
from PIL import Image
from test_data import _files, _folder, _picture, _tar, _zip

from perfteach import data
from perfteach.data import archives
from perfteach.data.cache import read_arrays
from perfteach.errors import DataError
from perfteach.runs import Run

torture = load_tool("torture")
MB = 2**20


@pytest.fixture
def load(tmp_path):
    """`data.load` with a cache folder of the test's own; what it refuses has to be one line."""

    def loader(name, **how):
        try:
            return data.load(name, cache=tmp_path / "cache", progress=False, **how)
        except DataError as error:
            assert "\n" not in str(error), str(error)
            raise

    return loader


def in_little_memory(path: Path, cache: Path) -> str:
    """What loading says in a process that may take 200 MB more than it has when everything is imported, torch aside."""
    code = (
        "import sys, resource\nfrom perfteach import data\nimport perfteach.data.folder\n"
        "from PIL import Image; Image.init()\n"
        "have = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (have + {200 * MB},) * 2)\n"
        "try: print(len(data.load(sys.argv[1], cache=sys.argv[2], progress=False).train))\n"
        "except data.DataError as error: print('DataError', error)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    return done.stdout.strip() + done.stderr.strip()


def header(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux does")
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_that_unpacks_to_gigabytes(tmp_path, kind):
    import gzip

    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header("x", 300 * MB, kind))
        for _ in range(300):
            file.write(bytes(MB))
    assert path.stat().st_size < 10 * MB
    said = in_little_memory(path, tmp_path / "cache")
    assert said.startswith("DataError") and "header of over 1 MB" in said and "\n" not in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux does")
def test_a_zip_member_that_is_longer_than_it_says(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in _files().items():
            archive.writestr(name, content)
        with archive.open("train/ant/zz.png", "w") as member:
            for _ in range(300):
                member.write(bytes(MB))
    content = path.read_bytes()
    path.write_bytes(content.replace((300 * MB).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    said = in_little_memory(path, tmp_path / "cache")
    assert said.startswith("DataError") and "\n" not in said, said


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_without_a_limit_are_refused(tmp_path, load, method):
    with zipfile.ZipFile(tmp_path / "rare.zip", "w", method) as archive:
        for name, content in _files().items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="compressed in a rare way"):
        load(tmp_path / "rare.zip")


def test_too_many_members(tmp_path, load, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 2000)
    with pytest.raises(DataError, match="over 20 members; unpack it"):
        load(_tar(tmp_path / "many.tar", _files(), "w"))
    with pytest.raises(DataError, match="cannot be read to its end"):
        load(_zip(tmp_path / "many.zip", _files()))


@pytest.mark.slow
def test_a_million_members_are_refused_in_ten_seconds(tmp_path, load):
    one = header("train/a/" + "x" * 20 + ".txt", 0, tarfile.REGTYPE)
    with (tmp_path / "many.tar").open("wb") as file:
        for _ in range(1000):
            file.write(one * 1000)
    start = time.process_time()
    with pytest.raises(DataError, match="over 150,000 members"):
        load(tmp_path / "many.tar")
    assert time.process_time() - start < 10
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("x", b"")
    content = (tmp_path / "many.zip").read_bytes()
    place = content.index(b"PK\x01\x02")
    entry, end = content[place:-22], bytearray(content[-22:])
    end[12:16] = (len(entry) * 1_000_000).to_bytes(4, "little")
    (tmp_path / "many.zip").write_bytes(content[:place] + entry * 1_000_000 + bytes(end))
    start = time.process_time()
    with pytest.raises(DataError, match="header of over 16 MB"):
        load(tmp_path / "many.zip")
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "name", [".", "./", "train/.", "train/cat/.", " ", "train//cat/x.png", "train/cat/x.png/y.png"]
)
@pytest.mark.parametrize("make", [_tar, _zip])
def test_members_with_odd_names(tmp_path, load, make, name):
    path = make(tmp_path / "odd.bin", _files() | {name: _picture(3)})
    with contextlib.suppress(DataError):
        assert len(load(path).classes) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
@pytest.mark.timeout(60)
def test_pipes_devices_and_dangling_links_are_named(tmp_path, load):
    folder = _folder(tmp_path / "pets", _files())
    os.mkfifo(folder / "train" / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"'train/cat/pipe\.png' is no plain file"):
        load(folder)
    os.replace(folder / "train" / "cat" / "pipe.png", tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", Path("/dev/zero")):
        with pytest.raises(DataError, match="neither a file nor a folder"):
            load(path)
    (folder / "train" / "cat" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"'train/cat/gone\.png' is a link to nothing"):
        load(folder)
    (folder / "train" / "cat" / "gone.png").unlink()
    (folder / "train" / "dog").symlink_to("nowhere")
    with pytest.raises(DataError, match="'train/dog' is a link to nothing"):
        load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_record_does_not_take_the_place_of_a_pipe_or_a_device(tmp_path):
    pipe = tmp_path / "run.jsonl"
    os.mkfifo(pipe)
    for place in (pipe, Path(os.devnull)):
        before = place.lstat().st_mode
        with pytest.raises(DataError, match="it is a device or a pipe, not a file"):
            Run({"name": "r"}).save(place)
        assert place.lstat().st_mode == before
    assert list(tmp_path.iterdir()) == [pipe], "and nothing is left beside it"


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_class_folders_may_be_links_but_not_in_a_circle(tmp_path, load):
    plain = load(_folder(tmp_path / "plain", _files()))
    folder = _folder(tmp_path / "pets", {k: v for k, v in _files().items() if "/ant/" not in k})
    for split in ("train", "test"):
        (folder / split / "ant").symlink_to(tmp_path / "plain" / split / "ant", target_is_directory=True)
    assert load(folder).checksum == plain.checksum
    (folder / "train" / "ant").unlink()
    (folder / "train" / "ant").symlink_to(folder / "train", target_is_directory=True)
    with pytest.raises(DataError, match="a link to a folder around it"):
        load(folder)


def test_an_empty_class_is_named(tmp_path, load):
    folder = _folder(tmp_path / "pets", _files())
    (folder / "train" / "dog").mkdir()
    with pytest.raises(DataError, match="'train/dog' has no images"):
        load(folder)
    path = _tar(tmp_path / "pets.tar", _files(), "w")
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/dog")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
    with pytest.raises(DataError, match="'train/dog' has no images"):
        load(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names themselves")
def test_names_that_are_not_utf8_or_look_like_formulas(tmp_path, load):
    odd = [b"caf\xe9", b"$a_{$", b"a<b>\n", "\u202eleft".encode(), "🙂".encode()]
    for split in (b"train", b"test"):
        for number, name in enumerate(odd):
            folder = os.path.join(os.fsencode(tmp_path), b"na\nme\xff", split, name)
            os.makedirs(folder)
            for k in range(3):
                with open(os.path.join(folder, b"%d.png" % k), "wb") as file:
                    file.write(_picture(10 * number + k))
    images = load(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"na\nme\xff")))
    assert images.classes == tuple(sorted(["caf\\xe9", "$a_{$", "a<b>\n", "\u202eleft", "🙂"]))
    assert images.name == "na\nme\\xff"
    again = load(data.pack(images, tmp_path / "packed.npz"))
    assert (again.classes, again.checksum, again.name) == (images.classes, images.checksum, images.name)


def test_photographs_that_lie_on_their_side_are_not_stretched(tmp_path, load):
    upright = Image.fromarray(np.arange(12 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3))
    lying, exif = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    files = {}
    for name, picture, how in (("a", upright, {}), ("b", lying, {"exif": exif})):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", **how)
        files[name] = buffer.getvalue()
    names = [f"{split}/{label}/{k}.png" for split in ("train", "test") for label in "xy" for k in range(3)]
    plain = load(_folder(tmp_path / "plain", dict.fromkeys(names, files["a"])))
    turned = load(_folder(tmp_path / "turned", dict.fromkeys(names, files["b"])))
    assert turned.train.images.shape[2:] == (12, 8) and turned.checksum == plain.checksum


GOOD = {
    "name": "x", "classes": np.array(["a", "b"]), "synthetic": False,
    **{f"{split}_images": np.zeros((4, 3, 8, 8), np.uint8) for split in data.SPLITS},
    **{f"{split}_labels": np.array([0, 1, 0, 1]) for split in data.SPLITS},
}  # fmt: skip
BAD = {
    "floats": {"train_images": np.zeros((4, 3, 8, 8), np.float32)},
    "grey": {"test_images": np.zeros((4, 1, 8, 8), np.uint8)},
    "flat": {"train_images": np.zeros((4, 192), np.uint8)},
    "sizes": {"test_images": np.zeros((4, 3, 9, 8), np.uint8)},
    "empty": {"validation_images": np.zeros((0, 3, 8, 8), np.uint8), "validation_labels": np.zeros(0, np.int64)},
    "no pixels": {f"{split}_images": np.zeros((4, 3, 0, 8), np.uint8) for split in data.SPLITS},
    "too few labels": {"train_labels": np.array([0, 1])},
    "labels too high": {"test_labels": np.array([0, 1, 0, 2])},
    "labels negative": {"test_labels": np.array([0, 1, 0, -1])},
    "labels of halves": {"train_labels": np.array([0, 1, 0.5, 1])},
    "huge labels": {"train_labels": np.array([0, 1, 2**63, 1], np.uint64)},
    "one class": {"classes": np.array(["a"])},
    "twice": {"classes": np.array(["a", "a"])},
    "classes no list": {"classes": np.array("ab")},
    "name no text": {"name": np.array([1, 2])},
    "synthetic no truth": {"synthetic": np.array("yes")},
    "objects": {"name": np.array([{}], dtype=object)},
}


def test_a_packed_file_made_by_hand_is_read(tmp_path, load):
    np.savez(tmp_path / "hand.npz", **GOOD)
    assert load(tmp_path / "hand.npz").name == "x"
    np.savez_compressed(tmp_path / "small.npz", **GOOD | {"train_labels": np.array([0, 1, 0, 1], np.uint8)})
    assert load(tmp_path / "small.npz").checksum == load(tmp_path / "hand.npz").checksum


@pytest.mark.parametrize("what", BAD)
def test_a_packed_file_with_wrong_contents_is_refused(tmp_path, load, what):
    np.savez(tmp_path / "bad.npz", **GOOD | BAD[what])
    with pytest.raises(DataError, match=r"bad\.npz is not a"):
        load(tmp_path / "bad.npz")


def test_an_npz_that_claims_more_than_it_has(tmp_path, load):
    np.savez(tmp_path / "claims.npz", **GOOD)
    content = (tmp_path / "claims.npz").read_bytes()
    assert b"(4, 3, 8, 8), }" in content
    (tmp_path / "claims.npz").write_bytes(content.replace(b"(4, 3, 8, 8), }      ", b"(9999999, 3, 800, 8)}"))
    with pytest.raises(DataError, match="not a whole file"):
        load(tmp_path / "claims.npz")


def test_no_flipped_bit_of_a_cached_array_is_served(tmp_path, load):
    folder, draw = _folder(tmp_path / "pets", _files()), random.Random(0)
    first = load(folder)
    (kept,) = (tmp_path / "cache").glob("images-*.npz")
    for number in range(60):
        torture.flipped(kept, draw)
        with pytest.raises(DataError, match=r"checksum differs|not a whole file"):
            read_arrays(kept, ["classes"])
        if number % 10 == 0:
            assert load(folder).checksum == first.checksum, "it is made again"
        else:
            kept.write_bytes(kept.read_bytes())
            load(folder)


@pytest.mark.skipif(os.name == "nt", reason="there are no such limits")
def test_a_limit_on_file_sizes_is_one_line(tmp_path):
    said = load_tool("torture_disk").in_a_child(lambda: _limited(tmp_path))
    assert said.startswith("DataError") and "cannot be written" in said and "\n" not in said
    assert not list(tmp_path.glob("*.partial"))


def _limited(place: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    data.pack(torture.images(), place / "x.npz")
