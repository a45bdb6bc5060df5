// Findings in words, the worst of what holds first.

import { el } from "./dom.js";

const weight = { critical: 2, warn: 1, note: 0 };

export class Findings {
  // `pick` is called with the path of a layer, where there is one to open.
  constructor({ pick }) {
    this.pick = pick;
    this.list = el("ul", { class: "findings", "aria-live": "polite" });
    this.root = el("section", { class: "card" }, el("h2", {}, "Findings"), this.list);
    this.shown = "";
  }

  set({ findings, about }) {
    const key = JSON.stringify(findings);
    if (key === this.shown) return;
    this.shown = key;
    const sorted = [...findings].sort((a, b) => weight[b.severity] - weight[a.severity] || a.first_step - b.first_step);
    const items = sorted.map((finding) => this.item(finding, about));
    this.list.replaceChildren(...(items.length > 0 ? items : [el("li", { class: "none" }, "Nothing is wrong, as far as the rules see.")]));
  }

  item(finding, about) {
    const path = about?.params[finding.tensors[0]]?.path;
    const open = path && el("button", { type: "button", onclick: () => this.pick(path) }, finding.tensors.length > 1 ? `open ${path}` : "open the layer");
    return el(
      "li",
      { class: finding.severity },
      el("p", {}, finding.text),
      open || null,
    );
  }
}
