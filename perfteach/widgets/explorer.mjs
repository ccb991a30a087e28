// PhaseExplorer: scrub and play through a run that was sent once. No kernel is needed to look at it.
import { GONE, button, clamp, floats, make, mount, next, number, onceAFrame, panel, post, put, set, tips, unpack, whenResized } from "./shared.mjs";
import { bandAt, curves, layerName, mean, scoresOf, strip } from "./run.mjs";
import { scores } from "./scores.mjs";
import { plane } from "./plane.mjs";

const SPEEDS = { "in 60 s": 60, "in 20 s": 20, "in 8 s": 8 };
const REST = 700; // milliseconds for which playing rests on a switch
const SLOWEST = 0.6; // seconds an epoch takes at most, so that a short run does not crawl
const GAP = 14;
const NARROW = 640;

// The text of an epoch, for "Describe" and for a screen reader.
export function describe(run, epoch) {
  const band = bandAt(run, epoch);
  const { train_error: train, validation_error: validation } = run.columns;
  const found = scoresOf(run, run.scored.indexOf(epoch));
  let numbers = `Validation error ${number(validation[epoch - 1])} %, training error ${number(train[epoch - 1])} %.`;
  if (found.length) {
    const highest = found.reduce((best, score, k) => (score > found[best] ? k : best), 0);
    numbers = `Mean |r| is ${number(mean(found), 4)}; the highest is ${number(found[highest], 4)}, in ${layerName(run, highest)}.`;
  }
  return [`Epoch ${epoch} of ${train.length}.`, band.what, numbers, band.began, epoch === band.last ? band.ends : ""].filter(Boolean).join(" ");
}

// Names and values of an epoch, as text.
export function facts(run, epoch) {
  const at = (name, digits) => number(run.columns[name][epoch - 1], digits);
  const rate = run.columns.lr[epoch - 1];
  return {
    "training error": `${at("train_error")} %`,
    "validation error": `${at("validation_error")} %`,
    "training loss": at("train_loss", 4),
    "validation loss": at("validation_loss", 4),
    "mean |r|": number(mean(scoresOf(run, run.scored.indexOf(epoch))), 4),
    "learning rate": rate == null ? "–" : `${Number(rate.toPrecision(2))}`,
    seconds: at("seconds"),
    parameters: (run.columns.parameters[epoch - 1] ?? 0).toLocaleString("en"),
  };
}

// How far playing goes: the next epoch as a fraction, and whether it must rest because a new phase begins.
export function advance(run, place, seconds, whole) {
  const many = run.columns.train_error.length;
  const onward = Math.min(place + seconds * Math.max(many / whole, 1 / SLOWEST), many);
  const begins = run.starts.find((start) => Math.floor(place) < start && Math.floor(onward) >= start);
  return begins ? { place: begins, rests: true } : { place: onward, rests: false };
}

function render({ model, el }) {
  const root = mount(el, "pt pt-explorer");
  let stop = build(model, root);
  const again = () => {
    const held = root.contains(document.activeElement) && document.activeElement.textContent;
    const open = root.querySelector("details")?.open;
    const chosen = [...root.querySelectorAll("select")].map((menu) => [menu.getAttribute("aria-label"), menu.value]);
    stop();
    root.replaceChildren();
    stop = build(model, root, chosen);
    if (open && root.querySelector("details")) root.querySelector("details").open = true;
    if (held) ([...root.querySelectorAll("button")].find((node) => node.textContent === held) ?? root.querySelector("input"))?.focus();
  };
  model.on("change:run", again);
  return () => {
    model.off("change:run", again);
    stop();
  };
}

function newer(model) {
  const tip = "Take up new epochs of a running training; go to the last";
  const node = button("Latest epoch", tip, () => post(model, { do: "latest" }, () => put(node, GONE)));
  return node;
}

