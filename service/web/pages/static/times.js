const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
let timer;

function show(time) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  if (Number.isNaN(seconds) || Math.abs(seconds) > 7 * 86400) return;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  time.textContent = relative.format(Math.trunc(seconds / size), unit);
}

/** Times of the last week are shown relative to now; the title has the time itself. */
export function startTimes(root) {
  root.querySelectorAll("time").forEach(show);
  timer ??= setInterval(() => document.querySelectorAll("time").forEach(show), 30_000);
}
