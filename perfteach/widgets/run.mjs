// The pictures of a run: its curves, the strip of layers that says who learns, and the scores.
// Each is drawn once for a width, and `show(epoch)` then moves only what changes.
import { clamp, gridLines, hatch, known, label, line, make, number, panel, put, rects, scale, set, size, ticks } from "./shared.mjs";

const LEFT = 44;
const RIGHT = 12;

export function bandAt(run, epoch) {
  return run.bands.find((band) => epoch <= band.last) ?? run.bands.at(-1);
}

// Index of the newest scores in an epoch: −1 before the first dendrite phase.
export function scoredAt(run, epoch) {
  return run.scored.findLastIndex((scored) => scored <= epoch);
}

// The scores of the layers, at an index of `run.scored`.
export function scoresOf(run, index) {
  const many = run.layers.length;
  return index < 0 ? [] : Array.from(run.scores.subarray(index * many, (index + 1) * many));
}

export function mean(values) {
  const found = values.filter(known);
  return found.length ? found.reduce((sum, value) => sum + value, 0) / found.length : null;
}

// The lowest validation error up to each epoch, as the epoch's index.
export function bestSoFar(errors) {
  let best = 0;
  return errors.map((error, k) => (known(error) && !(known(errors[best]) && errors[best] <= error) ? (best = k) : best));
}

// ---------------------------------------------------------------------------------------------- curves

// Errors by epoch, with the phases behind them. `seek(epoch)` answers a click; null leaves it a still picture.
export function curves(run, seek, tip) {
  const { node, drawing } = panel("Error by epoch");
  const { train_error: train, validation_error: validation } = run.columns;
  const last = Math.max(train.length, 5);
  const best = bestSoFar(validation);
  const legend = make("div", { class: "pt-key" });
  const [first, second, third] = ["pt-train", "pt-validation", "pt-best"].map((look) => {
    const words = make("span");
    legend.append(make("span", { class: "pt-entry" }, make("span", { class: `pt-sample ${look}`, "aria-hidden": "true" }), words));
    return words;
  });
  node.append(legend);
  let x, past, now, dot, ring, y;

  function resize(width, height) {
    size(drawing, width, height);
    const values = [...train, ...validation].filter(known);
    const room = Math.max(0.06 * (Math.max(...values) - Math.min(...values)), 0.5);
    const ends = [Math.max(Math.min(...values) - room, -1), Math.min(Math.max(...values) + room, 101)];
    x = scale([0.5, last + 0.5], [LEFT, width - RIGHT]);
    y = scale(ends, [height - 34, 22]);
    drawBands(drawing, run, x, height - 34);
    gridLines(drawing, ticks(...ends, 5), y, LEFT, width - RIGHT);
    for (const value of ticks(1, last, Math.min(7, width / 60)).filter(Number.isInteger)) {
      drawing.append(label(x(value), height - 19, `${value}`, { class: "pt-middle" }));
    }
    drawing.append(label((LEFT + width - RIGHT) / 2, height - 4, "epoch", { class: "pt-middle" }));
    drawing.append(label(0, 0, "error (%)", { class: "pt-middle", transform: `translate(11 ${height / 2}) rotate(-90)` }));
    const paths = [["pt-train", train], ["pt-validation", validation]].map(([look, errors]) => {
      return { class: `pt-line ${look}`, d: line(errors.map((error, k) => [x(k + 1), y(error)])) };
    });
    past = make("rect", { x: 0, y: 0, height });
    const clip = `${drawing.querySelector("pattern").id}-past`;
    const shown = make("g", { "clip-path": `url(#${clip})` }, ...paths.map((path) => make("path", path)));
    const future = make("g", { class: "pt-future" }, ...paths.map((path) => make("path", path)));
    now = make("line", { y1: 2, y2: height - 34, class: "pt-now" });
    ring = make("circle", { r: 5.5, class: "pt-ring" });
    dot = make("circle", { r: 3.5, class: "pt-dot" });
    drawing.append(make("defs", {}, make("clipPath", { id: clip }, past)), future, shown, now, ring, dot);
    for (const epoch of run.rollbacks) {
      drawing.append(label(x(epoch + 0.5) - 4, 34, "cycle undone ↶", { class: "pt-end" }));
    }
  }

  function show(epoch) {
    const k = clamp(epoch, 1, train.length) - 1;
    set(past, { width: x(k + 1) });
    set(now, { x1: x(k + 1), x2: x(k + 1) });
    set(dot, { cx: x(k + 1), cy: known(validation[k]) ? y(validation[k]) : -9 });
    set(ring, { cx: x(best[k] + 1), cy: known(validation[best[k]]) ? y(validation[best[k]]) : -9 });
    put(first, `training ${number(train[k])} %`);
    put(second, `validation ${number(validation[k])} %`);
    put(third, `lowest ${number(validation[best[k]])} %`);
    set(drawing, { "aria-label": `Error by epoch up to epoch ${k + 1} on ${run.data}. ${[first, second, third].map((words) => words.textContent).join(", ")}` });
  }

  if (seek) {
    const epochOf = (event) => {
      return clamp(Math.round(x.invert(event.clientX - drawing.getBoundingClientRect().left)), 1, train.length);
    };
    set(drawing, {
      class: "pt-seek",
      pointerdown: (event) => {
        if (event.button) return;
        drawing.setPointerCapture(event.pointerId);
        seek(epochOf(event));
      },
      pointermove: (event) => {
        const epoch = epochOf(event);
        if (event.buttons & 1) seek(epoch);
        tip.show(event, `epoch ${epoch}: training ${number(train[epoch - 1])} %, validation ${number(validation[epoch - 1])} %`);
      },
      pointerleave: tip.hide,
    });
  }
  return { node, resize, show };
}

