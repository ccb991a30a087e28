// The parts of the widgets' JavaScript that compute: run with `node --test tests/view.test.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { advance, describe, facts } from "../perfteach/widgets/explorer.mjs";
import { clock } from "../perfteach/widgets/game.mjs";
import { arrowTip, zeroLine } from "../perfteach/widgets/lab.mjs";
import { progressWords } from "../perfteach/widgets/monitor.mjs";
import { border, inside } from "../perfteach/widgets/plane.mjs";
import { bandAt, bestSoFar, layerName, mean, scoredAt, scoresOf } from "../perfteach/widgets/run.mjs";
import { css, floats, line, next, number, ofError, scale, ticks, unpack, viridis } from "../perfteach/widgets/shared.mjs";

const column = (value) => Array.from({ length: 9 }, (_, k) => value - k);
const run = {
  layers: ["0", "2"],
  words: ["hidden layer", "output layer"],
  bands: [
    { first: 1, last: 4, what: "Neuron phase.", began: "The first.", ends: "Then a switch." },
    { first: 5, last: 6, what: "Dendrite phase.", began: "After 4.", ends: "Then another." },
    { first: 7, last: 9, what: "Neuron phase.", began: "After 6.", ends: "" },
  ],
  starts: [5, 7],
  scored: [5, 6],
  scores: Float32Array.of(0.1, 0.2, 0.3, NaN),
  columns: {
    train_error: column(30), validation_error: column(40), train_loss: column(3), validation_loss: column(4),
    lr: Array(9).fill(0.0123456), seconds: Array(9).fill(1.5), parameters: Array(9).fill(1234567),
  },
};

test("numbers are rounded, signed with a true minus, and missing ones are a dash", () => {
  assert.equal(number(-1.005, 1), "−1.0");
  assert.equal(number(null), "–");
  assert.equal(number(NaN), "–");
});

