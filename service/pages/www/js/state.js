/** Hold all that a link reproduces, and turn it into requests. */

import { fitsRules, readRules } from "./rules.js";

/** @import {Model, Queue, RerankRequest, Settings, Side, State} from "./types.js" */

/** @type {Side[]} */
export const SIDES = ["A", "B"];
const MOST_CANDIDATES = 2000;

/** @returns {Settings} */
export function bundleSettings() {
  return {
    model: null,
    scene: null,
    click: null,
    conversion: null,
    gmv: null,
    lambda: null,
    window: null,
    topN: null,
    partition: null,
    queues: null,
    rules: null,
  };
}

/** @returns {State} */
export function freshState() {
  const revenue = { ...bundleSettings(), click: 1, conversion: 1, gmv: 5 };
  return { count: 60, seed: 7, text: null, compare: true, sides: { A: bundleSettings(), B: revenue } };
}

/**
 * Read a state that came from outside. Throws if it is none.
 * @param {any} data
 * @returns {State}
 */
export function readState(data) {
  return {
    count: Math.round(Math.min(MOST_CANDIDATES, Math.max(1, numberOr(data.count, 60)))),
    seed: numberOr(data.seed, 7),
    text: textOrNull(data.text),
    compare: data.compare === true,
    sides: { A: readSettings(data.sides.A), B: readSettings(data.sides.B) },
  };
}

/**
 * Pick the model that is named, or else the default one.
 * @param {Model[]} models
 * @param {string | null} name `name@version`, or a name alone for the current version.
 * @returns {Model | undefined}
 */
export function modelOf(models, name) {
  return namedModel(models, name) ?? models[0];
}

/**
 * @param {Model[]} models
 * @param {string | null} name `name@version`, or a name alone for the current version.
 * @returns {Model | undefined}
 */
export function namedModel(models, name) {
  return models.find((model) => modelKey(model) === name || (model.current && model.name === name));
}

/** @param {Model} model */
export function modelKey(model) {
  return `${model.name}@${model.version}`;
}

/**
 * Put settings into a request. What they leave to the bundle stays out.
 * @param {RerankRequest} base
 * @param {Settings} settings
 * @returns {RerankRequest}
 */
export function buildRequest(base, settings) {
  const { click, conversion, gmv, lambda, window } = settings;
  const [model, version] = settings.model?.split("@") ?? [];
  const own = present({
    model,
    version,
    scene: settings.scene,
    top_n: settings.topN,
    objectives: present({ click, conversion, gmv }),
    diversity: present({ lambda, window }),
    queues: settings.queues,
    partition: settings.partition,
    rules: settings.rules,
  });
  return { ...withoutSettings(base), ...own, explain: true };
}

/**
 * Take the settings out of a request that somebody wrote.
 * @param {any} request
 * @returns {Settings}
 */
export function settingsIn(request) {
  const { model, version, top_n: topN, objectives, diversity, ...others } = settingFields(request);
  const named = version === undefined ? model : `${model}@${version}`;
  return readSettings({ ...others, model: named, topN, ...objectives, ...diversity });
}

/**
 * @param {RerankRequest} request
 * @returns {RerankRequest}
 */
function withoutSettings(request) {
  const taken = settingFields(request);
  return /** @type {RerankRequest} */ (
    Object.fromEntries(Object.entries(request).filter(([name]) => !(name in taken)))
  );
}

/** Tell which values a control can hold. Others stay in the request, so that the service says what is wrong. */
const FITS = /** @type {Record<string, (value: any, request: any) => boolean>} */ ({
  model: isText,
  version: (value, request) => isText(value) && isText(request.model),
  scene: isText,
  rules: fitsRules,
  top_n: isNumber,
  partition: isText,
  objectives: (value) => hasOnly(value, ["click", "conversion", "gmv"], isNumber),
  diversity: (value) => hasOnly(value, ["lambda", "window"], isNumber),
  queues: (value) => Array.isArray(value) && value.every((queue) => hasOnly(queue, ["name", "score"], isText)),
});

/**
 * @param {any} request
 * @returns {any}
 */
function settingFields(request) {
  return Object.fromEntries(Object.entries(request).filter(([name, value]) => FITS[name]?.(value, request)));
}

/**
 * @param {unknown} value
 * @param {string[]} names
 * @param {(inner: unknown) => boolean} fits
 */
function hasOnly(value, names, fits) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(([name, inner]) => names.includes(name) && fits(inner));
}

/** @param {unknown} value */
function isText(value) {
  return typeof value === "string";
}

/** @param {unknown} value */
function isNumber(value) {
  return typeof value === "number";
}

/**
 * Leave out what is missing or empty.
 * @param {Record<string, unknown>} fields
 * @returns {any}
 */
function present(fields) {
  const kept = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined);
  return kept.length ? Object.fromEntries(kept) : undefined;
}

/**
 * @param {any} data
 * @returns {Settings}
 */
function readSettings(data) {
  return {
    model: textOrNull(data.model),
    scene: textOrNull(data.scene),
    click: numberOr(data.click, null),
    conversion: numberOr(data.conversion, null),
    gmv: numberOr(data.gmv, null),
    lambda: numberOr(data.lambda, null),
    window: numberOr(data.window, null),
    topN: numberOr(data.topN, null),
    partition: textOrNull(data.partition),
    queues: Array.isArray(data.queues) ? data.queues.map(readQueue) : null,
    rules: readRules(data.rules),
  };
}

/**
 * @param {any} data
 * @returns {Queue}
 */
function readQueue(data) {
  return { name: String(data.name ?? ""), score: String(data.score ?? "") };
}

/** @param {unknown} value */
function textOrNull(value) {
  return typeof value === "string" ? value : null;
}

/**
 * @template {number | null} T
 * @param {unknown} value
 * @param {T} otherwise
 * @returns {number | T}
 */
function numberOr(value, otherwise) {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}
