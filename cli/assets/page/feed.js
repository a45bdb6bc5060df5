// The event stream of some runs, put together: what the server adds takes the place of what it was sent before.

const RETRY_MS = 2000;
const NONFINITE = ["global/nan_count", "global/pos_inf_count", "global/neg_inf_count"];

export class Feed {
  // `changed` is called with the runs by their ids, `state` with what the connection does.
  constructor(ids, wanted, changed, state) {
    const query = new URLSearchParams(ids.map((id) => ["run", id]));
    for (const [name, value] of Object.entries(wanted)) if (value) query.set(name, value);
    this.url = `/api/watch?${query}`;
    this.runs = new Map(ids.map((id) => [id, empty(id)]));
    this.changed = changed;
    this.state = state;
    // A tab that nobody sees asks for nothing, and leaves its connection to those that are seen.
    this.seen = () => (document.hidden ? this.stop() : this.start());
    document.addEventListener("visibilitychange", this.seen);
    this.seen();
  }

  start() {
    if (this.source) return;
    this.state("connecting");
    this.source = new EventSource(this.url);
    this.source.onopen = () => this.state("live");
    this.source.onmessage = ({ data }) => {
      for (const news of JSON.parse(data)) merge(this.runs.get(news.id), news);
      this.changed(this.runs);
    };
    this.source.onerror = () => {
      const refused = this.source.readyState === EventSource.CLOSED;
      this.state(refused ? "refused" : "lost");
      // The browser comes back by itself, unless it was told no.
      if (refused) {
        this.stop();
        this.timer = setTimeout(() => this.start(), RETRY_MS);
      }
    };
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  close() {
    document.removeEventListener("visibilitychange", this.seen);
    this.stop();
  }
}

function empty(id) {
  return { id, about: null, steps: [], cells: [], nonfinite: [], figure: null, tensor: null, series: new Map(), ended: new Map(), epochs: [], findings: [], coverage: "" };
}

function replace(list, from, items) {
  list.length = from;
  for (const item of items) list.push(item);
}

function merge(run, { whole, about, spans, series, epochs, findings, coverage }) {
  // A run that went on from a checkpoint has taken back what came after it.
  if (whole) Object.assign(run, { ...empty(run.id), about: run.about });
  if (about) run.about = about;
  if (findings) run.findings = findings;
  if (coverage) run.coverage = coverage;
  run.figure = spans.figure;
  replace(run.steps, spans.from, spans.steps);
  replace(run.cells, spans.from, spans.cells);
  replace(run.nonfinite, spans.from, spans.cells.map(() => null));
  for (const [place, tensor] of spans.nonfinite) (run.nonfinite[place] ??= new Set()).add(tensor);
  if (spans.tensor) {
    run.tensor ??= new Map();
    for (const [name, cells] of spans.tensor) {
      if (!run.tensor.has(name)) run.tensor.set(name, []);
      replace(run.tensor.get(name), spans.from, cells);
    }
  }
  for (const { source, name, from, points, nonfinite_since } of series) {
    const key = `${source}/${name}`;
    if (!run.series.has(key)) run.series.set(key, []);
    replace(run.series.get(key), from, points);
    run.ended.set(key, nonfinite_since);
  }
  replace(run.epochs, epochs[0], epochs[1]);
}

// Points of a figure over all tensors, as a chart takes them.
export function line(run, key, label) {
  const points = run.series.get(key);
  if (!points?.length) return null;
  const nonfinite = points.filter((point) => point[5] > 0).map((point) => point[0]);
  // Norms and extremes of gradients leave out what is not finite, and would hide it.
  if (/^global\/(?!param_)/.test(key)) nonfinite.push(...NONFINITE.flatMap((name) => (run.series.get(name) ?? []).filter((point) => point[3] > 0).map((point) => point[0])));
  return {
    label,
    x: points.map((point) => point[1]),
    min: points.map((point) => point[2]),
    max: points.map((point) => point[3]),
    last: points.map((point) => point[4]),
    nonfinite,
    nonfinite_since: run.ended.get(key),
  };
}

// The curve of a figure of the tensor that the feed was asked for.
export function curve(run, figure, label) {
  const cells = run.tensor?.get(figure);
  if (!cells?.some((cell) => cell && cell[2] !== null)) return null;
  // A cell that is not there is a step that the layer's schedule leaves out; one of nulls is a gap.
  const part = (place) => cells.map((cell) => (cell ? cell[place] : undefined));
  return { label, x: run.steps.map((steps) => steps[1]), from: run.steps.map((steps) => steps[0]), min: part(0), max: part(1), last: part(2), nonfinite: [] };
}

// Steps of the longest epoch of some runs that is complete, or, where none is, of the longest that is not.
export function epochLen(runs) {
  const lens = (run, complete) => run.epochs.flatMap(([, first], i) => {
    const end = run.epochs[i + 1]?.[1] ?? (complete ? NaN : (run.steps.at(-1)?.[1] ?? first) + 1);
    return Number.isNaN(end) ? [] : [end - first];
  });
  const complete = runs.flatMap((run) => lens(run, true));
  return Math.max(1, ...(complete.length > 0 ? complete : runs.flatMap((run) => lens(run, false))));
}

// Epochs that were done at a step, the last one taken to be `len` steps long; the step itself where a run has none.
export function epochOf({ epochs }, len) {
  if (epochs.length === 0) return (step) => step;
  return (step) => {
    const place = Math.max(0, epochs.findLastIndex(([, first]) => first <= step));
    const [epoch, first] = epochs[place];
    const end = epochs[place + 1]?.[1] ?? first + len;
    return epoch - 1 + Math.min(1, (step - first + 1) / Math.max(1, end - first));
  };
}
