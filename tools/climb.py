"""Can the public part be climbed? Draws docs/images/climb.png: `python tools/climb.py`.

A team hands in 200 networks that are equally good: trained again with other seeds, or changed at random. They differ on
some images, where each is right by chance. The board's rule takes the one that did best on the public part; the final
part shows what was gained by that choice.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
IMAGES, ACCURACY = 2000, 0.80  # of each part; of every network
DIFFERENT = 0.3  # share of the images on which the networks differ
SUBMISSIONS, EVENTS = 200, 500


def event(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the board shows after each submission, and the final accuracy of the one it would take then, in percent."""
    rng = np.random.default_rng(seed)
    same, right = rng.random(2 * IMAGES) > DIFFERENT, rng.random(2 * IMAGES) < ACCURACY
    answers = np.where(same, right, rng.random((SUBMISSIONS, 2 * IMAGES)) < ACCURACY)
    public, final = 100 * answers[:, :IMAGES].mean(1), 100 * answers[:, IMAGES:].mean(1)
    best = np.array([public[: n + 1].argmax() for n in range(SUBMISSIONS)])
    return public[best], final[best]


def gains() -> dict[str, np.ndarray]:
    """Points gained over the first submission [EVENTS, SUBMISSIONS], by part."""
    shown, ended = (np.array(part) for part in zip(*map(event, range(EVENTS)), strict=True))
    return {"public part": shown - shown[:, :1], "final part": ended - ended[:, :1]}


def main() -> None:
    """Draw and print."""
    figure, axis = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    number = np.arange(1, SUBMISSIONS + 1)
    for (part, gain), style in zip(gains().items(), ("-", "--"), strict=True):
        axis.plot(number, gain.mean(0), style, label=f"{part}, mean of {EVENTS} events")
        axis.fill_between(number, *np.percentile(gain, [2.5, 97.5], axis=0), alpha=0.15)
        half = 1.96 * gain[:, -1].std(ddof=1) / np.sqrt(EVENTS)
        print(f"{part}: {gain[:, -1].mean():+.2f} points after {SUBMISSIONS} submissions (95 % interval ± {half:.2f})")
    axis.set(xlabel="submissions (logarithmic)", ylabel="gain over the first (points)", xscale="log")
    axis.axhline(0, color="0.6", lw=0.8)
    axis.legend(loc="upper left")
    figure.savefig(ROOT / "docs" / "images" / "climb.png", dpi=120)


if __name__ == "__main__":
    main()
