/** The request: generated from a seed, or as somebody wrote it. */

import { byId } from "./dom.js";
import { clearErrors, markInvalid } from "./errors.js";
import { generate } from "./generate.js";
import { modelKey, settingsIn } from "./state.js";
import { counted } from "./values.js";

/** @import {Model, ModelFields, RerankRequest, Settings, State} from "./types.js" */

/**
 * @param {() => State} state
 * @param {(changes: Partial<State>, settings?: Settings) => void} onChange
 */
export function setUpRequest(state, onChange) {
  const count = byId("count", HTMLInputElement);
  const seed = byId("seed", HTMLInputElement);
  const text = byId("request", HTMLTextAreaElement);
  /** @type {RerankRequest | null} */
  let current = null;
  /** @type {RerankRequest | null} */
  let example = null;
  let shown = "";

  count.addEventListener("change", () => onChange({ count: wholeIn(count, state().count), text: null }));
  seed.addEventListener("change", () => onChange({ seed: wholeIn(seed, state().seed), text: null }));
  byId("generate", HTMLButtonElement).addEventListener("click", () => {
    onChange({ seed: state().text === null ? (state().seed + 1) % 2 ** 32 : state().seed, text: null });
  });
  byId("example", HTMLButtonElement).addEventListener("click", () => {
    if (!example) return;
    shown = "";
    const settings = { ...settingsIn(example), model: state().sides.A.model };
    onChange({ text: JSON.stringify(example, null, 1) }, settings);
  });
  text.addEventListener("change", () => {
    const written = parse(text);
    current = null; // What is no JSON stays where it is, and nothing is sent.
    if (!written) return;
    shown = "";
    onChange({ text: text.value }, settingsIn(written));
  });

  /**
   * Show the request of the state.
   * @param {Model} model
   * @param {ModelFields} fields
   */
  const show = (model, fields) => {
    example = fields.example;
    const { count: items, seed: number, text: written } = state();
    count.value = String(items);
    seed.value = String(number);
    const source = JSON.stringify([written ?? [items, number, modelKey(model)]]);
    if (source === shown) return; // A slider moves often, and a request may be long.
    shown = source;
    if (written === null) {
      current = generate(model, fields, items, number);
      text.value = JSON.stringify(current, null, 1);
    } else {
      text.value = written;
      current = parse(text);
    }
    byId("request-size", HTMLSpanElement).textContent =
      `${counted(candidates().length, "candidate")}, ${written === null ? "generated" : "as written"}`;
  };

  /** @param {string} path */
  const control = (path) =>
    /^(candidates|user|context|request_id|timeout_ms|shown|shown_items)\b/.test(path) ? text : null;
  const candidates = () => (Array.isArray(current?.candidates) ? current.candidates : []);
  return { show, control, candidates, current: () => current };
}

/**
 * @param {HTMLTextAreaElement} text
 * @returns {RerankRequest | null}
 */
function parse(text) {
  clearErrors();
  try {
    const written = JSON.parse(text.value);
    if (typeof written === "object" && written !== null && !Array.isArray(written)) return written;
    markInvalid(text, "A request is a JSON object.");
  } catch (error) {
    markInvalid(text, `This is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  return null;
}

/**
 * @param {HTMLInputElement} input
 * @param {number} otherwise
 */
function wholeIn(input, otherwise) {
  const { valueAsNumber: value, min, max } = input;
  return Number.isFinite(value) ? Math.round(Math.min(Number(max), Math.max(Number(min), value))) : otherwise;
}
