"""synthetic10: ten classes of shapes drawn by the package itself, 32x32 colour, the same bytes on every machine.

All arithmetic is on integers and every random number comes from numpy's PCG64 raw stream, which numpy keeps
stable between versions (unlike `Generator.integers`). Nothing depends on the rounding of a maths library.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

SIDE = 32
STREAMS = {"train": 0, "test": 1}

_BLOCK = 500  # images drawn at a time; each block has its own stream, so the first never depend on the count
_PIXEL = 64  # coordinates are integers, 64 to a pixel
_UNIT = 256  # in a shape's own coordinates its radius is 256
_TURN = 256  # angles in a full turn
_COS = np.array([round(4096 * math.cos(2 * math.pi * k / _TURN)) for k in range(_TURN)], dtype=np.int32)
_SIN = np.roll(_COS, _TURN // 4)  # sin(a) = cos(a - quarter turn)
# Outward normals (length 256) of a star's five lines and a triangle's three sides.
_STAR = ((0, 256), (-243, 79), (-150, -207), (150, -207), (243, 79))
_TRIANGLE = ((0, 256), (-222, -128), (222, -128))


class _Stream:
    """Integers drawn from a PCG64 raw stream."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def ints(self, low: int, high: int, *shape: int) -> Ints:
        """Integers in [low, high)."""
        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(16)
        return (raw % np.uint64(high - low)).astype(np.int32).reshape(shape) + np.int32(low)

    def noise(self, *shape: int) -> Ints:
        """Triangular noise in [-255, 255], the difference of two bytes."""
        count = math.prod(shape)
        octets = self._bits.random_raw(-(-count // 4)).astype("<u8").view(np.uint8)[: 2 * count].astype(np.int32)
        return (octets[:count] - octets[count:]).reshape(shape)


def _inside(u: Ints, v: Ints, normals: tuple[tuple[int, int], ...], distance: int) -> Ints:
    """In how many of the half-planes at `distance` from the centre each point lies."""
    return np.sum([(a * u + b * v <= distance * _UNIT) for a, b in normals], axis=0, dtype=np.int32)


def _box(u: Ints, v: Ints, half: int) -> Mask:
    return np.maximum(np.abs(u), np.abs(v)) <= half


# What takes shape coordinates u, v [n,64,64] and a thickness t in [0, 60) [n,1,1], and says which points are inside.
_SHAPES: dict[str, Callable[[Ints, Ints, Ints], Mask]] = {
    "checker": lambda u, v, t: (
        _box(u, v, 240) & ((((u + 240) // (100 + t // 4)) + ((v + 240) // (100 + t // 4))) % 2 == 0)
    ),
    "crescent": lambda u, v, t: (u * u + v * v <= 240 * 240) & ((u - 90 - t) ** 2 + v * v > 200 * 200),
    "cross": lambda u, v, t: _box(u, v, 240) & (np.minimum(np.abs(u), np.abs(v)) <= 55 + t // 2),
    "disc": lambda u, v, t: u * u + v * v <= (190 + t) ** 2,
    "dots": lambda u, v, t: (np.abs(u) - 150) ** 2 + v * v <= (85 + t // 2) ** 2,
    "ring": lambda u, v, t: (u * u + v * v <= 235 * 235) & (u * u + v * v > (90 + t) ** 2),
    "square": lambda u, v, t: _box(u, v, 180),
    "star": lambda u, v, t: _inside(u, v, _STAR, 92) >= 4,
    "stripes": lambda u, v, t: _box(u, v, 240) & (((v + 240) // (80 + t // 4)) % 2 == 0),
    "triangle": lambda u, v, t: _inside(u, v, _TRIANGLE, 120) == 3,
}
CLASSES = tuple(_SHAPES)


def _local(axis: Ints, x: Ints, y: Ints, angle: Ints, ru: Ints, rv: Ints) -> tuple[Ints, Ints]:
    """Pixels in the frame of a shape at (x, y), turned by `angle`, with radii ru and rv: two [n,S,S]."""
    cos, sin = _COS[angle % _TURN], _SIN[angle % _TURN]
    dx = axis[None, None, :] - x[:, None, None]
    dy = axis[None, :, None] - y[:, None, None]

    def along(a: Ints, b: Ints, radius: Ints) -> Ints:
        a, b = a * _UNIT // radius, b * _UNIT // radius
        return (dx * a[:, None, None] + dy * b[:, None, None]) >> 12

    return along(cos, sin, ru), along(-sin, cos, rv)


def _masks(stream: _Stream, labels: npt.NDArray[np.int64]) -> Ints:
    """Coverage of each pixel by its image's shape, 0 to 4 (drawn at twice the resolution): [n,32,32]."""
    n = len(labels)
    fine = (2 * np.arange(2 * SIDE, dtype=np.int32) + 1) * (_PIXEL // 4)
    x, y = stream.ints(12 * _PIXEL, 20 * _PIXEL, 2, n)
    radius = stream.ints(8 * _PIXEL, 14 * _PIXEL, n)
    stretch = stream.ints(48, 65, 2, n)
    angle = stream.ints(-_TURN // 10, _TURN // 10 + 1, n)
    thickness = stream.ints(0, 60, n, 1, 1)
    u, v = _local(fine, x, y, angle, radius * stretch[0] // 64, radius * stretch[1] // 64)
    covered = np.zeros((n, 2 * SIDE, 2 * SIDE), dtype=np.int32)
    for label, shape in enumerate(_SHAPES.values()):
        chosen = labels == label
        covered[chosen] = shape(u[chosen], v[chosen], thickness[chosen])
    return covered.reshape(n, SIDE, 2, SIDE, 2).sum(axis=(2, 4), dtype=np.int32)


def _background(stream: _Stream, n: int) -> tuple[Ints, Ints]:
    """A colour gradient in a random direction [n,3,32,32], and its mean colour [n,3]."""
    axis = 2 * np.arange(SIDE, dtype=np.int32) - (SIDE - 1)
    angle = stream.ints(0, _TURN, n)
    slope = axis[None, None, :] * _COS[angle][:, None, None] + axis[None, :, None] * _SIN[angle][:, None, None]
    middle = stream.ints(20, 140, n, 3)
    change = stream.ints(-50, 51, n, 3)
    return middle[:, :, None, None] + ((change[:, :, None, None] * (slope >> 7)[:, None]) >> 10), middle


def _clutter(stream: _Stream, image: Ints) -> None:
    """Draw one bar or blob over each image, in place."""
    n = len(image)
    axis = (2 * np.arange(SIDE, dtype=np.int32) + 1) * (_PIXEL // 2)
    x, y = stream.ints(0, SIDE * _PIXEL, 2, n)
    long, short = stream.ints(2 * _PIXEL, 12 * _PIXEL, n), stream.ints(_PIXEL // 2, 2 * _PIXEL, n)
    u, v = _local(axis, x, y, stream.ints(0, _TURN, n), long, short)
    blob = np.where(stream.ints(0, 2, n, 1, 1) == 0, u * u + v * v <= _UNIT * _UNIT, _box(u, v, _UNIT))
    colour = stream.ints(10, 170, n, 3, 1, 1)
    np.copyto(image, np.broadcast_to(colour, image.shape), where=blob[:, None])


def _block(seed: int, stream_number: int, block: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    stream = _Stream(seed, stream_number, block)
    labels = np.arange(_BLOCK, dtype=np.int64) % len(CLASSES)
    image, middle = _background(stream, _BLOCK)
    image = np.ascontiguousarray(image, dtype=np.int32)
    for _ in range(2):
        _clutter(stream, image)
    cover = _masks(stream, labels)[:, None]
    # Lighter than the background's mean colour, sometimes only a little.
    colour = (middle + stream.ints(30, 115, _BLOCK, 1) + stream.ints(-25, 26, _BLOCK, 3))[:, :, None, None]
    image = (image * (4 - cover) + colour * cover) >> 2
    _clutter(stream, image)
    strength = stream.ints(10, 44, _BLOCK, 1, 1, 1)
    image = image + (stream.noise(*image.shape) * strength >> 8)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def draw(count: int, *, seed: int = 0, stream: str = "train") -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw the first `count` images of a stream; the same first images whatever the count.

    Args:
        count: number of images, 0 or more. Labels go round the ten classes in order, so every ten images are
            balanced.
        seed: seed of the drawing, 0 or more.
        stream: "train" or "test"; the two share no random numbers.

    Returns:
        Images uint8 [count,3,32,32] and labels int64 [count], indices into `CLASSES`.
    """
    blocks = [_block(seed, STREAMS[stream], k) for k in range(-(-count // _BLOCK))]
    if not blocks:
        return np.zeros((0, 3, SIDE, SIDE), np.uint8), np.zeros(0, np.int64)
    images, labels = zip(*blocks, strict=True)
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]
