"""The organiser's folder: the hidden images, the settings, and the participants' pack.

event.json        title, classes, limits, where the hidden images come from; secret
hidden/           images, labels, and which of them are of the public part; secret
board.sqlite      teams and submissions; secret
pack/, pack.zip   what the participants get
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfteach import settings
from perfteach.errors import ConfigError, DataError
from perfteach.hackathon.submission import Limits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from perfteach.data import ImageData

SETTINGS = "event.json"
HIDDEN = 4000  # images at most; half of them are the public part
OWN_TEST = 0.1  # of the training images: what the participants test on themselves


@dataclass(frozen=True)
class Event:
    """A hackathon as its folder describes it.

    `checksum` is that of the images that the participants have, `own_tests` how many of them their records test on.
    """

    folder: Path
    title: str
    data: str
    classes: tuple[str, ...]
    checksum: str
    hidden: str
    limits: Limits
    own_tests: int = 0

    @classmethod
    def load(cls, folder: Path) -> Event:
        """Read the folder that `create` made.

        Raises:
            ConfigError: it is no such folder.
        """
        folder = settings.path("folder", folder)
        try:
            found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            limits = Limits(**found.pop("limits"))
            return cls(folder, classes=tuple(found.pop("classes")), limits=limits, **found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"{str(folder)!r} is not a hackathon's folder ({error}); make one with `perfteach hackathon init`"
            raise ConfigError(reason) from error

    @property
    def images_path(self) -> Path:
        """The hidden images, uint8 [N, 3, H, W]."""
        return (self.folder / "hidden" / "images.npy").resolve()

    @property
    def pack_path(self) -> Path:
        """The participants' pack."""
        return self.folder / "pack.zip"

    @property
    def database(self) -> str:
        """The address of the database in the folder, as SQLAlchemy writes it."""
        return f"sqlite:///{(self.folder / 'board.sqlite').resolve()}"

    def labels(self) -> list[int]:
        """The labels of the hidden images."""
        return self._array("labels")

    def public(self) -> list[bool]:
        """Which hidden images are of the public part; the others are the final part."""
        return self._array("public")

    def _array(self, name: str) -> list[Any]:
        import numpy as np

        found: list[Any] = np.load(self.folder / "hidden" / f"{name}.npy").tolist()
        return found


def create(
    folder: Path,
    source: str = "synthetic10",
    *,
    title: str = "Hackathon",
    label: str | None = None,
    hidden: int = HIDDEN,
    limits: Limits | None = None,
    progress: bool = True,
) -> Event:
    """Make the organiser's folder and the participants' pack.

    Args:
        folder: where; new or empty.
        source: "synthetic10" (the hidden images are drawn from a secret seed, so nobody has ever seen them), the path
            of an image folder or archive (its test images are hidden), or "cifar10" (whose test images are public).
        title: the event's name.
        label: what to call images read from a path.
        hidden: hidden images at most, half of them public part, half final part.
        limits: what a submission may cost; by default those of `Limits`.
        progress: show progress bars.

    Raises:
        ConfigError: the folder is not empty, or there would be fewer than two hidden images a class.
        DataError: the images cannot be read, or the folder cannot be written.
    """
    from perfteach import data

    folder, title, hidden = _free(folder), settings.text("title", title), settings.whole("hidden", hidden, 1)
    settings.a((Limits, type(None)), "limits", limits, "Limits(…)")
    whole = data.load(source, label=label, progress=progress)
    images, labels, origin = _hidden_images(whole, source, hidden)
    if len(labels) < 2 * len(whole.classes):
        raise ConfigError(f"{len(labels)} hidden images are too few for {len(whole.classes)} classes")
    pack = _for_participants(whole)
    event = Event(
        folder, title, whole.title(), whole.classes, pack.checksum, origin, limits or Limits(), len(pack.test)
    )
    try:
        _write(event, images, labels, pack)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # so that the same command can be given again
        if not isinstance(error, OSError):
            raise
        raise DataError(f"the event cannot be written to {str(folder)!r} ({error}); name another folder") from error
    return event


def _free(folder: Path) -> Path:
    folder = settings.path("folder", folder)
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{str(folder)!r} is no folder that can be read ({error.strerror}); name another") from error
    if taken:
        raise ConfigError(f"{str(folder)!r} is not empty; name a new folder, so that no event is overwritten")
    return folder


def _write(event: Event, images: npt.NDArray[Any], labels: npt.NDArray[Any], pack: ImageData) -> None:
    event.folder.mkdir(parents=True, exist_ok=True)
    event.folder.chmod(0o700)
    _write_hidden(event.folder / "hidden", images, labels)
    _write_pack(event, pack)
    shown = {key: value for key, value in vars(event).items() if key not in ("folder", "limits")}
    text = json.dumps(shown | {"limits": asdict(event.limits)}, indent=2) + "\n"
    (event.folder / SETTINGS).write_text(text, encoding="utf-8")


def _hidden_images(whole: ImageData, source: str, most: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], str]:
    if source == "synthetic10":
        from perfteach.data import synthetic

        images, labels = synthetic.draw(most, seed=secrets.randbits(62) + 1, stream="test")
        return images, labels, "drawn from a secret seed that was not kept"
    test = whole.test if len(whole.test) <= most else whole.subset(len(whole.train), test=most).test
    return test.images.numpy(), test.labels.numpy(), f"the test images of {whole.name}"


def _for_participants(whole: ImageData) -> ImageData:
    """Training and validation images as they are, and as test images some of the training images."""
    from perfteach.data.images import assemble, divide

    rest, test = divide(whole.train, whole.classes, OWN_TEST, seed=1)
    return assemble(whole.name, whole.classes, rest, whole.validation, test, synthetic=whole.synthetic)


def _write_hidden(place: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    """In an order that nobody knows, and every second image of each class in the public part."""
    import numpy as np

    rng = np.random.default_rng(secrets.randbits(128))
    order = rng.permutation(len(labels))
    images, labels = images[order], labels[order]
    public = np.zeros(len(labels), bool)
    for number in np.unique(labels):
        public[np.flatnonzero(labels == number)[::2]] = True
    place.mkdir(mode=0o700)
    for name, array in (("images", images), ("labels", labels), ("public", public)):
        np.save(place / f"{name}.npy", array)


def _write_pack(event: Event, images: ImageData) -> None:
    from perfteach import data

    place = event.folder / "pack"
    place.mkdir()
    data.pack(images, place / "images.npz")
    kit = files("perfteach.hackathon") / "kit"
    words = {"TITLE": event.title, "DATA": event.data, "CLASSES": ", ".join(event.classes)}
    limits = event.limits
    words |= {"PARAMETERS": f"{limits.parameters:,}", "PER_HOUR": str(limits.per_hour), "SECONDS": str(limits.seconds)}
    words |= {"MEGABYTES": f"{limits.upload / 1e6:g}", "GIGABYTES": f"{limits.memory / 1e9:g}"}
    rules = (kit / "RULES.md").read_text(encoding="utf-8")
    for name, value in words.items():
        rules = rules.replace(f"@{name}@", value)
    (place / "RULES.md").write_text(rules, encoding="utf-8")
    (place / "baseline.ipynb").write_bytes((kit / "baseline.ipynb").read_bytes())
    shutil.make_archive(str(event.pack_path.with_suffix("")), "zip", place)
