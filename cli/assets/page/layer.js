// One layer: every curve of it, its histograms, its part of the sign map.

import { Chart } from "./chart.js";
import { el, say } from "./dom.js";
import { curve } from "./feed.js";
import { count, number } from "./format.js";
import { Ridgeline, SignMap, read } from "./shapes.js";

// Histograms of a run that goes on are read again after this long, and after so many times what reading took.
const AGAIN_MS = 10_000;
const PATIENCE = 50;

// Curves that share a chart, and the words for them.
const CHARTS = [
  ["Gradient, smallest and largest", "linear", { min: "smallest", max: "largest" }],
  ["Gradient norms", "log", { l1_norm: "L1", l2_norm: "L2" }],
  ["Gradient magnitudes", "log", { abs_max: "largest", abs_mean: "mean", std: "standard deviation" }],
  ["Mean gradient", "linear", { mean: "mean" }],
  ["Near-zero gradients", "ratio", { near_zero_ratio_1: "ε1", near_zero_ratio_2: "ε2" }],
  ["Near zeros released since the step before", "ratio", { released_ratio_1: "ε1", released_ratio_2: "ε2" }],
  ["Sign flips", "ratio", { sign_flip_ratio: "flipped" }],
  ["Cosine with the gradient before", "linear", { cosine_previous: "cosine" }],
  ["NaN or infinite elements", "count", { nonfinite_count: "of the gradient", param_nonfinite_count: "of the weights" }],
  ["Move / weight norm", "log", { update_to_weight: "ratio" }],
  ["Move norm", "log", { update_l2_norm: "L2" }],
  ["Weights, smallest and largest", "linear", { param_min: "smallest", param_max: "largest" }],
  ["Weight norm", "log", { param_l2_norm: "L2" }],
  ["Kurtosis (3 for a normal distribution)", "log", { kurtosis: "of the gradient", param_kurtosis: "of the weights" }],
  ["Elements that did not move", "ratio", { unchanged_ratio: "did not move" }],
  ["Extremes crossed", "ratio", { minimum_ratio: "a minimum", maximum_ratio: "a maximum" }],
];

const OF_GRADIENT = /^(?!param_|update_|unchanged_|minimum_|maximum_)/;

export class Layer {
  constructor({ path, palette, close }) {
    this.path = path;
    this.palette = palette;
    this.facts = el("p", { class: "hint" });
    this.missing = el("p", { class: "hint" });
    this.charts = CHARTS.map(([title, scale, figures]) => ({ figures, chart: new Chart({ title, scale }) }));
    this.weights = new Ridgeline({ title: "Weights: how they spread, from the first counted (back) to the last (front)", power: 1, palette });
    this.gradients = new Ridgeline({ title: "Gradients: how they spread; square roots of densities", power: 0.5, palette });
    this.map = new SignMap({ palette });
    [this.weights, this.gradients, this.map].forEach((shape) => (shape.root.hidden = true));
    this.heading = el("h2", { tabindex: "-1" }, path);
    const shut = el("button", { type: "button", onclick: close }, "Close");
    const places = [...this.charts.map(({ chart }) => chart.root), this.weights.root, this.gradients.root, this.map.root];
    this.root = el("section", { class: "layer", "aria-label": `layer ${path}` }, el("div", { class: "layer-head" }, this.heading, shut), this.facts, el("div", { class: "charts" }, ...places), this.missing);
  }

  close() {
    [...this.charts.map(({ chart }) => chart), this.weights, this.gradients, this.map].forEach((part) => part.close());
    clearTimeout(this.timer);
    this.closed = true;
  }

  set(run) {
    const { about } = run;
    const param = about?.params.find((param) => param.path === this.path);
    if (!about) return;
    if (!param) {
      this.charts.forEach(({ chart }) => (chart.root.hidden = true));
      return say(this.facts, `This run has no layer called ${this.path}; the field above the heatmap lists those that it has.`);
    }
    const epsilons = about.epsilons.map((epsilon) => number(epsilon));
    say(this.facts, `${param.shape.join(" × ")}, ${count(param.numel)} elements, ${param.dtype}${param.trainable === false ? ", frozen" : ""}; near zero is below ε1 = ${epsilons[0]} and ε2 = ${epsilons[1]}`);
    for (const { figures, chart } of this.charts) {
      chart.set(() => Object.entries(figures).map(([figure, label], i) => {
        const found = curve(run, figure, label);
        const marks = OF_GRADIENT.test(figure) ? bad(run, param) : badWeights(run);
        return found && { ...found, color: this.palette.distinct[i], nonfinite: marks };
      }));
    }
    say(this.missing, lacking(about));
    this.run = run;
    if (!this.begun) this.look();
  }

  // Reads what is not in the stream: again while the run goes on, and once more when it has ended.
  async look() {
    this.begun = true;
    const { about, id } = this.run;
    const start = performance.now();
    let done = about.status !== "running";
    try {
      if (about.has_histograms) {
        const { gradient, parameter } = await read("histograms", id, this.path);
        if (this.closed) return;
        this.weights.set(parameter);
        this.gradients.set(gradient);
      }
      if (about.has_sign_map) {
        const map = await read("sign-map", id, this.path);
        if (this.closed) return;
        this.map.set(map);
      }
    } catch {
      // The connection is told of elsewhere; what could not be read is asked for again.
      done = false;
    }
    if (this.closed || done || !(about.has_histograms || about.has_sign_map)) return;
    this.timer = setTimeout(() => this.again(), Math.max(AGAIN_MS, PATIENCE * (performance.now() - start)));
  }

  again() {
    if (document.hidden) this.timer = setTimeout(() => this.again(), AGAIN_MS);
    else this.look();
  }
}

// Steps at which the layer's gradient was not finite.
function bad(run, { path }) {
  const row = run.about.params.findIndex((param) => param.path === path);
  return run.steps.filter((_, place) => run.nonfinite[place]?.has(row)).map(([, last]) => last);
}

// Steps at which the layer's weights were not finite.
function badWeights(run) {
  const counts = run.tensor?.get("param_nonfinite_count") ?? [];
  return run.steps.filter((_, place) => counts[place]?.[1] > 0).map(([, last]) => last);
}

// What this run has not recorded of a layer, and what to ask for.
function lacking({ groups, figures, has_histograms, has_sign_map }) {
  const has = (name) => figures.some((figure) => figure.name === name);
  const wanted = [
    [has("std"), "means, spreads and releases (--stats dynamics)"],
    [has("param_l2_norm"), "weights (--stats params)"],
    [has("update_to_weight"), "moves (--stats params,updates)"],
    [has("cosine_previous"), "cosines (--stats cosine)"],
    [has_histograms, "histograms (--histograms 10)"],
    [has_sign_map, "the sign map (--sign-map 1)"],
  ].filter(([has]) => !has).map(([, text]) => text);
  return wanted.length ? `Recorded: ${groups}. Not recorded: ${wanted.join(", ")}.` : "";
}
