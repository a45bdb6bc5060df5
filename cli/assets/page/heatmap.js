// Layers by steps, a colour a value; findings lie on it as marks.

import { color, el, onResize, onTheme, say } from "./dom.js";
import { count, number, percent, ratioTop, severities, span } from "./format.js";

const STRIP = 16; // Pixels above the rows, for findings of the whole model.
const AXIS = 22;
const SIZES = { name: 12, row: [4, 34], all: 480 };
const DECADES_MAX = 14;

export class Heatmap {
  // `pick` is called with the path of a layer.
  constructor({ palette, pick, label }) {
    Object.assign(this, { palette, pick, run: null, row: null, chosen: null, count: 0 });
    this.table = sequential(palette.sequential);
    this.canvas = el("canvas", { tabindex: "0", role: "application", "aria-label": `${label}: layers by steps. Arrow keys choose a layer, Enter opens it.` });
    this.names = el("div", { class: "names", "aria-hidden": "true" });
    this.told = el("p", { class: "told", role: "status" });
    this.key = el("div", { class: "key" });
    this.place = el("div", { class: "cells" }, this.canvas);
    this.root = el("div", { class: "heatmap" }, el("div", { class: "scroll" }, this.names, this.place), this.key, this.told);
    this.cells = document.createElement("canvas");
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    // Focus would scroll to the chosen row, and another one would be under the pointer by the time of the click.
    this.canvas.addEventListener("mousedown", (event) => event.preventDefault());
    this.canvas.addEventListener("click", (event) => {
      const at = this.at(event);
      if (at?.row !== null && at?.row !== undefined) this.pick(this.run.about.params[at.row].path);
    });
    this.canvas.addEventListener("keydown", (event) => this.keyed(event));
    this.canvas.addEventListener("focus", () => this.choose(this.row ?? this.chosenRow() ?? 0));
    this.canvas.addEventListener("blur", () => this.choose(null));
    this.undo = [onResize(this.place, () => this.draw()), onTheme(() => this.draw())];
  }

  close() {
    this.undo.forEach((undo) => undo());
  }

  // `chosen` is the path of the layer that is open; `shared` the range of colours, where other maps have the same.
  set(run, chosen, shared = null) {
    Object.assign(this, { run, chosen, shared });
    // After the last step there are moves and no gradients.
    const has = (cells, place) => cells.some((value) => value !== null) || run.nonfinite[place];
    this.count = run.cells.findLastIndex(has) + 1;
    this.draw();
  }

  chosenRow() {
    const place = this.run?.about?.params.findIndex((param) => param.path === this.chosen);
    return place >= 0 ? place : null;
  }

  draw() {
    const { run } = this;
    const width = this.place.clientWidth;
    if (!run?.about || width === 0) return;
    const params = run.about.params;
    const figure = run.about.figures.find((figure) => figure.name === run.figure);
    const [least, most] = SIZES.row;
    this.height = Math.max(least, Math.min(most, Math.floor(SIZES.all / Math.max(1, params.length))));
    this.label(params);
    const scale = devicePixelRatio || 1;
    const tall = STRIP + this.height * params.length + AXIS;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(tall * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(tall * scale);
      this.canvas.style.height = `${tall}px`;
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, tall);
    this.width = width;
    const range = this.shared ?? valueRange(run);
    if (this.count > 0 && params.length > 0) {
      this.paint(Math.min(this.count, Math.round(width * scale)), params.length, range);
      context.imageSmoothingEnabled = false;
      context.drawImage(this.cells, 0, STRIP, width, this.height * params.length);
    }
    this.axis(context, width, tall);
    this.findings(context, params);
    this.frame(context, width);
    this.legend(figure, range);
  }

