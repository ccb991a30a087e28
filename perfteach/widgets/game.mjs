// SwitchGame: the border as it is learned, what helps to decide when to switch, and the buttons. Python trains and words.
import { GONE, able, button, floats, gridLines, known, label, line, make, mount, number, panel, put, scale, set, post, size, ticks, tips, whenResized } from "./shared.mjs";
import { plane } from "./plane.mjs";
import { curves } from "./run.mjs";

const [BEFORE, AFTER] = [44, 12]; // pixels beside the curve, as the error curve has them
const [HIGH, LOW] = [232, 150]; // of the two curves

// Seconds as a clock shows them.
export function clock(seconds) {
  const whole = Math.max(Math.ceil(seconds), 0);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// The mean |r| of the dendrites by epoch; the line is broken where neurons learn.
function following(epochs) {
  const { node, drawing, heading } = panel("");
  function show(width, follows) {
    size(drawing, width, LOW);
    const found = follows.filter(known);
    const x = scale([0.5, Math.max(follows.length, 5) + 0.5], [BEFORE, width - AFTER]);
    const top = Math.max(...found, 0.1);
    const y = scale([0, top * 1.08], [LOW - 12, 8]);
    gridLines(drawing, ticks(0, top, 4), y, BEFORE, width - AFTER);
    drawing.append(make("path", { class: "pt-line pt-score", d: line(follows.map((value, k) => [x(k + 1), known(value) ? y(value) : null])) }));
    if (!found.length) drawing.append(label((BEFORE + width) / 2, LOW / 2, "measured while dendrites learn", { class: "pt-middle" }));
    put(heading, `How well dendrites follow the error: mean |r| ${found.length ? number(found.at(-1), 3) : ""}`);
    set(drawing, { "aria-label": `${heading.textContent}, epoch ${follows.length} of ${epochs}` });
  }
  return { node, show };
}

function render({ model, el }) {
  const root = mount(el, "pt pt-game");
  const tip = tips(root);
  const problem = model.get("problem");
  const ask = (what) => () => post(model, { do: what }, () => put(said, GONE));
  const start = button("Start", "Train the network, and start the clock", ask("start"));
  const fresh = button("New start", "Play with another random start of the network", ask("new"));
  const change = button("Switch", "End the phase that is running: the others learn next", ask("switch"));
  const halt = button("Stop", "End the game without a score", ask("stop"));
  const time = make("span", { class: "pt-number pt-big", role: "timer", "aria-label": "Time left" });
  const bar = make("progress", { "aria-label": "Epochs", max: problem.epochs, style: "flex:1 1 100px;max-width:260px" });
  const count = make("span", { class: "pt-number" });
  const [says, frozen] = [make("span", { class: "pt-says" }), make("span", { class: "pt-also" })];
  const said = make("div", { role: "status", style: "min-height:1.45em" });
  const notes = make("div", { tabindex: "-1", style: "min-height:3.6em" });
  const border = panel("");
  const view = plane(border.drawing, { ...problem.points, size: 2.2 }, problem.cells);
  const key = "Dots and triangles: the two spirals. Dashed: the border while the newest dendrites learned.";
  border.node.append(make("div", { class: "pt-square" }, view.canvas, border.drawing), make("div", { class: "pt-note", text: key }));
  const error = make("div", { style: `min-height:${HIGH + 42}px` });
  const follows = following(problem.epochs);
  const panels = make("div", { class: "pt-panels" }, border.node, make("div", { style: "min-width:0" }, error, follows.node));
  root.prepend(
    make("strong", { class: "pt-title", text: problem.title }),
    make("div", { class: "pt-controls pt-progress" }, start, fresh, change, halt, time, bar, count),
    make("div", { class: "pt-banner" }, says, frozen),
    said,
    notes,
    panels,
  );

  let [width, edge, before] = [0, 0, ""];
  function states() {
    const now = model.get("state");
    const playing = now.stage === "plays" || now.stage === "rule";
    const held = root.contains(document.activeElement) && now.stage !== before;
    put(start, now.stage === "over" ? "Play again" : "Start");
    able(start, !playing);
    fresh.hidden = now.stage !== "over";
    able(change, now.switchable);
    able(halt, playing);
    set(start, { class: playing ? null : "pt-primary" });
    set(change, { class: playing ? "pt-primary" : null });
    put(time, clock(now.left));
    set(bar, { value: now.epoch });
    put(count, `epoch ${now.epoch} of ${problem.epochs} · switch ${now.switches} of ${problem.switches}`);
    put(says, now.says);
    put(frozen, now.frozen);
    put(said, now.said);
    set(root, { "data-phase": now.phase });
    if (notes.textContent !== now.notes.join("")) notes.replaceChildren(...now.notes.map((text) => make("p", { text })));
    put(border.heading, `The network's border${known(now.error) ? `: ${number(now.error, 1)} % wrong` : ""}`);
    set(border.drawing, { "aria-label": `${border.heading.textContent}. ${now.says}, ${now.frozen}.` });
    // A button that cannot be pressed any more must not keep the focus; nor may "Play again" get it by surprise.
    if (held && now.stage === "plays") change.focus();
    else if (held && now.stage === "over") notes.focus();
    before = now.stage;
    if (!edge) return;
    const grid = (view) => (view.byteLength ? new Int8Array(view.buffer, view.byteOffset, view.byteLength) : null);
    view.show(grid(now.border), grid(now.before));
  }

  function records() {
    if (!width) return;
    const run = { ...model.get("run") };
    if (!run.opens) return error.replaceChildren(make("div", { class: "pt-waiting", text: "The curves grow while you play." }));
    const drawn = curves({ ...run, scores: floats(run.scores) }, null, tip);
    error.replaceChildren(drawn.node);
    drawn.resize(width, HIGH);
    drawn.show(run.columns.train_error.length);
    return follows.show(width, model.get("state").follows);
  }

  model.on("change:state", states);
  model.on("change:run", records);
  states();
  const stop = whenResized(root, (now) => {
    const narrow = now < 640;
    edge = Math.min(narrow ? now : Math.floor(now * 0.45), 420);
    width = narrow ? now : now - edge - 14;
    set(panels, { style: narrow ? null : `grid-template-columns:${edge}px minmax(0,1fr)` });
    view.resize(edge);
    follows.show(width, model.get("state").follows);
    states();
    records();
  });
  return () => {
    stop();
    model.off("change:state", states);
    model.off("change:run", records);
  };
}

export default { render };
