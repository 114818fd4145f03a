"use strict";
// Before the first paint, so that the page does not flash. The button is wired in `app.js`.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage may be forbidden */ }
