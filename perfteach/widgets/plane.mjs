// The plane of a problem with two inputs: which class a network gives each place, and the points themselves.
import { make, paint, set, size, scale } from "./shared.mjs";

const CLASSES = [[1, 115, 178], [222, 143, 5]];
const TINT = 70; // of 255: the ground shows through in both themes

// Value of a square grid of cells at a place (both 0 to `cells` − 1), between its four neighbours.
export function inside(grid, cells, x, y) {
  const [left, low] = [Math.min(Math.floor(x), cells - 2), Math.min(Math.floor(y), cells - 2)];
  const [dx, dy] = [x - left, y - low];
  const at = low * cells + left;
  return (grid[at] * (1 - dx) + grid[at + 1] * dx) * (1 - dy) + (grid[at + cells] * (1 - dx) + grid[at + cells + 1] * dx) * dy;
}

// Where a grid crosses zero, as short lines [x1, y1, x2, y2] in cells (marching squares).
export function border(grid, cells) {
  const found = [];
  for (let row = 0; row + 1 < cells; row += 1) {
    for (let column = 0; column + 1 < cells; column += 1) {
      const at = row * cells + column;
      const [a, b, c, d] = [grid[at], grid[at + 1], grid[at + cells + 1], grid[at + cells]];
      if ((a > 0) === (b > 0) && (b > 0) === (c > 0) && (c > 0) === (d > 0)) continue;
      const cut = [];
      if (a > 0 !== b > 0) cut.push([column + a / (a - b), row]);
      if (b > 0 !== c > 0) cut.push([column + 1, row + b / (b - c)]);
      if (c > 0 !== d > 0) cut.push([column + d / (d - c), row + 1]);
      if (d > 0 !== a > 0) cut.push([column, row + a / (a - d)]);
      for (let k = 0; k + 1 < cut.length; k += 2) found.push([...cut[k], ...cut[k + 1]]);
    }
  }
  return found;
}

// A square of the plane. `points` has x, y (0 to 1 within the square) and labels.
export function plane(drawing, points, cells) {
  const canvas = make("canvas", { class: "pt-plane" });
  drawing.before(canvas);
  let edge, line, ghost;

  function resize(width) {
    edge = width;
    size(drawing, width, width);
    const sharp = Math.round(width * Math.min(globalThis.devicePixelRatio ?? 1, 2));
    set(canvas, { width: sharp, height: sharp, style: `width:${width}px;height:${width}px` });
    ghost = make("path", { class: "pt-border-before" });
    line = make("path", { class: "pt-border" });
    const at = scale([0, 1], [0, width]);
    const marks = points.x.map((x, k) => {
      const [cx, cy] = [at(x), width - at(points.y[k])];
      const look = { class: `pt-class-${points.labels[k]}` };
      if (!points.labels[k]) return make("circle", { cx, cy, r: points.size, ...look });
      const r = points.size * 1.25;
      return make("path", { d: `M${cx} ${cy - r}l${r} ${r * 1.7}h${-2 * r}z`, ...look });
    });
    drawing.append(make("g", {}, ...marks), ghost, line);
  }

  const path = (grid) => {
    const unit = edge / (cells - 1);
    return border(grid, cells).map(([a, b, c, d]) => `M${(a * unit).toFixed(1)} ${(edge - b * unit).toFixed(1)}L${(c * unit).toFixed(1)} ${(edge - d * unit).toFixed(1)}`).join("");
  };

  // Tint both sides and draw the border; `before` is another grid whose border is drawn faintly.
  function show(grid, before) {
    const unit = (cells - 1) / (canvas.width - 1);
    paint(canvas, (x, y) => {
      const side = inside(grid, cells, x * unit, cells - 1 - y * unit) > 0 ? 1 : 0;
      return [...CLASSES[side], TINT];
    });
    set(line, { d: path(grid) });
    set(ghost, { d: before ? path(before) : "" });
  }
  return { resize, show, canvas };
}
