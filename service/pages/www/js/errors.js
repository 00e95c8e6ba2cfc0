/** Show the faults of a request at the controls that they are about. */

import { Problem } from "./api.js";
import { make } from "./dom.js";

let made = 0;

export function clearErrors() {
  document.querySelectorAll(".field-error").forEach((element) => element.remove());
  for (const control of document.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-errormessage");
  }
}

/**
 * Show a fault at each control that is found.
 * @param {unknown} error
 * @param {(path: string) => HTMLElement | null} control
 * @returns {string} What is left to be said elsewhere.
 */
export function showError(error, control) {
  if (!(error instanceof Problem)) return error instanceof Error ? error.message : String(error);
  const elsewhere = error.fields.filter(({ field, problem }) => {
    const found = control(field);
    if (found) markInvalid(found, problem);
    return !found;
  });
  if (error.fields.length && !elsewhere.length) return `${error.document.title}: see the marked field.`;
  return `${error.document.title}: ${elsewhere.map((e) => `${e.field}: ${e.problem}`).join("; ") || error.message}`;
}

/**
 * @param {HTMLElement} control
 * @param {string} problem
 */
export function markInvalid(control, problem) {
  const id = `field-error-${(made += 1)}`;
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-errormessage", id);
  for (let box = control.closest("details"); box; box = box.parentElement?.closest("details") ?? null) box.open = true;
  const place = control.closest(".slider, .pair, .queue-rows > li, label") ?? control;
  place.after(make("p", { class: "field-error", id }, problem));
}
