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

  set({ findings, about, coverage, steps }) {
    // At its end a run closes what still holds.
    const last = steps.at(-1)?.[1] ?? 0;
    this.holds = (finding) => finding.open || finding.last_step >= last;
    const key = JSON.stringify([findings, coverage, findings.map(this.holds)]);
    if (key === this.shown) return;
    this.shown = key;
    // What still holds comes before what has ended.
    const sorted = [...findings].sort((a, b) => this.holds(b) - this.holds(a) || weight[b.severity] - weight[a.severity] || a.first_step - b.first_step);
    const items = sorted.map((finding) => this.item(finding, about));
    const none = coverage.startsWith("0 ") ? "Nothing is known: no rule could judge the run." : "Nothing is wrong, as far as the rules see that could judge the run.";
    const judged = coverage && el("li", { class: "judged" }, coverage);
    this.list.replaceChildren(...(items.length > 0 ? items : [el("li", { class: "none" }, none)]), ...(judged ? [judged] : []));
  }

  item(finding, about) {
    const path = about?.params[finding.tensors[0]]?.path;
    const open = path && el("button", { type: "button", onclick: () => this.pick(path) }, finding.tensors.length > 1 ? `open ${path}` : "open the layer");
    return el(
      "li",
      { class: finding.severity },
      el("p", {}, this.holds(finding) ? finding.text : `ended: ${finding.text}`),
      open || null,
    );
  }
}
