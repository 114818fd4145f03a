"use strict";

Redoc.init(
  "openapi.json",
  { disableSearch: true }, // the search runs in a `blob:` worker, which the page's policy forbids
  document.getElementById("redoc"),
);
