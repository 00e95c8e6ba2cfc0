/** Make a request for a model from a seed. The same seed, size and model make the same request. */

/** @import {Candidate, Field, FieldValue, FieldValues, Model, ModelFields, RerankRequest} from "./types.js" */

const NOT_SCORES = new Set(["alpha", "beta", "gamma", "price"]);
const GROUPS = 6;
const DIMENSIONS = 12;
const BRANDS = 5;
const NEW_SHARE = 0.25;

/**
 * Make a request in which items of one group resemble each other, so that diversity matters.
 * @param {Model} model
 * @param {ModelFields} fields
 * @param {number} count
 * @param {number} seed
 * @returns {RerankRequest}
 */
export function generate(model, fields, count, seed) {
  const random = generator(seed);
  const scores = scoresOf(model, fields);
  const centres = Array.from({ length: GROUPS }, () => direction(fields.width ?? DIMENSIONS, random));
  const user = valuesOf(fields.user, 0, random);
  const context = valuesOf(fields.context, 0, random);
  const candidates = Array.from({ length: count }, (_, i) => makeCandidate(i, scores, fields, centres, random));
  // As a ranking stage hands them over: best first by the first score.
  const first = scores[0]?.name ?? "";
  candidates.sort((a, b) => (b.scores[first] ?? 0) - (a.scores[first] ?? 0));
  const draw = generator(seed + 1); // Of its own, so that tags change nothing else of a request.
  for (const candidate of candidates) candidate.tags = tagsOf(draw);
  return { request_id: `play-${seed}`, user, context, candidates };
}

/**
 * Name the scores in the model's formulas, in the order in which they first occur.
 * @param {Model} model
 * @returns {string[]}
 */
function scoreNames(model) {
  const text = [...model.queues.map((queue) => queue.score), model.fallback].join(" ");
  const names = text.match(/[A-Za-z_]\w*/g) ?? [];
  return [...new Set(names)].filter((name) => !NOT_SCORES.has(name));
}

/**
 * The scores of the formulas, then those that the model reads besides.
 * @param {Model} model
 * @param {ModelFields} fields
 * @returns {Field[]}
 */
function scoresOf(model, fields) {
  const names = [...new Set([...scoreNames(model), ...fields.scores.map((field) => field.name)])];
  const known = new Map(fields.scores.map((field) => [field.name, field]));
  return names.map((name) => known.get(name) ?? { name, kind: "probability", values: [], usual: 0 });
}

/**
 * Make mulberry32, a small generator of numbers from 0 to 1.
 * @param {number} seed
 * @returns {() => number}
 */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * @param {number} i
 * @param {Field[]} scores
 * @param {ModelFields} fields
 * @param {number[][]} centres
 * @param {() => number} random
 * @returns {Candidate}
 */
function makeCandidate(i, scores, fields, centres, random) {
  const group = Math.floor(random() * GROUPS);
  const centre = centres[group] ?? [];
  return {
    id: `item-${String(i + 1).padStart(3, "0")}`,
    scores: Object.fromEntries(scores.map((score, rank) => [score.name, scoreOf(score, rank, random)])),
    price: round(40 * Math.exp(0.7 * normal(random)), 2),
    features: valuesOf(fields.item, group, random),
    embedding: centre.map((x) => round(x + 0.25 * normal(random), 4)),
  };
}

/**
 * Make tags for rules. Some brands have many more items than others, as in a shop.
 * @param {() => number} random
 * @returns {FieldValues}
 */
function tagsOf(random) {
  const brand = `b${1 + Math.floor(BRANDS * random() ** 2)}`;
  return { brand, source: random() < NEW_SHARE ? "new" : "catalogue" };
}

/**
 * @param {Field} score
 * @param {number} rank
 * @param {() => number} random
 */
function scoreOf(score, rank, random) {
  const median = score.kind === "number" ? score.usual || 1 : rank ? 0.12 : 0.08;
  const value = median * Math.exp(0.6 * normal(random));
  return round(score.kind === "number" ? value : Math.min(0.9, value), 6);
}

/**
 * @param {Field[]} fields
 * @param {number} group
 * @param {() => number} random
 * @returns {FieldValues}
 */
function valuesOf(fields, group, random) {
  return Object.fromEntries(fields.map((field, i) => [field.name, valueOf(field, i === 0 ? group : null, random)]));
}

/**
 * @param {Field} field
 * @param {number | null} group The group decides the value of the first field.
 * @param {() => number} random
 * @returns {FieldValue}
 */
function valueOf(field, group, random) {
  const draw = random();
  if (field.kind === "number") return round(field.usual + 0.3 * (Math.abs(field.usual) || 1) * (2 * draw - 1), 3);
  if (field.kind === "hashed") return `${field.name}-${Math.floor(draw * 1000)}`;
  const place = group ?? Math.floor(draw * field.values.length);
  return field.values[place % field.values.length] ?? null;
}

/**
 * @param {number} width
 * @param {() => number} random
 * @returns {number[]} A vector of length 1.
 */
function direction(width, random) {
  const vector = Array.from({ length: width }, () => normal(random));
  const length = Math.hypot(...vector) || 1;
  return vector.map((x) => x / length);
}

/** @param {() => number} random */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/**
 * @param {number} value
 * @param {number} digits
 */
function round(value, digits) {
  return Number(value.toFixed(digits));
}