  // One pixel a cell. Where there are more spans than pixels the value farthest from zero shows, and a NaN before all.
  paint(columns, rows, { log, low, high }) {
    const { cells, nonfinite } = this.run;
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const none = packed(this.palette.none), bad = packed(this.palette.nonfinite);
    const factor = (this.table.length - 1) / (high - low);
    for (let column = 0; column < columns; column++) {
      const from = Math.floor((column * this.count) / columns);
      const end = Math.max(from + 1, Math.floor(((column + 1) * this.count) / columns));
      for (let row = 0; row < rows; row++) {
        let value = null, broken = false;
        for (let place = from; place < end; place++) {
          const cell = cells[place][row];
          if (cell !== null && (value === null || Math.abs(cell) > Math.abs(value))) value = cell;
          if (nonfinite[place]?.has(row)) broken = true;
        }
        let shade = none;
        if (broken) shade = bad;
        else if (value !== null) {
          const at = log ? (value > 0 ? Math.log10(value) : low) : value;
          shade = this.table[Math.max(0, Math.min(this.table.length - 1, Math.round((at - low) * factor)))];
        }
        pixels[row * columns + column] = shade;
      }
    }
    this.cells.width = columns;
    this.cells.height = rows;
    this.cells.getContext("2d").putImageData(image, 0, 0);
  }

  label(params) {
    const key = `${this.height} ${this.chosen} ${params.length}`;
    if (key === this.labelled) return;
    this.labelled = key;
    // Names that would lie on one another are left out; the arrow keys and the pointer tell them all.
    const every = Math.ceil(SIZES.name / this.height);
    const longest = Math.max(...params.map((param) => param.path.length));
    this.names.style.width = `clamp(40px, ${longest * 6.4 + 12}px, min(210px, 30vw))`;
    this.names.style.height = `${STRIP + this.height * params.length + AXIS}px`;
    this.names.replaceChildren(...params.flatMap((param, row) => {
      if (row % every !== 0 && param.path !== this.chosen) return [];
      const name = el("button", { type: "button", tabindex: "-1", title: param.path, class: param.path === this.chosen ? "chosen" : "" }, param.path);
      name.style.top = `${STRIP + this.height * (row + 0.5)}px`;
      name.addEventListener("click", () => this.pick(param.path));
      return [name];
    }));
  }

  // The pixel at which the column of a step begins.
  x(step) {
    const place = this.run.steps.findIndex(([, last]) => last >= step);
    return this.width * (place < 0 ? 1 : Math.min(1, place / Math.max(1, this.count)));
  }

  axis(context, width, tall) {
    const { count: columns, run: { steps } } = this;
    if (columns === 0) return;
    context.fillStyle = color("muted");
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "alphabetic";
    const labels = Math.min(columns, Math.max(2, Math.floor(width / 110)));
    for (let i = 0; i < labels; i++) {
      const place = Math.floor((i * (columns - 1)) / Math.max(1, labels - 1));
      context.textAlign = i === 0 ? "left" : i === labels - 1 ? "right" : "center";
      const x = i === 0 ? 0 : i === labels - 1 ? width : (width * (place + 0.5)) / columns;
      context.fillText(i === 0 ? `step ${count(steps[place][0])}` : count(steps[place][i === labels - 1 ? 1 : 0]), x, tall - 6);
    }
  }

  findings(context, params) {
    for (const finding of this.run.findings) {
      const from = this.x(finding.first_step), to = finding.open ? this.width : this.x(finding.last_step + 1);
      const rows = finding.tensors.length > 0 ? finding.tensors : [null];
      for (const row of rows) {
        const y = row === null ? STRIP / 2 : STRIP + this.height * (row + 0.5);
        context.lineWidth = 1;
        context.fillStyle = color(finding.severity);
        context.strokeStyle = color("page");
        context.fillRect(from, y - 1, Math.max(1, to - from), 2);
        const size = row === null ? 6 : Math.max(4, Math.min(6, this.height / 2));
        context.beginPath();
        context.moveTo(from - size, y);
        context.lineTo(from, y - size);
        context.lineTo(from + size, y);
        context.lineTo(from, y + size);
        context.closePath();
        context.fill();
        context.stroke();
      }
    }
  }

  frame(context, width) {
    const outline = (row, shade) => {
      context.strokeStyle = shade;
      context.lineWidth = 2;
      context.strokeRect(1, STRIP + this.height * row, width - 2, this.height);
    };
    const chosen = this.chosenRow();
    if (chosen !== null) outline(chosen, color("accent"));
    if (this.row !== null) outline(this.row, color("text"));
  }

