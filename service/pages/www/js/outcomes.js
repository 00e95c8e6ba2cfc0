/** Show and announce what both sides were answered. */

import { byId, renew } from "./dom.js";
import { showLegend, showOverview } from "./overview.js";
import { failedSide, sideView } from "./side_view.js";
import { SIDES } from "./state.js";
import { counted, differences, fixed } from "./values.js";

/** @import {Item, Result, Side} from "./types.js" */

/** @typedef {Map<Side, Result | string>} Outcomes An answer of each side, or why there is none. */

/**
 * @param {Outcomes} outcomes
 * @returns {[Side, Result][]} The sides that have a list.
 */
export function results(outcomes) {
  return SIDES.flatMap((side) => {
    const outcome = outcomes.get(side);
    return outcome && typeof outcome !== "string" ? [/** @type {[Side, Result]} */ ([side, outcome])] : [];
  });
}

/**
 * @param {Outcomes} outcomes
 * @param {number} budget In milliseconds.
 */
export function showOutcomes(outcomes, budget) {
  const answered = results(outcomes);
  const lengths = answered.flatMap(([, { answer }]) => answer.items.map(barLength));
  const scales = { largest: Math.max(1e-9, ...lengths), budget };
  const other = (/** @type {Side} */ side) => answered.find(([name]) => name !== side)?.[1] ?? null;
  const views = [...outcomes].map(([side, outcome]) =>
    typeof outcome === "string" ? failedSide(side, outcome) : sideView(side, outcome, other(side), scales),
  );
  renew(byId("lists", HTMLDivElement), ...views);
  showOverview(answered);
  showLegend(answered);
}

/** @param {Item} item */
function barLength({ explanation }) {
  if (!explanation) return 0;
  const { parts, penalty } = explanation;
  return [parts.click, parts.conversion, parts.gmv, penalty].reduce((sum, part) => sum + Math.max(0, part), 0);
}

/**
 * Say in one sentence or two what is new.
 * @param {Outcomes} outcomes
 * @returns {string}
 */
export function announcement(outcomes) {
  const told = [...outcomes].map(([side, outcome]) => {
    if (typeof outcome === "string") return `${side}: no list. ${outcome}`;
    const { items, value, degraded, relaxed } = outcome.answer;
    const worth = degraded
      ? `degraded, ${degraded.reason}`
      : `expected clicks ${fixed(value.click, 3)}, revenue ${fixed(value.gmv, 2)}`;
    const kept = relaxed?.length ? `, ${counted(relaxed.length, "rule")} relaxed` : "";
    return `${side}: ${counted(items.length, "item")}, ${worth}${kept}.`;
  });
  const [a, b] = results(outcomes);
  if (a && b) told.push(`${differences(a[1].answer, b[1].answer)} places differ.`);
  return `New lists. ${told.join(" ")}`;
}
