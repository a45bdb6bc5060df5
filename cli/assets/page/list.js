// All runs of the folder: one is opened, several are compared.

import { el, say } from "./dom.js";
import { count, statuses } from "./format.js";

const EVERY_MS = 2000;

export class RunList {
  constructor({ root, palette, state }) {
    this.state = state;
    // As many as the colours tell apart.
    this.most = palette.distinct.length;
    this.chosen = new Set();
    this.rows = new Map();
    this.compare = el("a", { class: "button", href: "#/" }, "Compare");
    this.hint = el("p", { class: "hint" });
    this.body = el("tbody");
    const heads = ["", "run", "status", "model", "steps", "started", "findings"];
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), this.body);
    root.append(el("h1", {}, "Runs"), el("div", { class: "bar-of-list" }, this.hint, this.compare), el("div", { class: "wide" }, table));
    this.choose();
    this.look();
    this.timer = setInterval(() => document.hidden || this.look(), EVERY_MS);
  }

  close() {
    clearInterval(this.timer);
    this.closed = true;
  }

  async look() {
    let runs;
    try {
      const answer = await fetch("/api/runs");
      runs = await answer.json();
      if (!answer.ok) throw new Error(runs.error);
    } catch {
      if (!this.closed) this.state("lost");
      return;
    }
    if (this.closed) return;
    this.state("live");
    const ids = new Set(runs.map((run) => run.id));
    for (const id of this.chosen) if (!ids.has(id)) this.chosen.delete(id);
    const rows = runs.map((run) => this.row(run));
    // In their order, and only where that has changed: a click in between is not lost.
    if (rows.some((row, i) => this.body.children[i] !== row) || this.body.children.length !== rows.length) this.body.replaceChildren(...rows);
    if (runs.length === 0) say(this.hint, "No run is here yet: `gradscope train`, or a scope with .run(folder), makes one, and it appears here.");
    else this.choose();
  }

  row(run) {
    let row = this.rows.get(run.id);
    if (!row) {
      const box = el("input", { type: "checkbox", "aria-label": `compare ${run.id}`, onchange: () => this.toggle(run.id, box) });
      const cells = ["status", "model", "steps", "start", "wrong"].map((name) => el("td", { class: name }));
      row = el("tr", {}, el("td", {}, box), el("td", {}, el("a", { href: `#/run/${encodeURIComponent(run.id)}` }, run.id)), ...cells);
      this.rows.set(run.id, row);
    }
    const more = run.warning_count > 1 ? ` (and ${run.warning_count - 1} more)` : "";
    const wrong = run.problem ?? `${run.first_warning ?? ""}${more}`;
    const texts = [run.problem ? "can't be read" : statuses[run.status], run.model, count(run.step_count), run.start.replace("T", " ").replace("Z", ""), wrong];
    texts.forEach((text, i) => say(row.children[i + 2], text));
    row.children[2].className = `status ${run.problem ? "" : run.status}`;
    row.children[6].className = `wrong ${run.problem ? "critical" : run.worst ?? ""}`;
    return row;
  }

  toggle(id, box) {
    if (box.checked && this.chosen.size < this.most) this.chosen.add(id);
    else this.chosen.delete(id);
    box.checked = this.chosen.has(id);
    this.choose();
  }

  choose() {
    const ready = this.chosen.size >= 2;
    this.compare.setAttribute("aria-disabled", String(!ready));
    this.compare.href = ready ? `#/compare?${new URLSearchParams([...this.chosen].map((id) => ["run", id]))}` : "#/";
    say(this.hint, ready ? `${this.chosen.size} runs are chosen${this.chosen.size === this.most ? ", which is as many as can be compared" : ""}.` : "Open a run, or tick two or more to lay them over one another.");
  }
}
