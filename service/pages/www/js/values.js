/** Compute what the pages show from answers: value by position, and what moved. */

/** @import {Answer, Objective, ObjectiveValues, Result} from "./types.js" */

/** @typedef {Objective | "weighted"} Measure */

/** @type {Objective[]} */
export const OBJECTIVES = ["click", "conversion", "gmv"];

/** @type {Record<Objective, {letter: string, name: string, digits: number}>} */
export const TITLES = {
  click: { letter: "α", name: "Clicks", digits: 4 },
  conversion: { letter: "β", name: "Purchases", digits: 4 },
  gmv: { letter: "γ", name: "Revenue", digits: 2 },
};

/**
 * The weights that a result was made with.
 * @param {Result} result
 * @returns {ObjectiveValues}
 */
function weightsOf({ request, model }) {
  return { ...model.objectives, ...request.objectives };
}

/**
 * Add up the value of a list by position.
 *
 * A part in an explanation is value · weight / unit / (sum of the weights), where the unit is the model's mean of one
 * place in training. So the sum of the parts is in average places, and a single objective can be had back in its own
 * unit if its weight is not 0.
 * @param {Result} result
 * @param {Measure} measure
 * @returns {number[] | null} One sum for each explained item; null: the parts do not tell.
 */
export function cumulative(result, measure) {
  const weights = weightsOf(result);
  const sum = OBJECTIVES.reduce((total, name) => total + weights[name], 0);
  if (measure !== "weighted" && !(weights[measure] > 0)) return null;
  /** @type {number[]} */
  const sums = [];
  for (const { explanation } of result.answer.items) {
    if (!explanation) break;
    const { parts } = explanation;
    const step =
      measure === "weighted"
        ? parts.click + parts.conversion + parts.gmv
        : (parts[measure] * result.model.units[measure] * sum) / weights[measure];
    sums.push((sums.at(-1) ?? 0) + step);
  }
  return sums.length ? sums : null;
}

/**
 * @param {Answer} answer
 * @returns {Map<string, number>} Position by id.
 */
export function positions(answer) {
  return new Map(answer.items.map((item) => [item.id, item.position]));
}

/**
 * Count the places at which two lists show another item.
 * @param {Answer} one
 * @param {Answer} other
 */
export function differences(one, other) {
  const longest = Math.max(one.items.length, other.items.length);
  return Array.from({ length: longest }, (_, i) => one.items[i]?.id !== other.items[i]?.id).filter(Boolean).length;
}

/**
 * Tell whether the model made a list, or at least its first places.
 * @param {Answer} answer
 */
export function modelMade(answer) {
  return answer.items.some((item) => item.source === "model");
}

/**
 * Write a number with what it counts.
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * Write a number short enough for a table.
 * @param {number} value
 * @param {number} digits
 */
export function fixed(value, digits) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
