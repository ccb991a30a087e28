// CorrelationLab: the error map, the hill with a dot to drag, and the border. Python does the arithmetic.
import { GONE, able, button, clamp, css, floats, freshId, label, make, number, ofError, panel, picture, mount, put, scale, set, post, size, tips, viridis, whenResized } from "./shared.mjs";
import { plane } from "./plane.mjs";

const NAMES = ["Dendrite weight 1", "Dendrite weight 2", "Dendrite bias"];
const EDGE = 24; // pixels beside a square, for its numbers
const LONGEST = 1.6; // of the arrow, in units of a weight

// Where the line a·x + c = 0 lies: two far ends, or nothing without a direction.
export function zeroLine([a, b, c], reach) {
  const long = Math.hypot(a, b);
  if (!long) return null;
  const [x, y] = [(-c * a) / long ** 2, (-c * b) / long ** 2];
  const [dx, dy] = [(-b / long) * reach, (a / long) * reach];
  return [x - dx, y - dy, x + dx, y + dy];
}

// The arrow's tip: it grows with the slope, up to a limit.
export function arrowTip([x, y], [dx, dy]) {
  const long = Math.hypot(dx, dy);
  if (long < 1e-6) return [x, y];
  const share = (LONGEST * Math.min(1, 0.3 + 5 * long)) / long;
  return [x + share * dx, y + share * dy];
}

