/** The five kinds of rules: what their controls hold, what is proposed for a new one, and how one is said in words. */

/** @import {Candidate, FieldValue, RuleKind} from "./types.js" */

/**
 * @typedef {object} Column One control of a rule.
 * @property {string} key Name of the rule's field; empty where the rule is one value.
 * @property {string} label
 * @property {string} before Word in front of the control.
 * @property {number | "any"} [step] It takes numbers: whole ones, or any.
 *
 * @typedef {object} RuleSpec
 * @property {string} one
 * @property {string} title
 * @property {Column[]} columns
 * @property {(rule: any) => boolean} fits Whether the controls can hold the rule.
 * @property {(rule: any) => string[]} cells The rule as the texts of its controls.
 * @property {(cells: string[]) => any} rule The rule that the texts make.
 * @property {(candidates: Candidate[], own: any[]) => any} fresh A new rule that the service takes.
 * @property {(rule: any) => string} text
 */

const AND = " & ";

/** @type {Record<RuleKind, RuleSpec>} */
export const KINDS = {
  pinned: {
    one: "pin",
    title: "Pins",
    columns: [
      { key: "id", label: "id", before: "" },
      { key: "position", label: "position", before: "at", step: 1 },
    ],
    fits: (pin) => has(pin, { id: isText, position: isNumber }),
    cells: ({ id, position }) => [id, shown(position)],
    rule: ([id = "", position]) => ({ id, position: number(position) }),
    fresh: (candidates, own) => ({
      id: firstOther(candidates.map((c) => c.id).reverse(), own.map((pin) => pin.id)),
      position: firstOther([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], own.map((pin) => pin.position)),
    }),
    text: ({ id, position }) => `${id} at ${position}`,
  },
  blocked: {
    one: "blocked id",
    title: "Blocked",
    columns: [{ key: "", label: "", before: "" }],
    fits: isText,
    cells: (id) => [id],
    rule: ([id = ""]) => id,
    fresh: (candidates, own) => firstOther(candidates.map((c) => c.id), own),
    text: (id) => `${id} blocked`,
  },
  caps: {
    one: "cap",
    title: "Caps",
    columns: [
      { key: "limit", label: "limit", before: "at most", step: 1 },
      { key: "by", label: "field", before: "of one" },
      { key: "window", label: "window", before: "in any", step: 1 },
    ],
    fits: (cap) => has(cap, { by: isText, limit: isNumber, window: isNumberOrNull }, ["window"]),
    cells: ({ limit, by, window }) => [shown(limit), by, shown(window)],
    rule: ([limit, by = "", window]) => ({
      by,
      limit: number(limit),
      ...(number(window) === null ? {} : { window: number(window) }),
    }),
    fresh: (candidates) => ({ by: fieldOf(candidates)[0], limit: 2 }),
    text: ({ by, limit, window }) => `at most ${limit} of one ${by}${window ? ` in any ${window}` : ""}`,
  },
  floors: {
    one: "floor",
    title: "Floors",
    columns: [
      { key: "least", label: "least", before: "at least", step: 1 },
      { key: "by", label: "field", before: "with" },
      { key: "value", label: "value", before: "=" },
      { key: "within", label: "first places", before: "in the first", step: 1 },
    ],
    fits: (floor) => has(floor, { by: isText, value: isValue, least: isNumber, within: isNumber }),
    cells: ({ least, by, value, within }) => [shown(least), by, shown(value), shown(within)],
    rule: ([least, by = "", value = "", within]) => ({ by, value, least: number(least), within: number(within) }),
    fresh: (candidates) => ({ by: fieldOf(candidates)[0], value: fieldOf(candidates)[1], least: 1, within: 5 }),
    text: ({ by, value, least, within }) => `at least ${least} with ${by} = ${value} in the first ${within}`,
  },
  boosts: {
    one: "boost",
    title: "Boosts",
    columns: [
      { key: "where", label: "condition", before: "where" },
      { key: "factor", label: "factor", before: "×", step: "any" },
    ],
    fits: (boost) => has(boost, { where: isCondition, factor: isNumber }),
    cells: ({ where, factor }) => [condition(where), shown(factor)],
    rule: ([where = "", factor]) => ({ where: conditionIn(where), factor: number(factor) }),
    fresh: (candidates) => ({ where: Object.fromEntries([fieldOf(candidates)]), factor: 1.5 }),
    text: ({ where, factor }) => `× ${factor} where ${condition(where)}`,
  },
};

/**
 * Pick the first tag, else the first feature, that a candidate has, with its value there.
 * @param {Candidate[]} candidates
 * @returns {[string, string]}
 */
function fieldOf(candidates) {
  const { tags, features } = candidates[0] ?? {};
  const [name, value] = [...Object.entries(tags ?? {}), ...Object.entries(features ?? {})][0] ?? [];
  return [name ?? "brand", String(value ?? "")];
}

/**
 * @template T
 * @param {T[]} values
 * @param {unknown[]} taken
 * @returns {T | undefined}
 */
function firstOther(values, taken) {
  return values.find((value) => !taken.includes(value)) ?? values[0];
}

/** @param {Record<string, FieldValue>} where */
function condition(where) {
  return Object.entries(where)
    .map(([name, value]) => `${name}=${value}`)
    .join(AND);
}

/** @param {string} text */
function conditionIn(text) {
  const pairs = text.split("&").map((pair) => pair.trim().split("="));
  return Object.fromEntries(pairs.filter(([name]) => name).map(([name, ...value]) => [name, value.join("=")]));
}

/**
 * @param {string | undefined} text
 * @returns {number | null}
 */
function number(text) {
  return text?.trim() ? Number(text) : null;
}

/** @param {unknown} value */
function shown(value) {
  return value === null || value === undefined ? "" : String(value);
}

/**
 * @param {any} rule
 * @param {Record<string, (value: any) => boolean>} fields
 * @param {string[]} [optional]
 */
function has(rule, fields, optional = []) {
  if (typeof rule !== "object" || rule === null || Array.isArray(rule)) return false;
  if (!Object.keys(rule).every((name) => name in fields)) return false;
  return Object.entries(fields).every(([name, fits]) => (name in rule ? fits(rule[name]) : optional.includes(name)));
}

/** @param {unknown} value */
function isText(value) {
  return typeof value === "string";
}

/** @param {unknown} value */
function isNumber(value) {
  return typeof value === "number";
}

/** @param {unknown} value */
function isNumberOrNull(value) {
  return value === null || isNumber(value);
}

/** @param {unknown} value */
function isValue(value) {
  return ["string", "number", "boolean"].includes(typeof value);
}

/** @param {any} where */
function isCondition(where) {
  if (typeof where !== "object" || where === null || Array.isArray(where)) return false;
  const fits = (/** @type {unknown} */ value) => isValue(value) && !String(value).includes("&");
  return Object.entries(where).every(([name, value]) => fits(value) && !/[&=]/.test(name));
}