// The ground of dendrite phases, and a ribbon above with a word for each phase that has room for it.
function drawBands(drawing, run, x, low) {
  const stripes = hatch(drawing, "dendrite");
  for (const band of run.bands) {
    const [start, end] = [x(band.first - 0.5), x(band.last + 0.5)];
    const look = band.dendritic ? { fill: stripes, class: "pt-ribbon-dendrite" } : { class: "pt-ribbon-neuron" };
    if (band.dendritic) {
      drawing.append(make("rect", { x: start, y: 18, width: end - start, height: low - 18, class: "pt-dendritic" }));
    }
    drawing.append(make("rect", { x: start, y: 1, width: end - start, height: 15, ...look }));
    const words = band.dendritic ? [`dendrites ${band.cycle}`, "dendrites", "D"] : ["neurons", "N"];
    const word = words.find((text) => text.length * 6.2 + 6 < end - start);
    if (word) {
      const middle = (start + end) / 2;
      const wide = word.length * 6.2 + 6;
      if (band.dendritic) {
        drawing.append(make("rect", { x: middle - wide / 2, y: 2, width: wide, height: 13, class: "pt-plate" }));
      }
      drawing.append(label(middle, 12.5, word, { class: "pt-middle pt-ribbon-word" }));
    }
  }
}

// ---------------------------------------------------------------------------------------------- strip

