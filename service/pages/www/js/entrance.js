/** Fill the entrance with the live models. */

import { liveModels, Problem } from "./api.js";
import { byId, make } from "./dom.js";
import { storedKey, storeKey, WRONG_KEY } from "./key.js";
import { setUpTheme } from "./theme.js";

/** @import {Model} from "./types.js" */

async function showModels() {
  const form = byId("key-form", HTMLFormElement);
  const note = byId("models-note", HTMLParagraphElement);
  try {
    const models = await liveModels();
    form.hidden = true;
    byId("models", HTMLUListElement).replaceChildren(...models.map(describe));
    note.textContent = models.length ? "" : "No model is live.";
  } catch (error) {
    form.hidden = !(error instanceof Problem && error.needsKey);
    if (form.hidden) note.textContent = error instanceof Error ? error.message : String(error);
    else note.textContent = storedKey() === null ? "Models are shown with a key." : WRONG_KEY;
  }
}

/** @param {Model} model */
function describe(model) {
  const { family, list_length: length, max_candidates: candidates, provider } = model;
  const facts = `${family} · lists of ${length} · looks at ${candidates} candidates · ${provider}`;
  return make(
    "li",
    {},
    make("strong", {}, `${model.name} ${model.version}`),
    model.default && make("span", { class: "tag" }, "default"),
    make("span", { class: "note" }, facts),
    make("p", {}, model.verdict.sentence),
  );
}

setUpTheme();
byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  storeKey(byId("key", HTMLInputElement).value.trim());
  void showModels();
});
void showModels();