// `chosen`: what the menus of a view that stood here before had, by name.
function build(model, root, chosen = []) {
  const run = { ...model.get("run") };
  run.scores = floats(run.scores);
  const title = make("strong", { class: "pt-title", text: `Phase explorer: ${run.name}, ${run.data}` });
  if (!run.opens) {
    root.append(title, make("p", { text: "This run has no epochs yet." }), newer(model));
    return () => {};
  }
  const many = run.columns.train_error.length;
  let epoch = clamp(model.get("epoch") || run.opens, 1, many);
  const tip = tips(root);
  const parts = controls(run, seek, () => epoch, model);
  const says = make("span", { class: "pt-says" });
  const frozen = make("span", { class: "pt-also" });
  const banner = make("div", { class: "pt-banner", role: "status" }, says, frozen);
  const words = make("p", { class: "pt-words" });
  const values = make("dl", { class: "pt-facts" });
  const film = run.film && filmOf(run);
  const described = make("details", {}, make("summary", { text: "Describe" }), words, values);
  const picked = make("select", { "aria-label": "Layer", title: "A layer's |r| by epoch, and by neuron where it was kept", change: () => pick(Number(picked.value)) });
  const drawn = { curves: curves(run, seek, tip) };
  if (run.layers.length) {
    drawn.strip = strip(run, pick, tip);
    drawn.scores = scores(run, tip);
    picked.append(...[["all layers", -1], ...run.words.map((word, k) => [word, k])].map(([text, value]) => make("option", { value, text })));
    drawn.scores.node.firstChild.before(make("label", { class: "pt-layer", text: "Layer " }, picked));
  }
  const missing = run.missing ? [make("p", { text: run.missing })] : [];
  const grid = make("div", { class: "pt-panels" });
  grid.append(...[drawn.strip?.node, ...missing, drawn.curves.node, film?.node, drawn.scores?.node].filter(Boolean));
  root.prepend(title, parts.node, banner, grid, described);

  const menus = new Map(chosen);
  parts.speed.value = menus.get("Speed") ?? parts.speed.value;
  let layer = Number(menus.get("Layer") ?? -1);

  let wide = 0;
  const high = { upper: 262, lower: 206 };
  const columns = () => (wide < NARROW ? 1 : film ? 3 : 2);
  const across = (many) => Math.floor(((wide - GAP * (columns() - 1)) / columns()) * many + GAP * (many - 1));

  function resize(width) {
    wide = width;
    set(grid, { "data-columns": columns() });
    drawn.curves.resize(across(1), high.upper - 20);
    drawn.strip?.resize(across(1), high.upper);
    drawn.scores?.resize(across(Math.min(columns(), 2)), high.lower);
    film?.resize(Math.min(across(1), high.upper + high.lower - 80));
    if (layer >= 0 && layer < run.layers.length) pick(layer);
    layer = -1; // from here on the menu knows
    show();
  }

  function show() {
    const band = bandAt(run, epoch);
    set(root, { "data-phase": band.dendritic ? "dendrite" : "neuron" });
    put(says, band.says);
    put(frozen, band.frozen);
    for (const each of Object.values(drawn)) each.show(epoch);
    film?.show(epoch);
    parts.show(epoch, band);
    if (described.open) tell();
  }

  function tell() {
    put(words, describe(run, epoch));
    const found = facts(run, epoch);
    values.replaceChildren(...Object.entries(found).map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
  }

  const later = onceAFrame(show);
  let keep = 0;
  function seek(wanted) {
    const found = clamp(Math.round(wanted), 1, many);
    if (found === epoch) return;
    epoch = found;
    later();
    clearTimeout(keep); // Python and a saved page learn it when the hand rests
    keep = setTimeout(() => {
      model.set("epoch", epoch);
      model.save_changes();
    }, 250);
  }

  function pick(layer) {
    picked.value = layer;
    drawn.strip.choose(layer);
    drawn.scores.choose(layer, across(Math.min(columns(), 2)), high.lower);
  }

  set(described, { toggle: tell });
  const moved = () => seek(model.get("epoch"));
  model.on("change:epoch", moved);
  const still = whenResized(root, resize);
  return () => {
    parts.stop();
    still();
    clearTimeout(keep);
    model.off("change:epoch", moved);
  };
}

// Slider, number box, play with its speed, next switch; and for a run that is not finished, its latest epoch.
function controls(run, seek, asked, model) {
  const many = run.columns.train_error.length;
  const bounds = { min: 1, max: many, step: 1 };
  const slider = make("input", { type: "range", ...bounds, "aria-label": "Epoch", input: () => seek(Number(slider.value)) });
  const box = make("input", { type: "number", ...bounds, change: typedIn });
  function typedIn() {
    const wanted = box.value === "" ? epoch : clamp(Math.round(Number(box.value)), 1, many);
    box.value = wanted; // what cannot be taken is not left standing
    seek(wanted);
  }
  const speed = make("select", { "aria-label": "Speed", title: "How long the whole run takes" });
  speed.append(...Object.entries(SPEEDS).map(([text, value]) => make("option", { value, text, selected: value === 20 })));
  let epoch = 1;
  let frame = 0;
  const play = button("Play", "Play or pause, one epoch after the other", () => (frame ? halt() : start()));
  play.className = "pt-play";
  const onward = button("Next switch", "Go to the first epoch of the next phase; from the last one back to the first", () => seek(next(run.starts, epoch)));
  onward.disabled = !run.starts.length;
  const latest = newer(model);

  function start() {
    let [place, before, rest] = [epoch === many ? 1 : epoch, performance.now(), 0];
    seek(place);
    let wanted = place; // the epoch that was asked for last, which need not be drawn yet
    put(play, "Pause");
    const step = (now) => {
      frame = requestAnimationFrame(step);
      const seconds = (now - before) / 1000;
      before = now;
      if (now < rest) return;
      if (asked() !== wanted) place = asked(); // the slider was moved meanwhile
      const found = advance(run, place, seconds, Number(speed.value));
      place = found.place;
      if (found.rests) rest = now + REST;
      seek((wanted = Math.floor(place)));
      if (place >= many) halt();
    };
    frame = requestAnimationFrame(step);
  }

  function halt() {
    cancelAnimationFrame(frame);
    frame = 0;
    put(play, "Play");
  }

  function show(now, band) {
    epoch = now;
    slider.value = epoch;
    if (box !== document.activeElement || Number(box.value) !== epoch) box.value = epoch;
    set(slider, { "aria-valuetext": `epoch ${epoch} of ${many}: ${band.says}, ${band.frozen}` });
  }
  const typed = make("label", { class: "pt-number", text: "Epoch " }, box, make("span", { text: ` of ${many}` }));
  const node = make("div", { class: "pt-controls" }, slider, typed, play, speed, onward, ...(run.finished ? [] : [latest]));
  return { node, show, speed, stop: halt };
}

// The network's border in every epoch of the run, with the border before the phase for comparison.
function filmOf(run) {
  const { cells, frames, points, wrong, split } = run.film;
  const { node, drawing, heading } = panel("The border that the network draws");
  const view = plane(drawing, { ...points, size: 1.6 }, cells);
  const error = make("div", { class: "pt-big" });
  const note = make("div", { class: "pt-note" });
  const square = make("div", { class: "pt-square" }, view.canvas, drawing);
  node.classList.add("pt-tall");
  node.append(square, error, make("div", { text: `of the ${split} points are on the wrong side` }), note);
  let all, at = 1;
  unpack(frames, cells * cells).then((found) => {
    all = found;
    show(at);
  });

  const frame = (epoch) => {
    const k = Math.min(epoch - 1, all.length / (cells * cells) - 1);
    return all.subarray(k * cells * cells, (k + 1) * cells * cells);
  };

  function show(epoch) {
    at = epoch;
    const band = bandAt(run, epoch);
    put(error, `${number(wrong[epoch - 1], 1)} %`);
    put(note, band.dendritic ? "It stands still: the neurons are frozen." : band.learns.length > 1 ? "It bends: the neurons use their dendrites. Dashed: where it was." : "It moves: the neurons learn.");
    set(drawing, { "aria-label": `${heading.textContent}: ${number(wrong[epoch - 1], 1)} % of the ${split} points are on the wrong side.` });
    if (all && view.canvas.style.width) view.show(frame(epoch), !band.dendritic && band.first > 1 ? frame(band.first - 1) : null);
  }
  return { node, show, resize: view.resize };
}

export default { render };