test("ticks are round, within the limits and never too many", () => {
  assert.deepEqual(ticks(0, 100, 5), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(ticks(0.013, 0.031, 4), [0.015, 0.02, 0.025, 0.03]);
  for (const [low, high] of [[-3, 7], [1, 600], [33.2, 33.9], [0, 1e-4]]) {
    const found = ticks(low, high, 6);
    assert.ok(found.length >= 2 && found.length <= 8 && found[0] >= low && found.at(-1) <= high, `${found}`);
  }
  assert.deepEqual(ticks(5, 5), [5]);
});

test("a scale goes there and back", () => {
  const at = scale([0, 10], [100, 300]);
  assert.equal(at(5), 200);
  assert.equal(at.invert(200), 5);
  assert.equal(scale([3, 3], [0, 1])(3), 0);
});

test("the next switch lands on the new phase and goes round", () => {
  assert.deepEqual([1, 5, 6, 7, 9].map((now) => next(run.starts, now)), [5, 7, 7, 5, 5]);
  assert.equal(next([], 3), 3);
});

test("a line is broken where a value is missing", () => {
  assert.equal(line([[0, 1], [1, null], [2, 3], [3, 4]]), "M0.0 1.0M2.0 3.0L3.0 4.0");
});

test("every epoch belongs to a phase, and the newest scores are found", () => {
  assert.deepEqual([1, 4, 5, 6, 7, 9].map((epoch) => bandAt(run, epoch).first), [1, 1, 5, 5, 7, 7]);
  assert.deepEqual([1, 4, 5, 6, 9].map((epoch) => scoredAt(run, epoch)), [-1, -1, 0, 1, 1]);
  assert.deepEqual(scoresOf(run, 0).map((value) => Number(value.toFixed(3))), [0.1, 0.2]);
  assert.deepEqual(scoresOf(run, -1), []);
  assert.equal(mean([1, NaN, 3]), 2);
  assert.equal(mean([]), null);
});

test("the lowest error so far is found from the first epoch on", () => {
  assert.deepEqual(bestSoFar([3, 2, 5, 1, 4]), [0, 1, 1, 3, 3]);
  assert.deepEqual(bestSoFar([null, 2, 3]), [0, 1, 1]);
});

test("an epoch in words names its numbers, and the switch only where it comes", () => {
  assert.match(describe(run, 3), /^Epoch 3 of 9\. Neuron phase\. Validation error 38\.00 %, training error 28\.00 %\. The first\.$/);
  assert.match(describe(run, 4), /Then a switch\.$/);
  assert.match(describe(run, 5), /Mean \|r\| is 0\.1500; the highest is 0\.2000, in output layer \(2\)\./);
  const found = facts(run, 6);
  assert.equal(found["mean |r|"], "0.3000");
  assert.equal(found["learning rate"], "0.012");
  assert.equal(found.parameters, "1,234,567");
  assert.equal(facts(run, 1)["mean |r|"], "–");
  assert.equal(layerName({ layers: ["a.b"], words: ["a.b"] }, 0), "a.b");
});

test("playing 600 epochs in 20 seconds takes 20 seconds, and rests where a phase begins", () => {
  const long = { columns: { train_error: Array(600) }, starts: [301] };
  let [place, seconds, rests] = [1, 0, 0];
  while (place < 600) {
    const found = advance(long, place, 1 / 60, 20);
    place = found.place;
    rests += found.rests;
    seconds += 1 / 60;
  }
  assert.ok(Math.abs(seconds - 20) < 0.2, `${seconds}`);
  assert.equal(rests, 1);
  assert.deepEqual(advance(long, 300.5, 1, 20), { place: 301, rests: true });
  assert.equal(advance(run, 1, 0.6, 60).place, 2, "a short run does not crawl");
});

test("frames are unpacked from their differences", async () => {
  const steps = Int8Array.of(1, -2, 3, 0, 0, 5);
  const found = await unpack(new DataView(new Uint8Array(deflateSync(new Uint8Array(steps.buffer))).buffer), 2);
  assert.deepEqual([...found], [1, -2, 4, -2, 4, 3]);
  const bytes = new DataView(Float32Array.of(9, 0.5, 2).buffer, 4);
  assert.deepEqual([...floats(bytes)], [0.5, 2]);
});

test("the border runs where the grid crosses zero", () => {
  const grid = [-1, 1, 3, -1, 1, 3, -1, 1, 3]; // zero at column 0.5
  assert.deepEqual(border(grid, 3), [[0.5, 0, 0.5, 1], [0.5, 1, 0.5, 2]]);
  assert.equal(inside(grid, 3, 0.5, 1.7), 0);
  assert.equal(inside(grid, 3, 2, 2), 3);
  assert.deepEqual(border([1, 1, 1, 1], 2), []);
});

test("the dendrite's zero line and arrow", () => {
  const [x1, y1, x2, y2] = zeroLine([2, 0, -1], 10);
  assert.deepEqual([x1, x2], [0.5, 0.5]);
  assert.deepEqual([Math.abs(y1), Math.abs(y2)], [10, 10]);
  assert.equal(zeroLine([0, 0, 1], 10), null);
  const [x, y] = arrowTip([1, 1], [1e3, 0]);
  assert.ok(x > 1 && x <= 1 + 1.61 && y === 1);
  assert.deepEqual(arrowTip([1, 1], [0, 0]), [1, 1]);
});

test("colours run from end to end", () => {
  assert.deepEqual(viridis(0), [68, 1, 84]);
  assert.deepEqual(viridis(1), [253, 231, 37]);
  assert.deepEqual(viridis(7), viridis(1));
  assert.deepEqual(ofError(0), [247, 247, 247]);
  assert.equal(css([1, 2, 3]), "rgb(1 2 3)");
});

test("the monitor's line leaves out what is not known", () => {
  const now = { phase: "neuron", cycle: 0, epoch: 5, planned: 8, batch: 3, batches: 8, left: "about 12 s left" };
  assert.equal(progressWords(now), "neuron phase · cycle 0 · epoch 5 of 8 · batch 3 of 8 · about 12 s left");
  assert.equal(progressWords({ ...now, planned: 0, left: "" }), "neuron phase · cycle 0 · epoch 5 · batch 3 of 8");
});

test("the game's clock counts whole seconds down to nothing", () => {
  assert.deepEqual([75, 59.2, 9.01, 0, -1].map(clock), ["1:15", "1:00", "0:10", "0:00", "0:00"]);
});
