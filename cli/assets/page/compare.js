// Several runs over one another: what one does and the other does not is seen at a glance.

import { Chart } from "./chart.js";
import { drawn, el, option } from "./dom.js";
import { Feed, epochLen, epochOf, line } from "./feed.js";
import { Findings } from "./findings.js";
import { statuses } from "./format.js";
import { Heatmap, valueRange } from "./heatmap.js";

const CHARTS = [
  ["Validation loss", "auto", "log/validation/loss"],
  ["Validation accuracy", "ratio", "log/validation/accuracy"],
  ["Loss of each batch; in words the median of the last eighth", "auto", "scalar/loss"],
  ["Accuracy of each batch; in words the median of the last eighth", "ratio", "scalar/accuracy"],
  ["L2 norm of all gradients", "log", "global/l2_norm"],
  ["Smallest gradient of all layers", "linear", "global/min"],
  ["Largest gradient of all layers", "linear", "global/max"],
  ["Smallest weight of all layers", "linear", "global/param_min"],
  ["Largest weight of all layers", "linear", "global/param_max"],
];

export class Compare {
  constructor({ root, ids, by, figure, palette, state, go }) {
    Object.assign(this, { ids, by: by ?? "step", figure, palette });
    const choice = el("select", { "aria-label": "align runs by", onchange: () => go({ by: choice.value }) }, option("step", "by step", this.by === "step"), option("epoch", "by epoch", this.by === "epoch"));
    this.charts = CHARTS.map(([title, scale, key]) => ({ key, chart: new Chart({ title, scale, x: this.by }) }));
    this.parts = ids.map((id, i) => {
      const open = (path) => (location.hash = `#/run/${encodeURIComponent(id)}?${new URLSearchParams({ layer: path })}`);
      const heatmap = new Heatmap({ palette, pick: open, label: id });
      const findings = new Findings({ pick: open });
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = palette.distinct[i % palette.distinct.length];
      const status = el("span", { class: "hint" });
      const head = el("h2", {}, swatch, el("a", { href: `#/run/${encodeURIComponent(id)}` }, id), " ", status);
      return { id, heatmap, findings, status, root: el("section", { class: "card" }, head, heatmap.root, findings.root) };
    });
    root.append(
      el("h1", {}, "Compare"), el("div", { class: "tools" }, el("span", { class: "hint" }, "runs are aligned"), choice),
      el("div", { class: "charts" }, ...this.charts.map(({ chart }) => chart.root)),
      el("div", { class: "beside" }, ...this.parts.map((part) => part.root)),
    );
    this.redraw = drawn(() => this.draw());
    this.feed = new Feed(ids, { figure }, () => this.redraw(), state);
  }

  close() {
    this.closed = true;
    this.feed.close();
    this.charts.forEach(({ chart }) => chart.close());
    this.parts.forEach(({ heatmap }) => heatmap.close());
  }

  draw() {
    if (this.closed) return;
    const runs = this.ids.map((id) => this.feed.runs.get(id));
    const len = epochLen(runs);
    for (const { key, chart } of this.charts) {
      chart.set(() => runs.map((run, i) => {
        const found = line(run, key, run.id);
        if (!found) return null;
        if (key.startsWith("scalar/")) found.told = chart.text(median(found.last));
        const x = this.by === "epoch" ? epochOf(run, len) : (step) => step;
        return { ...found, x: found.x.map(x), nonfinite: found.nonfinite.map(x), color: this.palette.distinct[i % this.palette.distinct.length] };
      }));
    }
    // The same colours mean the same in all of them.
    const ranges = runs.filter((run) => run.about).map(valueRange).filter((range) => !range.empty);
    const shared = ranges.length > 0 && { ...ranges[0], low: Math.min(...ranges.map(({ low }) => low)), high: Math.max(...ranges.map(({ high }) => high)) };
    this.parts.forEach(({ heatmap, findings, status }, i) => {
      if (!runs[i].about) return;
      status.textContent = statuses[runs[i].about.status];
      heatmap.set(runs[i], null, shared || null);
      findings.set(runs[i]);
    });
  }
}

// The median of the last eighth of a curve's values: that of a single batch is mostly noise.
function median(values) {
  const last = values.slice(-Math.max(1, Math.floor(values.length / 8))).filter((value) => value !== null).sort((a, b) => a - b);
  return last.length > 0 ? last[Math.floor(last.length / 2)] : null;
}
