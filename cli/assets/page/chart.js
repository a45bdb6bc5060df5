// Curves over steps. Where a point stands for many steps, the band behind the line reaches from their least to their largest.

import { color, el, onResize, onSight, onTheme, say } from "./dom.js";
import { count, number, percent, ratioTop } from "./format.js";

const HEIGHT = 190;
// Positive values that spread wider than this get a logarithmic axis where none was asked for.
const WIDE = 1e3;

export class Chart {
  // `scale` is linear, log, ratio, count, or auto: linear or log, as the values are. `x` names the axis below.
  constructor({ title, scale = "linear", x = "step", height = HEIGHT }) {
    Object.assign(this, { title, scale, x, height, lines: [], plot: null, shape: "", seen: true });
    this.legend = el("ul", { class: "legend" });
    this.place = el("div", { class: "plot" });
    this.root = el("figure", { class: "chart" }, el("figcaption", {}, title), this.legend, this.place);
    this.root.chart = this;
    this.undo = [onResize(this.place, () => this.resize()), onTheme(() => this.rebuild()), onSight(this.root, (seen) => this.sighted(seen))];
  }

  close() {
    this.undo.forEach((undo) => undo());
    this.plot?.destroy();
  }

  // `make` makes lines as `feed.js` does, with a colour; null ones are left out. A chart out of sight shows what it had, and
  // catches up when it is scrolled to.
  set(make) {
    this.make = make;
    if (this.plot && !this.seen && !this.root.hidden) return;
    this.lines = make().filter(Boolean);
    this.root.hidden = this.lines.length === 0;
    if (this.root.hidden || this.place.clientWidth === 0) return;
    const banded = this.lines.map((line) => line.max.some((max, i) => max !== line.min[i]));
    const log = logarithmic(this.scale, this.lines);
    const shape = JSON.stringify([banded, log, this.lines.map((line) => [line.label, line.color, isShort(line)])]);
    const data = table(this.lines, banded, log);
    this.marks = this.lines.flatMap((line) => line.nonfinite);
    // A zero has no place on a logarithmic axis: it stands at its foot.
    this.zeros = log ? this.lines.flatMap((line) => zeros(line).map((step) => [step, line.color])) : [];
    if (shape === this.shape) {
      this.put(data);
    } else {
      this.plot?.destroy();
      this.shape = shape;
      this.plot = new uPlot(this.options(banded, log), data, this.place);
      this.legend.replaceChildren(...this.lines.map((line) => this.key(line)));
    }
    this.tell(null);
  }

  sighted(seen) {
    this.seen = seen;
    if (seen && this.make) this.set(this.make);
  }

  // A part that the reader has zoomed into stays.
  put(data) {
    const { min, max } = this.plot.scales.x;
    const all = this.plot.data[0];
    const zoomed = min > all[0] || max < all.at(-1);
    this.plot.setData(data, !zoomed);
    if (zoomed) this.plot.setScale("x", { min, max });
  }

  rebuild() {
    this.shape = "";
    if (this.make) this.set(this.make);
  }

  resize() {
    if (this.plot) this.plot.setSize({ width: this.place.clientWidth, height: this.height });
    else if (this.make) this.set(this.make);
  }

  key(line) {
    const swatch = el("span", { class: "swatch" });
    swatch.style.background = line.color;
    line.value = el("b");
    return el("li", {}, swatch, `${line.label} `, line.value);
  }

  // Values under the cursor, or the last ones.
  tell(place) {
    const keys = [...this.legend.children];
    this.lines.forEach((line, i) => {
      const x = place === null ? undefined : this.plot.data[0][place];
      const at = line.last.findLastIndex((value, i) => value !== undefined && (x === undefined || line.x[i] <= x));
      const low = line.min[at], high = line.max[at];
      let text = low === high || low === null ? this.text(line.last[at]) : `${this.text(low)} … ${this.text(high)}`;
      if (x === undefined) text = ended(line) ?? line.told ?? text;
      const value = keys[i]?.querySelector("b");
      if (value) say(value, text);
    });
  }

  text(value) {
    return this.scale === "ratio" ? percent(value) : number(value);
  }

