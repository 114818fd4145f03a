/** Searches as the controls change, and keeps the box in step with what is shown. */
export function startSearch(enliven) {
  const form = document.querySelector("form.search");
  if (!form) return;
  form.addEventListener("change", (event) => {
    if (event.target.matches("select")) form.requestSubmit();
  });
  document.addEventListener("htmx:after:swap", () => {
    const results = document.getElementById("results");
    const input = document.getElementById("q");
    if (results.querySelector(".query-error pre")) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    document.getElementById("json").setAttribute("href", results.dataset.json);
    enliven(results);
  });
}
