// Each module is one concern, and does nothing on pages without its elements.
import { startCompletion } from "./complete.js";
import { startCopying } from "./copy.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { watchMedia } from "./media.js";
import { startSearch } from "./search.js";
import { startThemeSwitch } from "./theme-switch.js";
import { startTimes } from "./times.js";

function enliven(root) {
  watchMedia(root);
  startCopying(root);
  startTimes(root);
}

enliven(document);
startThemeSwitch();
startKeys();
startCompletion();
startSearch(enliven);
startLive(enliven);
