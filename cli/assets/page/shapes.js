// What a layer looks like beyond curves: how its histograms move, and its part of the sign map.

import { color, el, onResize, onTheme, say } from "./dom.js";
import { count, number, span } from "./format.js";

const RIDGES = { all: 230, height: 46, left: 52, right: 12, top: 52, bottom: 24 };
const MAP_HEIGHT = 260;

// What the server reads of a run for one of its tensors.
export async function read(what, run, tensor) {
  const answer = await fetch(`/api/${what}?${new URLSearchParams({ run, tensor })}`);
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

// Ridges, one a step, the last in front. Heights are densities to `power`: below 1 it lets tails be seen beside a peak.
export class Ridgeline {
  constructor({ title, power, palette }) {
    Object.assign(this, { power, palette, ridges: [] });
    this.canvas = el("canvas", { role: "img", "aria-label": title });
    this.place = el("div", { class: "plot" }, this.canvas);
    this.root = el("figure", { class: "chart" }, el("figcaption", {}, title), this.place);
    this.undo = [onResize(this.place, () => this.draw()), onTheme(() => this.draw())];
  }

  close() {
    this.undo.forEach((undo) => undo());
  }

  set(ridges) {
    this.ridges = ridges.filter((ridge) => ridge.count.some((count) => count > 0));
    this.root.hidden = this.ridges.length === 0;
    this.draw();
  }

  draw() {
    const { ridges } = this;
    const width = this.place.clientWidth;
    if (ridges.length === 0 || width === 0) return;
    const { all, height, left, right, top, bottom } = RIDGES;
    const context = sized(this.canvas, width, all);
    const low = Math.min(...ridges.map((ridge) => ridge.edges[0]));
    const high = Math.max(...ridges.map((ridge) => ridge.edges.at(-1)));
    const x = (value) => left + ((width - left - right) * (value - low)) / (high - low || 1);
    const densities = ridges.map(({ edges, count }) => {
      const total = count.reduce((sum, count) => sum + count, 0) || 1;
      return count.map((count, i) => count / total / Math.max(Number.MIN_VALUE, edges[i + 1] - edges[i]));
    });
    const base = (place) => top + (all - top - bottom) * (ridges.length > 1 ? place / (ridges.length - 1) : 1);
    ridges.forEach(({ edges }, place) => {
      // Each by its own highest: one step of zeros alone would leave nothing to see of the others.
      const highest = Math.max(...densities[place]) || 1;
      context.beginPath();
      context.moveTo(x(edges[0]), base(place));
      densities[place].forEach((density, i) => {
        context.lineTo(x((edges[i] + edges[i + 1]) / 2), base(place) - height * (density / highest) ** this.power);
      });
      context.lineTo(x(edges.at(-1)), base(place));
      const stops = this.palette.sequential;
      const [r, g, b] = stops[Math.round(((stops.length - 2) * place) / Math.max(1, ridges.length - 1))];
      context.fillStyle = `rgba(${r}, ${g}, ${b}, 0.75)`;
      context.fill();
      context.strokeStyle = color("card");
      context.stroke();
    });
    context.fillStyle = color("muted");
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(count(ridges[0].step), left - 6, base(0));
    if (ridges.length > 1) context.fillText(count(ridges.at(-1).step), left - 6, base(ridges.length - 1));
    context.textBaseline = "alphabetic";
    for (const [value, align] of [[low, "left"], [(low + high) / 2, "center"], [high, "right"]]) {
      context.textAlign = align;
      context.fillText(number(Math.abs(value) < (high - low) * 1e-6 ? 0 : value), x(value), all - 6);
    }
  }
}

// A line a step, a column for some of the layer's elements.
export class SignMap {
  constructor({ palette }) {
    this.part = null;
    this.canvas = el("canvas", { role: "img", "aria-label": "sign map" });
    this.told = el("p", { class: "told", role: "status" });
    const meaning = [["large", "not near zero"], ["negative", "near zero, negative"], ["positive", "near zero, positive"], ["zero", "zero"], ["nonfinite", "non-finite"], ["none", "no gradient"]];
    const key = meaning.map(([name, text]) => {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = `rgb(${palette[name]})`;
      return el("span", {}, swatch, text);
    });
    this.place = el("div", { class: "plot map" }, this.canvas);
    this.title = el("figcaption");
    this.root = el("figure", { class: "chart whole" }, this.title, el("div", { class: "key" }, ...key), this.place, this.told);
    this.cells = document.createElement("canvas");
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => say(this.told, ""));
    this.undo = [onResize(this.place, () => this.draw())];
  }

  close() {
    this.undo.forEach((undo) => undo());
  }

  set(part) {
    this.part = part;
    this.root.hidden = !part;
    if (!part) return;
    const { steps, column_count, first_element, end_element } = part;
    const per = (end_element - first_element) / column_count;
    say(this.title, `Sign map: elements ${count(first_element)} to ${count(end_element - 1)}, ${per > 1 ? `${number(per)} a column` : "one a column"}`);
    const bytes = Uint8Array.from(atob(part.rgb), (c) => c.charCodeAt(0));
    const image = new ImageData(column_count, steps.length);
    for (let i = 0; i < column_count * steps.length; i++) {
      image.data.set(bytes.subarray(3 * i, 3 * i + 3), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    this.cells.width = column_count;
    this.cells.height = steps.length;
    this.cells.getContext("2d").putImageData(image, 0, 0);
    this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    if (!this.part || width === 0) return;
    const context = sized(this.canvas, width, MAP_HEIGHT);
    context.imageSmoothingEnabled = this.part.steps.length > MAP_HEIGHT || this.part.column_count > width;
    context.drawImage(this.cells, 0, 0, width, MAP_HEIGHT);
  }

  hover(event) {
    if (!this.part) return;
    const box = this.canvas.getBoundingClientRect();
    const { steps, column_count, first_element, end_element } = this.part;
    const column = Math.floor(((event.clientX - box.left) / box.width) * column_count);
    const line = Math.floor(((event.clientY - box.top) / box.height) * steps.length);
    if (line < 0 || line >= steps.length || column < 0 || column >= column_count) return;
    const per = (end_element - first_element) / column_count;
    const first = first_element + Math.floor(column * per), last = Math.max(first, first_element + Math.ceil((column + 1) * per) - 1);
    say(this.told, `${span([steps[line], steps[line]])}, element${first === last ? ` ${count(first)}` : `s ${count(first)} to ${count(last)}`}`);
  }
}

function sized(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.font = "11px system-ui, sans-serif";
  return context;
}