// One box a layer from input to output, a smaller one above it for each dendrite, and bars with the layer's |r|.
export function strip(run, pick, tip) {
  const { node, drawing } = panel("Who is learning");
  const many = run.layers.length;
  let rows, bars, none, empty, column, marks, top, shown, chosen = -1;

  function resize(width, height) {
    size(drawing, width, height);
    const frozen = hatch(drawing, "frozen", -1);
    const left = width < 300 ? 74 : 152;
    const bar = height * 0.27;
    const unit = Math.min((width - left - RIGHT) / many, 130);
    column = (k) => left + k * unit;
    const low = height - bar - 40; // where the boxes of the neurons end
    const step = Math.min(44, (low - 40) / Math.max(run.rows, 1));
    rows = Array.from({ length: run.rows + 1 }, (_, row) => {
      const y = row ? low - 36 - row * step : low - 34;
      const tall = row ? step - 6 : 34;
      const inset = row ? 0.22 : 0.1;
      const places = run.layers.map((_, k) => [column(k) + inset * unit, y, (1 - 2 * inset) * unit, tall]);
      const stalks = row ? places.map(([x, , wide]) => `M${(x + wide / 2).toFixed(2)} ${y + tall}v6`).join("") : "";
      const boxes = [make("path", { d: stalks, class: "pt-stalk" }), make("path", { d: rects(places), class: "pt-boxes" })];
      const kind = row ? "dendrite" : "neuron";
      const word = row ? `dendrite${run.rows > 1 ? ` ${row}` : "s"}` : "neurons";
      const said = label(left - 8, y + tall / 2 + 4, "", { class: "pt-end" });
      const group = make("g", { class: `pt-row-${kind}` }, ...boxes);
      drawing.append(group, said);
      return { group, said, word, frozen, short: left < 100 };
    });
    drawNames(drawing, run, column, unit, low + 14);
    const base = height - 4;
    top = scale([0, run.highest], [0, bar]);
    bars = make("path", { class: "pt-bar" });
    drawing.append(make("line", { x1: left, x2: column(many), y1: base + 0.5, y2: base + 0.5, class: "pt-grid" }), bars);
    drawing.append(label(left - 8, base - bar / 2 + 4, "mean |r|", { class: "pt-end" }));
    drawing.append(label(left - 8, base - bar + 9, run.scored.length ? `${Number(run.highest.toPrecision(2))}` : "", { class: "pt-end pt-tiny" }));
    none = label((left + column(many)) / 2, base - bar / 2 + 4, "measured in dendrite phases", { class: "pt-middle" });
    marks = make("rect", { y: 2, height: height - 4, width: unit, class: "pt-chosen" });
    drawing.append(none, marks);
    empty = base;
    shown = null;
    choose(chosen);
  }

  function choose(layer) {
    chosen = layer;
    set(marks, { x: column(Math.max(layer, 0)), visibility: layer < 0 ? "hidden" : "visible" });
  }

  function show(epoch) {
    const index = run.scored.indexOf(epoch);
    const band = bandAt(run, epoch);
    show.epoch = epoch;
    if (shown?.band === band && shown.index === index) return; // most steps change nothing here
    if (shown?.band !== band) showRows(band);
    shown = { band, index };
    const scores = scoresOf(run, index);
    const unit = column(1) - column(0);
    const tall = scores.map((score) => (known(score) ? top(score) : 0));
    set(bars, { d: rects(tall.map((high, k) => [column(k) + 0.1 * unit, empty - high, 0.8 * unit, high])) });
    set(none, { visibility: index < 0 ? "visible" : "hidden" });
    const said = index < 0 ? "" : ` Mean |r| over the layers is ${number(mean(scores), 4)}.`;
    set(drawing, { "aria-label": `${many} layers with ${band.learns.length - 1} dendrites a neuron: ${band.says}, ${band.frozen}.${said}` });
  }

  function showRows({ learns }) {
    rows.forEach((row, k) => {
      const there = k < learns.length;
      set(row.group, { visibility: there ? "visible" : "hidden", class: row.group.getAttribute("class").split(" ")[0] + (learns[k] ? " pt-learns" : " pt-frozen"), fill: learns[k] ? null : row.frozen });
      put(row.said, there ? `${row.word}${row.short ? "" : learns[k] ? ": learning" : ": frozen"}` : "");
      set(row.said, { class: learns[k] ? "pt-end pt-strong" : "pt-end" });
    });
  }

  const layerOf = (event) => {
    const place = Math.floor((event.clientX - drawing.getBoundingClientRect().left - column(0)) / (column(1) - column(0)));
    return place >= 0 && place < many ? place : -1;
  };
  set(drawing, {
    pointermove: (event) => {
      const layer = layerOf(event);
      if (layer < 0) return tip.hide();
      const score = scoresOf(run, run.scored.indexOf(show.epoch))[layer];
      return tip.show(event, `${layerName(run, layer)}${known(score) ? `: mean |r| ${number(score, 4)}` : ""}`);
    },
    pointerleave: tip.hide,
    ...(pick ? { class: "pt-pick", click: (event) => pick(layerOf(event)) } : {}),
  });
  return { node, resize, show, choose };
}

export function layerName(run, layer) {
  const [name, word] = [run.layers[layer], run.words[layer]];
  return word === name ? name : `${word} (${name})`;
}

// Short names beneath the layers, where they fit.
function drawNames(drawing, run, column, unit, y) {
  let free = column(0) - 4;
  for (const [word, first, last] of run.groups) {
    const middle = (column(first) + column(last + 1)) / 2;
    const half = word.length * 3.1;
    drawing.append(make("line", { x1: column(first) + 1.5, x2: column(last + 1) - 1.5, y1: y - 10, y2: y - 10, class: "pt-stalk" }));
    if (middle - half > free && half * 2 < (last - first + 1) * unit + 16) {
      drawing.append(label(middle, y + 2, word, { class: "pt-middle pt-tiny" }));
      free = middle + half + 3;
    }
  }
  drawing.append(label(column(0) - 8, y + 2, column(0) > 100 ? "input → output" : "layers", { class: "pt-end pt-tiny" }));
}