  legend(figure, { log, low, high, empty }) {
    const text = (value) => (log ? `1e${value}` : figure?.scale === "ratio" ? percent(value) : number(value));
    const key = JSON.stringify([figure?.name, log, low, high, empty]);
    if (key === this.legendKey) return;
    this.legendKey = key;
    const bar = el("canvas", { width: 128, height: 1, class: "bar", "aria-hidden": "true" });
    const image = new ImageData(128, 1);
    new Uint32Array(image.data.buffer).set(this.table.filter((_, i) => i % 2 === 0));
    bar.getContext("2d").putImageData(image, 0, 0);
    const swatch = (rgb, text) => {
      const square = el("span", { class: "swatch" });
      square.style.background = `rgb(${rgb})`;
      return el("span", {}, square, text);
    };
    this.key.replaceChildren(
      el("span", {}, text(low)), bar, el("span", {}, `${text(high)} ${figure?.title ?? ""}`),
      swatch(this.palette.nonfinite, "NaN or infinite"), swatch(this.palette.none, "no value"),
    );
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const { about } = this.run ?? {};
    if (!about || this.count === 0) return null;
    const place = Math.floor(((event.clientX - box.left) / box.width) * this.count);
    const row = Math.floor((event.clientY - box.top - STRIP) / this.height);
    if (place < 0 || place >= this.count) return null;
    return { place, row: row >= 0 && row < about.params.length ? row : null, inStrip: row < 0 };
  }

  hover(event) {
    const at = event && this.at(event);
    if (!at || (at.row === null && !at.inStrip)) return say(this.told, "");
    say(this.told, at.row === null ? this.model(at.place) : this.describe(at.place, at.row));
  }

  near(place) {
    const [first, last] = this.run.steps[place];
    const room = Math.max(1, ((last - first + 1) * this.count * 6) / Math.max(1, this.width));
    return (finding) => finding.first_step <= last + room && (finding.open || finding.last_step >= first - room);
  }

  model(place) {
    const found = this.run.findings.filter((finding) => finding.tensors.length === 0).filter(this.near(place));
    return found.map((finding) => finding.text).join(" · ");
  }

  describe(place, row) {
    const { about, steps, cells, nonfinite, figure, findings } = this.run;
    const { title, scale } = about.figures.find(({ name }) => name === figure) ?? {};
    const value = cells[place][row];
    const text = scale === "ratio" ? percent(value) : number(value);
    const bad = nonfinite[place]?.has(row) ? ", NaN or infinite among them" : "";
    const found = findings.filter((finding) => finding.tensors.includes(row)).filter(this.near(place));
    const told = found.map((finding) => ` · ${severities[finding.severity]}: ${finding.rule}`).join("");
    return `${about.params[row].path}, ${span(steps[place])}: ${title} ${text}${bad}${told}`;
  }

  keyed(event) {
    const last = (this.run?.about?.params.length ?? 0) - 1;
    if (last < 0 || this.row === null) return;
    const to = { ArrowUp: this.row - 1, ArrowDown: this.row + 1, PageUp: this.row - 10, PageDown: this.row + 10, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.choose(Math.max(0, Math.min(last, to)));
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick(this.run.about.params[this.row].path);
    }
  }

  choose(row) {
    this.row = row;
    if (row !== null && this.count > 0) {
      say(this.told, this.describe(this.count - 1, row));
      const y = STRIP + this.height * row, scroll = this.root.firstChild;
      if (y < scroll.scrollTop || y > scroll.scrollTop + scroll.clientHeight - 30) scroll.scrollTop = y - scroll.clientHeight / 2;
    }
    this.draw();
  }
}

// Smallest and largest value of a run's cells, as exponents where the figure spans decades.
export function valueRange({ about, figure, cells }) {
  const { scale } = about.figures.find(({ name }) => name === figure) ?? {};
  const log = scale === "log";
  let low = Infinity, high = -Infinity;
  for (const span of cells) {
    for (const value of span) {
      if (value === null || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return { log, low: 0, high: 1, empty: true };
  if (scale === "ratio") return { log, low: 0, high: ratioTop(high) };
  if (!log) return { log, low: Math.min(0, low), high: high > Math.min(0, low) ? high : Math.min(0, low) + 1 };
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  return { log, low: Math.max(from, to - DECADES_MAX), high: Math.max(to, from + 1) };
}

function packed([red, green, blue]) {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}

// 256 shades between the stops.
function sequential(stops) {
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1), stop = Math.min(stops.length - 2, Math.floor(at)), share = at - stop;
    return packed(stops[stop].map((from, k) => Math.round(from + share * (stops[stop + 1][k] - from))));
  });
}
