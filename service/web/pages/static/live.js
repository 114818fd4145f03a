import { unwatchMedia } from "./media.js";

const PAUSE = 1_000; // milliseconds between two updates, however many events come
const RETRY = 3_000; // milliseconds after a first connection that failed

/** Keeps what is shown up to date: one stream of events, resumed after the last event seen. */
export function startLive(enliven) {
  const button = document.querySelector("[data-live-switch]");
  if (!button || !window.htmx) return;
  const word = button.querySelector("[data-live-word]");
  const only = document.querySelector("[data-detail]")?.dataset.detail;
  let after = button.dataset.after;
  let stream = null, waiting = null, retrying = null, updating = false, again = false;

  const show = (state) => { word.textContent = state; button.dataset.state = state.toLowerCase(); };

  function open() {
    clearTimeout(retrying);
    stream?.remove();
    stream = document.createElement("div");
    stream.hidden = true;
    stream.setAttribute("hx-sse:connect", `/v1/events?after=${after}`);
    stream.setAttribute("hx-swap", "none");
    stream.addEventListener("htmx:sse:after:connection", () => show("Live"));
    stream.addEventListener("htmx:sse:before:connection", (event) => {
      if (event.detail.connection.attempt) show("Reconnecting");
    });
    stream.addEventListener("htmx:sse:error", () => show("Reconnecting"));
    stream.addEventListener("htmx:error", retryLater);
    stream.addEventListener("htmx:response:error", retryLater);
    stream.addEventListener("htmx:sse:before:message", receive);
    document.body.append(stream);
    htmx.process(stream);
  }

  function retryLater() {
    show("Reconnecting");
    clearTimeout(retrying);
    retrying = setTimeout(open, RETRY);
  }

  function receive(event) {
    const { message } = event.detail;
    event.detail.cancelled = true; // nothing is swapped, and no DOM event `change` is sent
    if (message.id) after = message.id;
    if (message.event !== "change") return;
    if (!only || JSON.parse(message.data).generation_id === only) updateSoon();
  }

  function close() {
    clearTimeout(retrying);
    stream?.remove();
    stream = null;
    show("Paused");
  }

  function updateSoon() {
    waiting ??= setTimeout(update, PAUSE);
  }

  async function update() {
    waiting = null;
    if (!stream) return;
    if (updating) { again = true; return; }
    updating = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok && !answer.redirected) merge(new DOMParser().parseFromString(await answer.text(), "text/html"), enliven);
    } catch { updateSoon(); } finally {
      updating = false;
      if (again) { again = false; updateSoon(); }
    }
  }

  button.addEventListener("click", () => {
    const live = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", live);
    if (live) { open(); updateSoon(); } else close();
  });
  const every = Number(button.dataset.every); // seconds; for what no event tells
  if (every) setInterval(() => { if (stream && !document.hidden) updateSoon(); }, every * 1_000);
  button.hidden = false;
  show("Connecting");
  open();
}

/** Replace what changed, in its place; rows that are new are counted, so that nothing jumps. */
function merge(fresh, enliven) {
  const shown = new Map([...document.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
  let news = 0;
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const old = shown.get(part.dataset.part);
    if (old && old.dataset.rev !== part.dataset.rev) replace(old, document.adoptNode(part), enliven);
    if (!old && part.matches(".row")) news += 1;
  }
  if (document.querySelector("[data-list], .empty") && !document.querySelector("[data-later]")) tell(news);
}

function replace(old, part, enliven) {
  const focused = old.contains(document.activeElement) && document.activeElement;
  const open = [...old.querySelectorAll("details")].map((each) => each.open);
  unwatchMedia(old);
  old.replaceWith(part);
  [...part.querySelectorAll("details")].forEach((each, number) => { each.open = open[number] ?? false; });
  if (focused) (same(part, focused) ?? part.querySelector("[data-row], a, button"))?.focus();
  part.classList.add("changed");
  enliven(part);
}

function same(part, link) {
  return [...part.querySelectorAll("a")].find((each) => each.href === link.href);
}

function tell(count) {
  const link = document.querySelector("[data-news] a");
  if (!link) return;
  link.textContent = `${count} new`;
  link.hidden = count === 0;
}