  options(banded, log) {
    const [text, grid] = [color("muted"), color("grid")];
    const series = [{}], bands = [];
    this.lines.forEach((line, i) => {
      if (banded[i]) {
        // A spike is as thin as one point: the band has an edge, so that it is seen.
        const edge = { stroke: faded(line.color, "aa"), width: 1, points: { show: false } };
        bands.push({ series: [series.length, series.length + 1], fill: faded(line.color, "44") });
        series.push({ ...edge }, { ...edge });
      }
      const filter = (plot, place, show) => (show ? null : alone(plot.data[place]));
      series.push({ stroke: line.color, width: 1, points: { show: isShort(line), size: 4, fill: line.color, filter } });
    });
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "11px system-ui, sans-serif" };
    const show = (plot, values) => values.map((value) => (value === null ? "" : this.text(value)));
    return {
      width: this.place.clientWidth,
      height: this.height,
      scales: { x: { time: false }, y: { distr: log ? 3 : 1, range: log ? undefined : range(this.scale) } },
      series,
      bands,
      axes: [
        { ...axis, size: 28, values: (plot, values) => values.map((value) => (Number.isInteger(value) ? count(value) : String(value))) },
        log ? { ...axis, size: 62, splits: (plot, i, low, high) => decades(low, high), values: (plot, values) => values.map(exponent) } : { ...axis, size: 62, values: show },
      ],
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false }, sync: { key: this.x }, points: { show: false } },
      hooks: {
        setCursor: [(plot) => this.tell(plot.cursor.idx)],
        draw: [(plot) => this.mark(plot)],
      },
    };
  }

  // Steps whose value was NaN or infinite: a mark at the top, since no axis has a place for them.
  mark(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = color("nonfinite");
    for (const step of this.marks) {
      const x = plot.valToPos(step, "x", true);
      if (x >= bbox.left - 1 && x <= bbox.left + bbox.width + 1) ctx.fillRect(x - 1.5, bbox.top, 3, bbox.height * 0.12 + 4);
    }
    for (const [step, shade] of this.zeros) {
      const x = plot.valToPos(step, "x", true);
      ctx.fillStyle = shade;
      if (x >= bbox.left - 1 && x <= bbox.left + bbox.width + 1) ctx.fillRect(x - 1.5, bbox.top + bbox.height - 7, 3, 7);
    }
    ctx.restore();
  }
}

// Steps of a line at which it is zero.
function zeros(line) {
  return line.x.filter((_, i) => line.min[i] === 0 || line.last[i] === 0);
}

// Places of values that have none on either side of them: no line goes through them.
function alone(values) {
  const next = (at, by) => {
    do at += by;
    while (values[at] === undefined && at >= 0 && at < values.length);
    return values[at] ?? null;
  };
  const found = [];
  for (let at = 0; at < values.length; at++) {
    if (values[at] !== null && values[at] !== undefined && next(at, -1) === null && next(at, 1) === null) found.push(at);
  }
  return found;
}

// What a line that has come to an end says in place of its last value: since when it is NaN, or is not there.
function ended(line) {
  if (line.nonfinite_since !== undefined && line.nonfinite_since !== null) return `NaN since step ${count(line.nonfinite_since)}`;
  const last = line.last.findLastIndex((value) => value !== undefined);
  if (last < 0 || line.last[last] !== null) return null;
  const from = line.last.findLastIndex((value) => value !== undefined && value !== null);
  const first = line.last.findIndex((value, i) => i > from && value === null);
  const bad = line.nonfinite.some((step) => step >= line.x[first] || step === line.x[last]);
  return `${bad ? "NaN" : "none"} since step ${count((line.from ?? line.x)[first])}`;
}

// Lines over one axis: a column of steps, then for each line its bounds, where they differ, and its last values.
function table(lines, banded, log) {
  const shown = (values) => (log ? values.map((value) => (value === undefined || value > 0 ? value : null)) : values);
  const tables = lines.map((line, i) => {
    const bounds = banded[i] ? [shown(line.max), shown(line.min)] : [];
    return [line.x, ...bounds, shown(line.last)];
  });
  const same = ([x]) => x.length === tables[0][0].length && x.every((step, i) => step === tables[0][0][i]);
  if (tables.every(same)) return [tables[0][0], ...tables.flatMap((table) => table.slice(1))];
  return uPlot.join(tables, tables.map((table) => table.map(() => 1)));
}

// A logarithmic axis has no place for what is not positive.
function logarithmic(scale, lines) {
  if (scale === "log") return lines.some((line) => line.max.some((value) => value > 0));
  if (scale !== "auto") return false;
  const low = Math.min(...lines.map((line) => least(line.min))), high = Math.max(...lines.map((line) => most(line.max)));
  return low > 0 && high > WIDE * low;
}

function least(values) {
  return values.reduce((least, value) => (value !== null && value !== undefined && value < least ? value : least), Infinity);
}

function most(values) {
  return values.reduce((most, value) => (value !== null && value !== undefined && value > most ? value : most), -Infinity);
}

// Of a line of few points each shows.
function isShort(line) {
  return line.x.length <= 40;
}

function range(scale) {
  if (scale === "ratio") return (plot, low, high) => [0, ratioTop(high)];
  if (scale === "count") return (plot, low, high) => [0, Math.max(1, high * 1.05)];
  return (plot, low, high) => {
    if (low === null) return [0, 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  };
}

// Whole decades, and no more of them than fit; parts of them where there are not two.
function decades(low, high) {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const parts = to - from > 2 ? [1] : [1, 2, 5];
  const every = Math.max(1, Math.ceil((to - from) / 6));
  const found = [];
  for (let power = from; power <= to; power += every) found.push(...parts.map((part) => part * 10 ** power));
  return found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
}

function exponent(value) {
  return value === null ? "" : value.toExponential(0).replace("e+", "e");
}

function faded(hex, alpha) {
  return `${hex}${alpha}`;
}