function render({ model, el }) {
  const root = mount(el, "pt pt-lab");
  const tip = tips(root);
  const problem = model.get("problem");
  const { limit, edge } = problem;
  let state = model.get("state");
  let dendrite = [...state.dendrite];
  let asked = false; // a move is on its way to Python
  let waiting = null; // and this one follows it

  function move(place, value) {
    if (state.switched) return;
    dendrite = dendrite.with(place, clamp(value, -limit, limit));
    showHand();
    send();
  }
  function send() {
    waiting = dendrite;
    if (asked) return;
    asked = ask({ do: "move", dendrite: waiting });
    waiting = null;
  }
  function ask(content) {
    return post(model, content, () => put(numbers, GONE));
  }

  // What cannot be taken is not left standing.
  function typed(place) {
    const { box } = sliders[place];
    if (box.value !== "") move(place, Number(box.value));
    box.value = dendrite[place].toFixed(2);
  }

  const sliders = NAMES.map((name, place) => {
    const bounds = { min: -limit, max: limit, step: 0.1 };
    const slider = make("input", { type: "range", ...bounds, "aria-label": `${name}, slider`, input: () => move(place, Number(slider.value)) });
    const box = make("input", { type: "number", ...bounds, "aria-label": name, change: () => typed(place) });
    return { node: make("label", {}, make("span", { text: name }), slider, box), slider, box };
  });
  const objective = make("select", { "aria-label": "Climbs", change: () => ask({ do: "objective", value: objective.value }) });
  objective.append(...Object.entries(problem.objectives).map(([text, value]) => make("option", { value, text })));
  const rate = make("input", { type: "number", min: 0.1, max: 5, step: 0.1, "aria-label": "Step size", change: () => ask({ do: "rate", value: Number(rate.value) }) });
  const act = (what) => () => ask({ do: what });
  const climbing = [
    button("Step", "Move the dendrite one step up its gradient", act("step")),
    button(`Run ${problem.many} steps`, `Move the dendrite ${problem.many} steps up its gradient`, act("run")),
    button("Switch phase", "Freeze the dendrite, and train the neuron with it", act("switch")),
  ];
  climbing[2].className = "pt-primary";
  const again = button("Start over", "A new dendrite at its random start, and a neuron without it", act("again"));
  const [says, frozen] = [make("span", { class: "pt-says" }), make("span", { class: "pt-also" })];
  const numbers = make("p", { role: "status" });
  const words = make("p");
  const seen = panel("The neuron's error");
  const hill = panel("");
  const border = panel("The neuron's border");
  const view = plane(border.drawing, { ...problem.unit, size: 2.4 }, problem.cells);
  const square = make("div", { class: "pt-square" }, view.canvas, border.drawing);
  border.node.append(square, make("div", { class: "pt-note", text: "Dots: the first class. Triangles: the second." }));
  seen.node.append(make("div", { class: "pt-note", text: "Purple: the neuron says too little, brown: too much. Grey: the dendrite is above zero." }));
  hill.node.append(make("div", { class: "pt-note", text: "Drag the dot. The arrow is its gradient: where it climbs." }));
  const panels = make("div", { class: "pt-panels" }, seen.node, hill.node, border.node);
  root.prepend(
    make("strong", { class: "pt-title", text: problem.title }),
    make("div", { class: "pt-sliders" }, ...sliders.map((each) => each.node)),
    make("div", { class: "pt-controls" }, make("label", { text: "Climbs " }, objective), make("label", { text: "Step size " }, rate), ...climbing, again),
    make("div", { class: "pt-banner" }, says, frozen),
    numbers,
    panels,
    make("details", {}, make("summary", { text: "Describe" }), words),
  );

  let x, y, a1, a2, zero, side, dots, ground, handle, arrow, wide = 0;

  function resize(width) {
    const columns = width < 640 ? 1 : 3;
    set(panels, { "data-columns": columns });
    wide = Math.min(Math.floor((width - 14 * (columns - 1)) / columns), 340);
    const far = wide - 6;
    x = scale([-edge, edge], [EDGE, far]);
    y = scale([-edge, edge], [wide - EDGE, 6]);
    a1 = scale([-limit, limit], [EDGE, far]);
    a2 = scale([-limit, limit], [wide - EDGE, 6]);
    for (const { drawing } of [seen, hill]) size(drawing, wide, wide);
    side = make("path", { class: "pt-side" });
    zero = make("line", { class: "pt-zero" });
    dots = problem.x.map((px, k) => mark(x(px), y(problem.y[k]), problem.labels[k]));
    const clip = freshId("clip");
    const cut = make("defs", {}, make("clipPath", { id: clip }, frame()));
    const clipped = make("g", { "clip-path": `url(#${clip})` }, side, zero);
    seen.drawing.append(cut, frame(), clipped, ...dots, ...axes(edge, x, y, "first input", "second input"));
    ground = make("image", { x: EDGE, y: 6, width: far - EDGE, height: wide - EDGE - 6, preserveAspectRatio: "none" });
    arrow = make("path", { class: "pt-arrow" });
    handle = make("circle", { r: 7, class: "pt-handle" });
    hill.drawing.append(ground, ...axes(limit, a1, a2, "weight 1", "weight 2"), arrow, handle);
    view.resize(wide - 6);
    show();
  }

  const frame = () => make("rect", { x: EDGE, y: 6, width: wide - 6 - EDGE, height: wide - EDGE - 6, class: "pt-frame" });

  function mark(cx, cy, second) {
    if (!second) return make("circle", { cx, cy, r: 3.6, class: "pt-point" });
    return make("path", { d: `M${cx} ${cy - 4.6}l4.4 7.6h-8.8z`, class: "pt-point" });
  }

  function axes(end, across, up, first, second) {
    const digits = Number.isInteger(end) ? 0 : 1;
    const low = wide - EDGE + 14;
    return [
      ...[-end, end].flatMap((value) => [
        label(clamp(across(value), EDGE + 6, wide - 16), low, number(value, digits), { class: "pt-middle pt-tiny" }),
        label(EDGE - 4, clamp(up(value), 14, wide) + 3, number(value, digits), { class: "pt-end pt-tiny" }),
      ]),
      label((EDGE + wide) / 2, low + 2, first, { class: "pt-middle" }),
      label(0, 0, second, { class: "pt-middle", transform: `translate(11 ${(wide - EDGE) / 2}) rotate(-90)` }),
    ];
  }

  // What follows the hand at once; the rest waits for Python's answer.
  function showHand() {
    dendrite.forEach((value, place) => {
      const { slider, box } = sliders[place];
      slider.value = value;
      if (box !== document.activeElement) box.value = value.toFixed(2);
    });
    if (!handle) return;
    set(handle, { cx: a1(dendrite[0]), cy: a2(dendrite[1]) });
    const ends = zeroLine(dendrite, 4 * edge);
    set(zero, { visibility: ends ? "visible" : "hidden" });
    if (!ends) return set(side, { d: "" });
    const [px, py, qx, qy] = [x(ends[0]), y(ends[1]), x(ends[2]), y(ends[3])];
    const [ux, uy] = [dendrite[0], -dendrite[1]].map((part) => (part / Math.hypot(dendrite[0], dendrite[1])) * 3 * wide);
    set(zero, { x1: px, y1: py, x2: qx, y2: qy });
    return set(side, { d: `M${px} ${py}L${qx} ${qy}l${ux} ${uy}L${px + ux} ${py + uy}z` });
  }

  function show() {
    objective.value = state.objective;
    rate.value = state.rate;
    climbing.forEach((each) => able(each, !state.switched));
    sliders.flatMap(({ slider, box }) => [slider, box]).forEach((each) => (each.disabled = state.switched));
    set(root, { "data-phase": state.switched ? "neuron" : "dendrite" });
    put(says, state.says);
    put(frozen, state.frozen);
    put(numbers, state.numbers);
    put(words, state.words);
    put(hill.heading, `The hill it climbs: ${number(state.height, 4)}`);
    if (!wide) return;
    state.errors.forEach((error, k) => set(dots[k], { fill: css(ofError(error)) }));
    const heights = floats(state.landscape);
    const cells = Math.sqrt(heights.length);
    set(ground, { href: picture(cells, cells, (column, row) => viridis(heights[(cells - 1 - row) * cells + column] / state.top)) });
    const [tx, ty] = arrowTip(dendrite, state.gradient);
    set(arrow, { d: arrowPath(a1(dendrite[0]), a2(dendrite[1]), a1(tx), a2(ty)) });
    const grid = new Int8Array(state.border.buffer, state.border.byteOffset, state.border.byteLength);
    view.show(grid, null);
    for (const [{ drawing }, text] of [[seen, state.sees], [hill, state.climbs], [border, state.draws]]) set(drawing, { "aria-label": text });
    showHand();
  }

  const drag = (event) => {
    const box = hill.drawing.getBoundingClientRect();
    move(0, Number(a1.invert(event.clientX - box.left).toFixed(2)));
    move(1, Number(a2.invert(event.clientY - box.top).toFixed(2)));
  };
  set(hill.drawing, {
    class: "pt-hill",
    pointerdown: (event) => {
      if (event.button) return;
      hill.drawing.setPointerCapture(event.pointerId);
      drag(event);
    },
    pointermove: (event) => (event.buttons & 1 ? drag(event) : tip.show(event, `weights ${number(a1.invert(event.offsetX))}, ${number(a2.invert(event.offsetY))}`)),
    pointerleave: tip.hide,
  });

  const changed = () => {
    state = model.get("state");
    asked = false;
    if (waiting) send(); // the hand has gone on meanwhile
    else dendrite = [...state.dendrite];
    show();
  };
  model.on("change:state", changed);
  show();
  showHand();
  const stop = whenResized(root, resize);
  return () => {
    stop();
    model.off("change:state", changed);
  };
}

// A pointed arrow from one place to another.
function arrowPath(x1, y1, x2, y2) {
  const long = Math.hypot(x2 - x1, y2 - y1);
  if (long < 2) return "";
  const [ux, uy] = [(x2 - x1) / long, (y2 - y1) / long];
  const at = (along, aside) => `${(x1 + along * ux - aside * uy).toFixed(1)} ${(y1 + along * uy + aside * ux).toFixed(1)}`;
  const neck = Math.max(long - 13, 0);
  return `M${at(0, 2.2)}L${at(neck, 2.2)}L${at(neck, 6.5)}L${at(long, 0)}L${at(neck, -6.5)}L${at(neck, -2.2)}L${at(0, -2.2)}z`;
}

export default { render };
