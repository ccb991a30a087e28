"""A submission: one zip of an ONNX file, the record of the run, and a few words. Packed here, and read defensively."""

from __future__ import annotations

import io
import json
import stat
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from perfteach import settings
from perfteach.errors import PerfteachError
from perfteach.runs import Run

MODEL, RECORD, ABOUT = "model.onnx", "run.jsonl", "submission.json"
MEMBERS = (MODEL, RECORD, ABOUT)
NAME, NOTE = 60, 500  # characters
_DIRECTORY = 4096  # bytes of a zip's directory; that of three members has about 200
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # would turn the rest of a line round


class SubmissionError(PerfteachError, ValueError):
    """A submission that cannot be accepted; the message says why, in a line that its team may read."""


@dataclass(frozen=True)
class Limits:
    """What a submission may cost. Sizes in bytes; `seconds` (of processor time) and `memory` are those of
    the process that runs it.

    Raises:
        ConfigError: when one is no whole number of 1 or more.
    """

    upload: int = 20_000_000
    model: int = 40_000_000
    record: int = 4_000_000
    about: int = 16_000
    parameters: int = 993_000
    seconds: int = 120
    memory: int = 2_000_000_000
    per_hour: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, settings.whole(field.name, getattr(self, field.name), 1, 1 << 50))


@dataclass(frozen=True)
class About:
    """The words beside a submission; safe to store and to show where HTML is escaped."""

    name: str
    team: str = ""
    note: str = ""

    @classmethod
    def of(cls, text: bytes | str) -> About:
        """Read the JSON of a submission.

        Raises:
            SubmissionError: it is no JSON object, has no name, or a text is too long.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SubmissionError(f"{ABOUT} is not JSON; pack it with `perfteach submit`") from error
        if not isinstance(found, dict):
            raise SubmissionError(f"{ABOUT} is not a JSON object; pack it with `perfteach submit`")
        name, team, note = (found.get(key, "") for key in ("name", "team", "note"))
        return cls(
            plain(name, "submission's name", NAME, least=1), plain(team, "team", NAME), plain(note, "note", NOTE)
        )


def plain(value: Any, key: str, longest: int, least: int = 0) -> str:
    """A text in one line, without characters that control a terminal or turn the writing round.

    Raises:
        SubmissionError: it is no text, too long, or shorter than `least`.
    """
    if not isinstance(value, str):
        raise SubmissionError(f"the {key} is not a text")
    kept = "".join(c for c in value if unicodedata.category(c) not in ("Cc", "Cs") and c not in _BIDI)
    clean = " ".join(kept.split())
    if len(clean) < least:
        raise SubmissionError(f"the {key} is empty; give one")
    if len(clean) > longest:
        raise SubmissionError(f"the {key} has {len(clean)} characters; use {longest} at most")
    return clean


def pack(model: bytes, record: bytes, about: About) -> bytes:
    """The zip of a submission."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ((ABOUT, json.dumps(vars(about)).encode()), (MODEL, model), (RECORD, record)):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # no time: same content, same bytes
    return packed.getvalue()


def pack_run(folder: Path, about: About, model: Path | None = None) -> bytes:
    """The zip of a run's folder (`run.jsonl` and `model.onnx`), or of a record and a model.

    Raises:
        SubmissionError: one of the two is missing.
        DataError: the record is none.
    """
    record = folder / RECORD if folder.is_dir() else folder
    model = model or record.with_name(MODEL)
    Run.load(record)
    if not model.is_file():
        raise SubmissionError(
            f"there is no file {str(model)!r}; `perfteach train … --onnx` or hackathon.client.export(…) writes it"
        )
    return pack(model.read_bytes(), record.read_bytes(), about)


def read(packed: bytes, limits: Limits) -> tuple[About, bytes, bytes]:
    """Read somebody else's zip in memory; nothing is written, and nothing beyond the limits is unpacked.

    Returns:
        The words, the record, and the ONNX file.

    Raises:
        SubmissionError: with the line that the board shows.
    """
    about, record, model = (_unpack(packed, limits, name) for name in (ABOUT, RECORD, MODEL))
    return About.of(about), record, model


def read_about(packed: bytes, limits: Limits) -> About:
    """Only the words, after the same checks of the zip; what the board needs at once. Raises as `read` does."""
    return About.of(_unpack(packed, limits, ABOUT))


def _unpack(packed: bytes, limits: Limits, wanted: str) -> bytes:
    largest = {ABOUT: limits.about, MODEL: limits.model, RECORD: limits.record}
    if len(packed) > limits.upload:
        raise SubmissionError(f"the zip has {_mb(len(packed))}; {_mb(limits.upload)} are allowed")
    _refuse_long_directory(packed)
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = archive.infolist()
            if sorted(member.filename for member in members) != sorted(MEMBERS):
                raise SubmissionError(f"the zip has to hold {', '.join(MEMBERS)} and nothing else")
            for member in members:
                _refuse_odd(member, largest[member.filename])
            with archive.open(wanted) as file:
                content = file.read(largest[wanted] + 1)
                if len(content) > largest[wanted] or file.read(1):
                    raise SubmissionError(f"{wanted} is larger than the zip says")
                return content
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, SubmissionError):
            raise
        raise SubmissionError(f"the file is not a whole zip ({error}); pack it with `perfteach submit`") from error


def _refuse_long_directory(packed: bytes) -> None:
    """zipfile builds an object for each member that the directory lists, so its size is read before."""
    end = packed.rfind(b"PK\x05\x06", max(0, len(packed) - 22 - 65_535))
    if end < 0 or len(packed) < end + 22:
        raise SubmissionError("the file is not a zip; pack it with `perfteach submit`")
    size = int.from_bytes(packed[end + 12 : end + 16], "little")
    if size > _DIRECTORY or b"PK\x06\x07" in packed[max(0, end - 20) : end]:  # the second marks a zip of over 4 GB
        raise SubmissionError(f"the zip has to hold {', '.join(MEMBERS)} and nothing else")


def _refuse_odd(member: zipfile.ZipInfo, largest: int) -> None:
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise SubmissionError(f"{member.filename} in the zip is a link or a folder; pack it with `perfteach submit`")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SubmissionError(f"{member.filename} in the zip is encrypted or packed in an unusual way")
    if member.file_size > largest:
        raise SubmissionError(f"{member.filename} has {_mb(member.file_size)}; {_mb(largest)} are allowed")


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
