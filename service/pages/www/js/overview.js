/** Show what both lists are worth, and how their value grows from place to place. */

import { chart } from "./chart.js";
import { byId, make, renew, unseen } from "./dom.js";
import { queueMark } from "./marks.js";
import { counted, cumulative, differences, fixed, modelMade, OBJECTIVES, TITLES } from "./values.js";

/** @import {Answer, Queue, Result, Side} from "./types.js" */
/** @import {Measure} from "./values.js" */

/** @typedef {[Side, Result][]} Sides */

/** @type {Record<Measure, {option: string, unit: string, digits: number}>} */
const MEASURES = {
  click: { option: "clicks (α)", unit: "Expected clicks, summed from the top", digits: 3 },
  conversion: { option: "purchases (β)", unit: "Expected purchases, summed from the top", digits: 4 },
  gmv: { option: "revenue (γ)", unit: "Expected revenue in currency, summed from the top", digits: 2 },
  weighted: {
    option: "weighted value",
    unit: "Value in average places of the training lists, summed from the top; comparable between equal weights only",
    digits: 3,
  },
};

/** @param {() => void} onChange */
export function setUpMeasure(onChange) {
  const select = byId("measure", HTMLSelectElement);
  select.append(...Object.entries(MEASURES).map(([value, { option }]) => make("option", { value }, option)));
  select.addEventListener("change", onChange);
}

/**
 * @param {Sides} sides
 */
export function showOverview(sides) {
  byId("overview", HTMLDivElement).hidden = sides.length === 0;
  if (!sides.length) return;
  byId("values", HTMLDivElement).replaceChildren(valuesTable(sides), ...sayings(sides));
  renew(byId("chart", HTMLDivElement), chartOf(sides));
}

/** @param {Sides} sides */
function valuesTable(sides) {
  const [first, second] = sides;
  const head = [
    make("th", { scope: "col" }, unseen("Objective")),
    ...sides.map(([side]) => make("th", { scope: "col" }, make("span", { class: `badge ${side}` }, side))),
  ];
  if (second) head.push(make("th", { scope: "col" }, "B − A"));
  const rows = OBJECTIVES.map((name) => {
    const { letter, name: title, digits } = TITLES[name];
    const cells = sides.map(([, { answer }]) =>
      make("td", {}, modelMade(answer) ? fixed(answer.value[name], digits) : "–"),
    );
    if (first && second) cells.push(differenceCell(first[1].answer.value[name], second[1].answer.value[name]));
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, make("span", { class: `swatch ${name}` }, letter), ` ${title}`),
      ...cells,
    );
  });
  return make("table", { class: "values" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

/** @param {Sides} sides */
function sayings(sides) {
  const [first, second] = sides;
  const estimates = make(
    "p",
    { class: "note" },
    "These are the model's own estimates. What is true, only a test with users can show.",
  );
  if (!first || !second) return [estimates];
  const [a, b] = [first[1].answer, second[1].answer];
  const ids = new Set(a.items.map((item) => item.id));
  const common = b.items.filter((item) => ids.has(item.id)).length;
  const places = Math.max(a.items.length, b.items.length);
  const moved = `${differences(a, b)} of ${counted(places, "place")} differ; ${counted(common, "item")} in both lists.`;
  return [make("p", { class: "saying" }, moved), estimates];
}

/**
 * @param {number} a
 * @param {number} b
 */
function differenceCell(a, b) {
  if (!a || !b) return make("td", {}, "–");
  const share = b / a - 1;
  const way = Math.abs(share) < 5e-4 ? "same" : share > 0 ? "up" : "down";
  return make(
    "td",
    { class: `difference ${way}` },
    way === "same" ? "±0.0 %" : `${share > 0 ? "+" : "−"}${Math.abs(100 * share).toFixed(1)} %`,
  );
}

/** @param {Sides} sides */
function chartOf(sides) {
  const measure = /** @type {Measure} */ (byId("measure", HTMLSelectElement).value);
  const lines = sides.flatMap(([side, result]) => {
    const values = cumulative(result, measure);
    return values ? [{ side, values }] : [];
  });
  const { unit, digits } = MEASURES[measure];
  const without = sides.filter(([side]) => !lines.some((line) => line.side === side));
  return make(
    "div",
    {},
    lines.length ? chart(lines, unit, digits, widthOf(byId("chart", HTMLDivElement))) : false,
    ...without.map(([side, { answer }]) =>
      make("p", { class: "note" }, `No line for ${side}: ${whyNone(answer, measure)}`),
    ),
  );
}

/**
 * @param {Answer} answer
 * @param {Measure} measure
 */
function whyNone(answer, measure) {
  if (measure === "weighted" || !modelMade(answer)) return "the model did not make this list.";
  return `its weight ${TITLES[measure].letter} is 0, so the explanation has no such part.`;
}

/** @param {HTMLElement} place */
function widthOf(place) {
  return Math.min(760, Math.max(280, place.clientWidth));
}

/** @param {Sides} sides */
export function showLegend(sides) {
  const legend = byId("legend", HTMLDivElement);
  legend.hidden = sides.length === 0;
  const lists = sides.map(([side, { request, model }]) => ({ side, queues: request.queues ?? model.queues }));
  const [first, second] = lists;
  const same = first && second && JSON.stringify(first.queues) === JSON.stringify(second.queues);
  const shown = same ? [first] : lists;
  const parts = OBJECTIVES.map((name) =>
    make(
      "li",
      {},
      make("span", { class: `swatch ${name}` }, TITLES[name].letter),
      ` ${TITLES[name].name.toLowerCase()}`,
    ),
  );
  legend.replaceChildren(
    ...shown.map(({ side, queues }) =>
      group(same || sides.length === 1 ? "Queues" : `Queues ${side}`, queues.map(queueEntry)),
    ),
    group("Value", [
      ...parts,
      make("li", {}, make("span", { class: "swatch penalty" }, "−"), " diversity penalty (MMR)"),
    ]),
  );
}

/**
 * @param {Queue} queue
 * @param {number} i
 */
function queueEntry({ name, score }, i) {
  return make("li", { title: score }, queueMark(i), ` ${name}`);
}

/**
 * @param {string} title
 * @param {HTMLElement[]} entries
 */
function group(title, entries) {
  return make("div", { class: "legend-group" }, make("h2", {}, title), make("ul", {}, ...entries));
}
