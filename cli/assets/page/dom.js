// Elements made from text that stays text: nothing here, or anywhere on the page, reads markup.

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Puts text in place of an element's own, where it differs: a reader's selection survives.
export function say(into, text) {
  if (into.textContent !== text) into.textContent = text;
}

export function option(value, text, selected) {
  return el("option", { value, selected }, text);
}

// What takes long to draw is drawn less often, so that a machine that also trains can train: for this share of the time, as long
// as the page still follows.
const SHARE = 1 / 100;
const LEAST_PAUSE_MS = 200;
// A page that opens is drawn as what it shows comes in.
const EARLY_COUNT = 8;

// Calls back once the frame is due, however often it was asked for, after `most_ms` at the latest, and tells how long that took.
export function drawn(draw, most_ms = 500) {
  let due = false, next = 0, count = 0;
  const frame = () => {
    due = false;
    const start = performance.now();
    draw();
    // The task after the frame comes when it has been painted.
    setTimeout(() => {
      const end = performance.now();
      const pause = Math.min(most_ms, Math.max(LEAST_PAUSE_MS, (end - start) / SHARE));
      next = start + (++count < EARLY_COUNT ? LEAST_PAUSE_MS : pause);
      if (performance.getEntriesByName("redraw").length > 200) performance.clearMeasures("redraw");
      performance.measure("redraw", { start, end });
    });
  };
  return () => {
    if (due) return;
    due = true;
    setTimeout(() => requestAnimationFrame(frame), Math.max(0, next - performance.now()));
  };
}

export function onResize(element, changed) {
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    changed(width);
  });
  observer.observe(element);
  return () => observer.disconnect();
}

// Calls back when the element comes into view, and when it goes.
export function onSight(element, changed) {
  const observer = new IntersectionObserver(([entry]) => changed(entry.isIntersecting));
  observer.observe(element);
  return () => observer.disconnect();
}

const dark = matchMedia("(prefers-color-scheme: dark)");

export function onTheme(changed) {
  dark.addEventListener("change", changed);
  return () => dark.removeEventListener("change", changed);
}

// A colour of the style sheet.
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
