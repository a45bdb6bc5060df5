// One run: layers by steps first, what is wrong beside it, then the figures over all layers, and the layer that was opened.

import { Chart } from "./chart.js";
import { drawn, el, option, say } from "./dom.js";
import { Feed, line } from "./feed.js";
import { Findings } from "./findings.js";
import { count, statuses } from "./format.js";
import { Heatmap } from "./heatmap.js";
import { Layer } from "./layer.js";

// Figures over all layers that share a chart: source and name, and the words for it.
const CHARTS = [
  ["Loss", "auto", { "scalar/loss": "training", "log/validation/loss": "validation" }],
  ["Accuracy", "ratio", { "scalar/accuracy": "training batch", "log/validation/accuracy": "validation" }],
  ["Smallest and largest of all layers", "linear", { "global/min": "gradient min", "global/max": "gradient max", "global/param_min": "weight min", "global/param_max": "weight max" }],
  ["L2 norm of all gradients", "log", { "global/l2_norm": "L2" }],
  ["What observing costs, seconds a step", "log", {
    "cost/submit_secs": "on the training thread", "cost/handoff_secs": "of it, hand-off", "cost/wait_secs": "of it, waiting",
    "cost/read_secs": "reading the figures", "cost/encode_secs": "on burn's device thread", "cost/gpu_secs": "on the GPU",
  }],
];
// Where drawing is slow, curves may be as old as this; cells and findings are not.
const CURVES_MS = 2000;
const KNOWN = new Set(CHARTS.flatMap(([, , figures]) => Object.keys(figures)));

export class RunView {
  constructor({ root, id, layer, figure, palette, state, go }) {
    Object.assign(this, { id, palette, go, figure, path: layer, own: new Map() });
    const pick = (path) => go({ layer: path });
    this.status = el("p", { class: "hint" });
    this.facts = el("dl", { class: "facts" });
    this.choice = el("select", { "aria-label": "figure of the heatmap", onchange: () => go({ figure: this.choice.value }) });
    this.jump = el("input", { type: "search", list: "layers", placeholder: "open a layer…", "aria-label": "open a layer by its name", onchange: () => this.jumped() });
    this.layers = el("datalist", { id: "layers" });
    this.heatmap = new Heatmap({ palette, pick, label: id });
    this.findings = new Findings({ pick });
    this.charts = CHARTS.map(([title, scale, figures]) => ({ figures, chart: new Chart({ title, scale }) }));
    this.grid = el("div", { class: "charts" }, ...this.charts.map(({ chart }) => chart.root));
    this.layerPlace = el("div");
    const tools = el("div", { class: "tools" }, el("h2", {}, "Layers by steps"), this.choice, this.jump, this.layers);
    const about = el("details", {}, el("summary", {}, "About this run"), this.facts);
    root.append(
      el("h1", {}, id), this.status,
      el("div", { class: "landing" }, el("section", { class: "card" }, tools, this.heatmap.root), this.findings.root),
      this.layerPlace, this.grid, about,
    );
    this.redraw = drawn(() => this.draw());
    this.redrawCurves = drawn(() => this.drawCurves(), CURVES_MS);
    this.feedState = state;
    this.open();
  }

  open() {
    this.feed?.close();
    this.feed = new Feed([this.id], { figure: this.figure, tensor: this.path }, () => this.changed(), (state) => this.connected(state));
  }

  // Another layer or figure: the rest of the page stays as it is.
  change({ layer, figure }) {
    if (layer === this.path && figure === this.figure) return;
    const moved = layer !== this.path;
    [this.path, this.figure] = [layer, figure];
    this.open();
    if (moved) this.openLayer(Boolean(layer));
  }

  openLayer(focus) {
    this.layer?.close();
    this.layer = this.path ? new Layer({ path: this.path, palette: this.palette, close: () => this.go({ layer: null }) }) : null;
    this.layerPlace.replaceChildren(...(this.layer ? [this.layer.root] : []));
    if (!focus) return;
    this.layer.heading.focus({ preventScroll: true });
    this.layer.root.scrollIntoView({ block: "start" });
  }

  close() {
    this.closed = true;
    this.feed.close();
    this.layer?.close();
    [this.heatmap, ...this.charts.map(({ chart }) => chart), ...this.own.values()].forEach((part) => part.close());
  }

  connected(state) {
    this.state = state;
    this.tell();
    if (state === "refused" && !this.run) this.explain();
  }

  // Why there is nothing to see: the run has another name, or can't be read.
  async explain() {
    const answer = await fetch(this.feed.url).catch(() => null);
    if (!answer || answer.ok || this.closed) return;
    const { error } = await answer.json().catch(() => ({}));
    say(this.status, `${this.id}: ${error ?? "it can't be read"}. The list of runs has those that are there.`);
  }

  // Live only while the run is.
  tell() {
    const over = this.state === "live" && this.run?.about && this.run.about.status !== "running";
    this.feedState(over ? "over" : this.state);
  }

  jumped() {
    const path = this.jump.value;
    if (!this.run?.about?.params.some((param) => param.path === path)) return;
    this.jump.value = "";
    this.go({ layer: path });
  }

  changed() {
    this.redraw();
    this.redrawCurves();
  }

  draw() {
    const run = this.feed.runs.get(this.id);
    if (this.closed || !run.about) return;
    this.run = run;
    this.tell();
    this.about(run);
    this.heatmap.set(run, this.path);
    this.findings.set(run);
  }

  drawCurves() {
    const run = this.feed.runs.get(this.id);
    if (this.closed || !run.about) return;
    for (const { figures, chart } of this.charts) this.lines(run, chart, figures);
    // What else the training loop has told has a chart of its own.
    for (const key of run.series.keys()) {
      if (KNOWN.has(key) || !/^(scalar|log)\//.test(key)) continue;
      if (this.own.has(key)) continue;
      const chart = new Chart({ title: key.replace(/^(scalar|log)\//, ""), scale: "auto" });
      this.own.set(key, chart);
      this.grid.append(chart.root);
    }
    for (const [key, chart] of this.own) this.lines(run, chart, { [key]: "value" });
    if (this.path && !this.layer) this.openLayer(false);
    this.layer?.set(run);
  }

  lines(run, chart, figures) {
    chart.set(() => Object.entries(figures).map(([key, label], i) => {
      const found = line(run, key, label);
      return found && { ...found, color: this.palette.distinct[i] };
    }));
  }

  about(run) {
    const { about, steps } = run;
    const last = steps.at(-1)?.[1];
    say(this.status, [statuses[about.status], last === undefined ? "no step yet" : `step ${count(last)}`, `${count(about.params.length)} parameters`, about.buffer_count > 0 ? `${count(about.buffer_count)} buffers, not recorded` : null, about.adapter].filter(Boolean).join(" · "));
    if (document.activeElement !== this.choice) this.choice.value = run.figure;
    const key = JSON.stringify([about.status, about.end, about.figures.length, about.params.length]);
    if (key === this.known) return;
    this.known = key;
    this.choice.replaceChildren(...about.figures.map(({ name, title }) => option(name, title, name === run.figure)));
    this.layers.replaceChildren(...about.params.map((param) => option(param.path, "")));
    const facts = [["started", about.start], ["ended", about.end ?? "–"], ["adapter", about.adapter], ["engine", about.engine], ["statistics", about.groups], ...about.facts];
    this.facts.replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  }
}
