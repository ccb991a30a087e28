// What every drawing shares: elements, numbers, scales, colours. No framework, nothing from a network.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "path", "rect", "line", "circle", "text", "defs", "pattern", "clipPath", "image"]);
const CONTROLS = new Set(["input", "select", "button", "summary"]);

// An element with its attributes and children. Text is always set as text, so names in a record cannot become markup.
export function make(tag, attributes = {}, ...children) {
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (CONTROLS.has(tag)) node.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab would take arrow keys
  set(node, attributes);
  node.append(...children);
  return node;
}

export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") put(node, value);
    else if (typeof value === "function") node.addEventListener(name, value);
    else if (value === false || value == null) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

// Only a changed text is set: a status is read aloud when it changes, not at every epoch.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A button that cannot be pressed now is marked so and keeps the focus, which a disabled one would lose.
export function button(label, tip, act) {
  const node = make("button", { type: "button", title: tip, text: label, click: () => node.getAttribute("aria-disabled") || act() });
  return node;
}

export const able = (node, yes) => set(node, { "aria-disabled": yes ? null : "true" });

export const GONE = "No kernel answers. Run the cell again.";

// A message to Python; where its kernel is gone, `silent` is told.
export function post(model, content, silent) {
  try {
    model.send(content);
    return true;
  } catch {
    silent();
    return false;
  }
}

// ---------------------------------------------------------------------------------------------- numbers

export const known = (value) => value != null && Number.isFinite(value);

export function number(value, digits = 2) {
  return known(value) ? value.toFixed(digits).replace("-", "−") : "–";
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Round numbers within the limits, about `most` of them.
export function ticks(low, high, most = 6) {
  if (!(high > low)) return [low];
  const power = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = power * [1, 2, 2.5, 5, 10].find((part) => part * power >= (high - low) / most);
  const first = Math.ceil(low / step - 1e-9);
  const many = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: many }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

export function scale([low, high], [start, end]) {
  const unit = (end - start) / (high - low || 1);
  return Object.assign((value) => start + (value - low) * unit, { invert: (at) => low + (at - start) / unit });
}

// The first of `starts` after `now`; from the last one back to the first.
export function next(starts, now) {
  return starts.find((start) => start > now) ?? starts[0] ?? now;
}

// A path through (x, y); it is broken where a value is missing.
export function line(points) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (!known(y)) return (pen = "M"), "";
    const part = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

// Rectangles [x, y, width, height] as one path: a page of many elements is slow to build.
export function rects(places) {
  return places.map((place) => place.map((value) => value.toFixed(2))).map(([x, y, wide, tall]) => `M${x} ${y}h${wide}v${tall}h-${wide}z`).join("");
}

// Numbers that came as bytes.
export function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// Frames that came as differences to the frame before, compressed; returns one Int8Array for all of them.
export async function unpack(view, cells) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const frames = new Int8Array(await new Response(stream).arrayBuffer());
  for (let k = cells; k < frames.length; k += 1) frames[k] += frames[k - cells];
  return frames;
}

// ---------------------------------------------------------------------------------------------- colours

// Matplotlib's viridis and PuOr at equal steps.
const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"].map(rgb);
const ERRORS = ["2d004b", "8073ac", "d8daeb", "f7f7f7", "fee0b6", "e08214", "7f3b08"].map(rgb);

function rgb(hex) {
  return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function between(stops, share) {
  const place = clamp(share, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((value, k) => Math.round(value + (stops[low + 1][k] - value) * (place - low)));
}

export const viridis = (share) => between(VIRIDIS, share);
export const ofError = (error) => between(ERRORS, (error + 1) / 2);
export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

// A small image as an address for <image>: `color(column, row)` gives [red, green, blue, alpha] or null for nothing.
export function picture(columns, rows, color) {
  const canvas = make("canvas", { width: columns, height: rows });
  paint(canvas, color);
  return canvas.toDataURL();
}

export function paint(canvas, color) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0, row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1, at += 4) {
      const found = color(column, row);
      if (found) {
        image.data.set(found, at);
        image.data[at + 3] = found[3] ?? 255;
      }
    }
  }
  context.putImageData(image, 0, 0);
}

// ---------------------------------------------------------------------------------------------- pages

// The widget's own part of the page.
export function mount(el, look) {
  const root = make("div", { class: look });
  el.append(root);
  return root;
}

// Call `act` with the width in pixels now, and whenever it changes.
export function whenResized(node, act) {
  let [before, asked] = [0, 0];
  const observer = new ResizeObserver(([{ contentRect }]) => {
    const width = Math.floor(contentRect.width);
    if (!width || width === before) return;
    before = width;
    cancelAnimationFrame(asked); // drawn after the observer's turn, which must not change what it observes
    asked = requestAnimationFrame(() => act(width));
  });
  observer.observe(node);
  return () => {
    cancelAnimationFrame(asked);
    observer.disconnect();
  };
}

// Run `act` once before the next picture, however often it is asked for.
export function onceAFrame(act) {
  let asked = 0;
  return () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      act();
    });
  };
}

// A note beside the pointer.
export function tips(root) {
  const note = make("div", { class: "pt-tip", hidden: true, "aria-hidden": "true" });
  root.append(note);
  return {
    show(event, text) {
      const frame = root.getBoundingClientRect();
      put(note, text);
      note.hidden = false;
      const room = frame.width - note.offsetWidth - 4;
      note.style.left = `${clamp(event.clientX - frame.left + 14, 0, Math.max(room, 0))}px`;
      note.style.top = `${event.clientY - frame.top + 16}px`;
    },
    hide() {
      note.hidden = true;
    },
  };
}

// The panel of a drawing: a heading, and the drawing with its text for a screen reader.
export function panel(title) {
  const drawing = make("svg", { role: "img" });
  const heading = make("div", { class: "pt-heading", text: title });
  return { node: make("div", { class: "pt-panel" }, heading, drawing), heading, drawing };
}

export function size(drawing, width, height) {
  drawing.replaceChildren();
  return set(drawing, { width, height, viewBox: `0 0 ${width} ${height}` });
}

export function label(x, y, text, look = {}) {
  return make("text", { x, y, text, ...look });
}

// Lines across a drawing, with their values at the left.
export function gridLines(drawing, values, y, left, right, look = "pt-end") {
  for (const value of values) {
    drawing.append(make("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "pt-grid" }));
    drawing.append(label(left - 6, y(value) + 4, `${value}`, { class: look }));
  }
}

// An id that no other part of the document has. Each widget runs a copy of this module, so a count alone would not do.
const COPY = Math.random().toString(36).slice(2);
let ids = 0;
export function freshId(kind) {
  return `pt-${kind}-${COPY}-${(ids += 1)}`;
}

// Stripes, so that frozen and learning, neuron and dendrite are told apart without colour.
export function hatch(drawing, kind, slope = 1) {
  const id = freshId("hatch");
  const stripe = make("path", { d: slope > 0 ? "M-1 7L7 -1" : "M-1 -1L7 7", class: `pt-stripe pt-stripe-${kind}` });
  const ground = make("rect", { width: 6, height: 6, class: `pt-ground-${kind}` });
  const pattern = make("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" }, ground, stripe);
  drawing.append(make("defs", {}, pattern));
  return `url(#${id})`;
}
