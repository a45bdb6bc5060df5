// Numbers as people read them.

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

export function count(value) {
  return value.toLocaleString("en");
}

export function percent(value) {
  return value === null || value === undefined ? "–" : `${Number((100 * value).toPrecision(3))}%`;
}

// Where an axis of shares ends.
export function ratioTop(high) {
  return [0.01, 0.05, 0.1, 0.25, 0.5, 1].find((top) => top >= high) ?? 1;
}

export function span([first, last]) {
  return first === last ? `step ${count(first)}` : `steps ${count(first)} to ${count(last)}`;
}

export const severities = { note: "note", warn: "warning", critical: "critical" };

export const statuses = {
  running: "running", finished: "finished", interrupted: "interrupted", unfinished: "not finished: killed, or its scope dropped",
};
