/** Show the faults of a request at the controls that they are about. */

import { Problem } from "./api.js";
import { make } from "./dom.js";

const PREFIX = "field-error-";
let made = 0;

export function clearErrors() {
  document.querySelectorAll(".field-error").forEach((element) => element.remove());
  for (const control of document.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    describeBy(
      control,
      described(control).filter((id) => !id.startsWith(PREFIX)),
    );
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
    if (found) markInvalid(found, found instanceof HTMLTextAreaElement ? `${field}: ${problem}` : problem);
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
  // Both sides send the same candidates, so both are told the same of them.
  if (described(control).some((id) => document.getElementById(id)?.textContent === problem)) return;
  const id = `${PREFIX}${(made += 1)}`;
  control.setAttribute("aria-invalid", "true");
  describeBy(control, [...described(control), id]);
  for (let box = control.closest("details"); box; box = box.parentElement?.closest("details") ?? null) box.open = true;
  const message = make("p", { class: "field-error", id }, problem);
  const row = control.closest(".queue-rows > li, .rule-rows > li");
  if (row) row.append(message);
  else (control.closest(".slider, .pair") ?? control.closest("label") ?? control).after(message);
}

/**
 * @param {Element} control
 * @returns {string[]}
 */
function described(control) {
  return (control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean);
}

/**
 * @param {Element} control
 * @param {string[]} ids
 */
function describeBy(control, ids) {
  if (ids.length) control.setAttribute("aria-describedby", ids.join(" "));
  else control.removeAttribute("aria-describedby");
}
