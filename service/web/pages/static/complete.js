const VALUES = {
  state: ["queued", "dreaming", "processing", "completed", "failed"],
  upstream: ["dream_machine", "agents"],
  type: ["video", "image"],
  operation: ["video", "image", "upscale_video", "add_audio", "reframe_image", "reframe_video", "modify_video"],
  model: [], id: [], parent: [],
  source: ["submit", "callback", "fetch", "reconcile", "backfill"],
  is: ["open", "terminal", "stale", "gone", "verified", "archived"],
  after: ["-1h", "-24h", "-7d", "-30d"],
  before: ["-1h", "-24h", "-7d", "-30d"],
  cost: [">0.5"],
  took: [">60s"],
};

function completions(text) {
  const [, before, sign, term] = /^(.*?)(-?)(\S*)$/s.exec(text);
  const [, key, values, value] = /^([a-z]+):(?:(.*,))?(.*)$/.exec(term) ?? [];
  const all = key
    ? (VALUES[key] ?? []).map((each) => `${key}:${values ?? ""}${each}`)
    : Object.keys(VALUES).map((each) => `${each}:`);
  return all.filter((each) => term && each.startsWith(term) && each !== term && value !== null)
    .map((each) => before + sign + each);
}

/** Completes keys, and the values that are known, of the last term of the search. */
export function startCompletion() {
  const input = document.getElementById("q");
  const list = document.getElementById("q-completions");
  if (!input || !list) return;
  input.addEventListener("input", () => {
    list.replaceChildren(...completions(input.value).map((value) => new Option("", value)));
  });
}
