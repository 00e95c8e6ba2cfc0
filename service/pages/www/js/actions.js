/** The buttons that take something away from the page: a link, a command, a file. */

import { curlCommand } from "./curl.js";
import { byId, make } from "./dom.js";
import { storedKey } from "./key.js";
import { writeLink } from "./link.js";

/** @import {RerankRequest, Side, State} from "./types.js" */

/**
 * @param {() => State} state
 * @param {() => [Side, RerankRequest][]} requests
 */
export function setUpActions(state, requests) {
  byId("copy-link", HTMLButtonElement).addEventListener("click", async () => {
    const fragment = await writeLink(state());
    history.replaceState(null, "", fragment);
    await copy(location.href, `Link copied (${size(location.href)}).`);
  });
  byId("copy-curl", HTMLButtonElement).addEventListener("click", async () => {
    const commands = requests().map(([, request]) => curlCommand(request, location.origin, storedKey() !== null));
    await copy(commands.join("\n"), `${commands.length === 1 ? "Command" : "Commands of A and B"} copied.`);
  });
  byId("download", HTMLButtonElement).addEventListener("click", () => {
    for (const [side, request] of requests()) save(`listwright-${side}.json`, JSON.stringify(request, null, 1));
  });
}

/**
 * Copy a text; where the browser does not allow it, show it to be copied by hand.
 * @param {string} text
 * @param {string} done
 */
async function copy(text, done) {
  const note = byId("action-note", HTMLSpanElement);
  try {
    await navigator.clipboard.writeText(text);
    note.textContent = done;
  } catch {
    showText(text);
    note.textContent = "The browser allows no copying here; the text is shown.";
  }
}

/** @param {string} text */
function showText(text) {
  const area = make("textarea", { readonly: true, rows: 10, "aria-label": "Text to copy" });
  area.value = text;
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = make("dialog", { "aria-label": "Text to copy", onclose: () => dialog.remove() }, area, close);
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}

/**
 * @param {string} name
 * @param {string} text
 */
function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** @param {string} text */
function size(text) {
  return text.length < 1000 ? `${text.length} characters` : `${(text.length / 1000).toFixed(1)} thousand characters`;
}
