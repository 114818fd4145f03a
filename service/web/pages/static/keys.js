const isTyping = (element) => element.matches("input, textarea, select, [contenteditable]");

function move(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const at = rows.findIndex((row) => row === document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1);
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

/** `/ j k Esc ?`. Enter opens what has the focus, as everywhere. */
export function startKeys() {
  const help = document.getElementById("help");
  const search = document.getElementById("q");
  const actions = {
    "/": () => search?.focus(),
    j: () => move(1),
    k: () => move(-1),
    "?": () => help.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape" && !help.open) document.activeElement.blur();
    if (isTyping(event.target) || help.open || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  });
  const button = document.querySelector("[data-help-open]");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", actions["?"]);
}
