// How well the dendrites of every layer follow the error.
import { gridLines, known, label, line, make, number, panel, picture, put, rects, scale, set, size, ticks, viridis } from "./shared.mjs";
import { layerName, mean, scoredAt, scoresOf } from "./run.mjs";

// |r| of every layer in every dendrite-phase epoch; of a chosen layer by epoch, and by neuron where that was kept.
export function scores(run, tip) {
  const { node, heading, drawing } = panel("");
  node.classList.add("pt-wide");
  const many = run.layers.length;
  const columns = run.scored.length;
  let chosen = -1, x, cursor, veil, box, extra, at = 1;

  function resize(width, height) {
    size(drawing, width, height);
    const longest = Math.max(...run.groups.map(([word]) => Math.min(word.length, 14)), 4);
    box = { left: 14 + 6 * longest, right: width - 52, top: 16, low: height - 32 };
    if (!columns) return;
    const gap = columns > 1 && box.right - box.left > 3 * columns ? 3 : 0;
    const parts = run.cycles.map((cycle, k) => run.cycles.slice(1, k + 1).filter((other, j) => other !== run.cycles[j]).length);
    const unit = (box.right - box.left - gap * parts.at(-1)) / columns;
    x = (k) => box.left + k * unit + gap * (parts[Math.min(k, columns - 1)] ?? 0);
    (chosen < 0 ? drawHeat : drawLayer)(unit, width);
    let free = -99;
    run.cycles.forEach((cycle, k) => {
      const [begins, ends] = [k === 0 || run.cycles[k - 1] !== cycle, run.cycles[k + 1] !== cycle];
      if ((begins || ends) && x(k) - free > 24) {
        drawing.append(label(x(k) + unit / 2, box.low + 13, `${run.scored[k]}`, { class: "pt-middle pt-tiny" }));
        free = x(k);
      }
      if (begins) {
        const to = x(run.cycles.lastIndexOf(cycle)) + unit;
        if (to - x(k) > 16) drawing.append(label((x(k) + to) / 2, 11, to - x(k) > 66 ? `dendrite ${cycle}` : `${cycle}`, { class: "pt-middle pt-tiny" }));
      }
    });
    drawing.append(label((box.left + box.right) / 2, height - 4, "epoch of a dendrite phase", { class: "pt-middle" }));
    veil = make("rect", { y: box.top, height: box.low - box.top, class: "pt-veil" });
    cursor = make("rect", { y: box.top - 1, height: box.low - box.top + 2, width: Math.max(unit, 2), class: "pt-cursor" });
    drawing.append(veil, cursor);
  }

  function drawHeat(unit, width) {
    const color = (column, row) => {
      const score = run.scores[column * many + row];
      return known(score) ? viridis(score / run.highest) : null;
    };
    const row = (box.low - box.top) / many;
    for (let start = 0, k = 1; k <= columns; k += 1) {
      if (k < columns && run.cycles[k] === run.cycles[start]) continue;
      const [from, wide] = [start, k - start];
      const href = picture(wide, many, (column, line) => color(from + column, line));
      drawing.append(make("image", { href, x: x(from), y: box.top, width: wide * unit, height: box.low - box.top, preserveAspectRatio: "none", class: "pt-pixels" }));
      start = k;
    }
    let free = -99;
    for (const [word, first, last] of run.groups) {
      const middle = box.top + ((first + last + 1) / 2) * row;
      if (middle - free < 10) continue;
      drawing.append(label(box.left - 5, middle + 3.5, word.slice(0, 14), { class: "pt-end pt-tiny" }));
      free = middle;
    }
    const ramp = picture(1, 64, (_, line) => viridis(1 - line / 63));
    drawing.append(make("image", { href: ramp, x: width - 44, y: box.top, width: 9, height: box.low - box.top, preserveAspectRatio: "none" }));
    drawing.append(label(width - 32, box.top + 8, `${Number(run.highest.toPrecision(2))}`, { class: "pt-tiny" }), label(width - 32, box.low, "0", { class: "pt-tiny" }));
    drawing.append(label(0, 0, "mean |r|", { class: "pt-middle pt-tiny", transform: `translate(${width - 24} ${(box.top + box.low) / 2}) rotate(-90)` }));
  }

  function drawLayer(unit) {
    const split = run.neurons ? box.left + (box.right - box.left) * 0.45 : box.right;
    const y = scale([0, run.highest], [box.low, box.top]);
    if (run.neurons) {
      unit *= (split - box.left) / (box.right - box.left);
      const wide = x;
      x = (k) => box.left + (wide(k) - box.left) * ((split - box.left) / (box.right - box.left));
    }
    gridLines(drawing, ticks(0, run.highest, 4), y, box.left, split, "pt-end pt-tiny");
    const points = run.scored.flatMap((_, k) => {
      const point = [x(k) + unit / 2, y(run.scores[k * many + chosen])];
      return k && run.cycles[k] !== run.cycles[k - 1] ? [[0, null], point] : [point];
    });
    drawing.append(make("path", { d: line(points), class: "pt-line pt-score" }));
    drawing.append(...points.filter(([, at]) => known(at)).map(([cx, cy]) => make("circle", { cx, cy, r: 2, class: "pt-score-dot" })));
    extra = run.neurons ? make("g") : null;
    if (extra) drawing.append(extra);
    else drawing.append(label(box.right, box.top + 10, "Of each neuron only runs with a Watch know it.", { class: "pt-end pt-tiny" }));
  }

  // Bars of the neurons' |r| at the end of the newest dendrite phase so far.
  function drawNeurons(cycle) {
    if (!extra || extra.cycle === cycle) return;
    extra.cycle = cycle;
    const values = run.neurons[cycle]?.[chosen] ?? [];
    const start = box.left + (box.right - box.left) * 0.55;
    const unit = (box.right + 40 - start) / Math.max(values.length, 1);
    const y = scale([0, 255], [box.low, box.top]);
    const places = values.map((value, k) => [start + k * unit, y(value), Math.max(unit * 0.8, 0.6), box.low - y(value)]);
    const words = values.length ? `${values.length} neurons, dendrite ${cycle}: |r| of each, 0 to 1` : "no dendrites yet";
    extra.replaceChildren(make("path", { d: rects(places), class: "pt-bar" }), label((start + box.right + 40) / 2, 11, words, { class: "pt-middle pt-tiny" }));
    extra.append(make("line", { x1: start, x2: box.right + 40, y1: box.low, y2: box.low, class: "pt-grid" }));
    extra.append(label((start + box.right + 40) / 2, box.low + 13, "neuron", { class: "pt-middle pt-tiny" }));
  }

  function show(epoch) {
    at = epoch;
    const index = scoredAt(run, epoch);
    if (columns) {
      const from = index < 0 ? box.left : index + 1 < columns ? x(index + 1) : x(columns);
      set(veil, { x: from, width: Math.max(x(columns - 1) + Number(cursor.getAttribute("width")) - from, 0) });
      set(cursor, { x: x(Math.max(index, 0)), visibility: index < 0 ? "hidden" : "visible" });
      drawNeurons(index < 0 ? 0 : run.cycles[index]);
    }
    const found = scoresOf(run, index);
    const when = index < 0 ? "" : `, epoch ${run.scored[index]}`;
    if (chosen < 0) {
      put(heading, `How well dendrites follow the error${when}: mean |r| ${number(mean(found), 4)}`);
    } else {
      put(heading, `${layerName(run, chosen)}${when}: mean |r| ${number(found[chosen], 4)}`);
    }
    set(drawing, { "aria-label": columns ? heading.textContent : "No dendrite phase has been recorded." });
  }

  set(drawing, {
    pointermove: (event) => {
      const frame = drawing.getBoundingClientRect();
      const [px, py] = [event.clientX - frame.left, event.clientY - frame.top];
      const column = run.scored.findLastIndex((_, k) => x(k) <= px);
      const layer = chosen < 0 ? Math.floor(((py - box.top) / (box.low - box.top)) * many) : chosen;
      if (!columns || column < 0 || px > box.right || layer < 0 || layer >= many) return tip.hide();
      return tip.show(event, `epoch ${run.scored[column]}, ${layerName(run, layer)}: mean |r| ${number(run.scores[column * many + layer], 4)}`);
    },
    pointerleave: tip.hide,
  });
  function choose(layer, width, height) {
    chosen = layer;
    resize(width, height);
    show(at);
  }
  return { node, resize, show, choose };
}
