/** Buttons that copy the code beside them. */
export function startCopying(root) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.closest("figure").querySelector("code").textContent);
      const word = button.firstChild;
      word.textContent = "Copied";
      setTimeout(() => { word.textContent = "Copy"; }, 1500);
    });
  }
}
