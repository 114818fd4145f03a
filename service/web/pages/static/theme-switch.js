const ORDER = ["auto", "light", "dark"];

/** The button that changes between the system's theme, light and dark. */
export function startThemeSwitch() {
  const button = document.querySelector("[data-theme-switch]");
  if (!button) return;
  const root = document.documentElement;
  const show = () => { button.textContent = `Theme: ${root.dataset.theme ?? "auto"}`; };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "auto") + 1) % ORDER.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* storage may be forbidden */ }
    show();
  });
  show();
  button.hidden = false;
}
