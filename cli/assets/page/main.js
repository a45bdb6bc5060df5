// Which view the address asks for: #/, #/run/ID?layer=PATH&figure=NAME, #/compare?run=ID&run=ID&by=step.

import { Compare } from "./compare.js";
import { el, say } from "./dom.js";
import { RunList } from "./list.js";
import { RunView } from "./run.js";

const STATES = {
  connecting: "connecting…",
  live: "live",
  over: "the run has ended",
  lost: "connection lost: trying again",
  refused: "this run can't be read: trying again",
};

const content = document.getElementById("content");
const trail = document.getElementById("trail");
const connection = document.getElementById("connection");
const palette = await (await fetch("/api/palette")).json();
const hex = ([r, g, b]) => `#${[r, g, b].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
palette.distinct = palette.distinct.map(hex);
document.documentElement.style.setProperty("--nonfinite", hex(palette.nonfinite));

let view = null;
let shown = "";

function state(name) {
  connection.className = name;
  say(connection, STATES[name]);
}

// Changes the address, and with it the view. A parameter that is null goes.
function go(changes) {
  const [path, query] = location.hash.split("?");
  const parameters = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) parameters.delete(name);
    else parameters.set(name, value);
  }
  location.hash = parameters.size > 0 ? `${path}?${parameters}` : path;
}

function show() {
  const [path, query] = (location.hash || "#/").slice(1).split("?");
  const parameters = new URLSearchParams(query);
  const id = path.startsWith("/run/") ? decodeURIComponent(path.slice(5)) : null;
  const wanted = { layer: parameters.get("layer"), figure: parameters.get("figure") };
  if (id !== null && shown === `run ${id}`) return view.change(wanted);
  view?.close();
  content.replaceChildren();
  const common = { root: content, palette, state, go };
  if (id !== null) {
    view = new RunView({ ...common, id, ...wanted });
    shown = `run ${id}`;
    trail.replaceChildren(el("a", { href: "#/" }, "Runs"));
  } else if (path === "/compare" && parameters.getAll("run").length > 0) {
    view = new Compare({ ...common, ids: parameters.getAll("run"), by: parameters.get("by"), figure: parameters.get("figure") });
    shown = "compare";
    trail.replaceChildren(el("a", { href: "#/" }, "Runs"));
  } else {
    view = new RunList(common);
    shown = "list";
    trail.replaceChildren();
  }
  document.title = id === null ? "gradscope" : `${id} - gradscope`;
}

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address is the view's.
  event.preventDefault();
  content.focus();
});
addEventListener("hashchange", show);
show();
