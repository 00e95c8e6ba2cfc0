/** Show a list, place by place. */

import { make, unseen } from "./dom.js";
import { queueMark } from "./marks.js";
import { ruledFields, ruleText } from "./rules.js";
import { OBJECTIVES, positions, TITLES } from "./values.js";

/** @import {Candidate, Explanation, Item, ListRules, Result, Side} from "./types.js" */

const SOURCES = /** @type {Record<string, string>} */ ({ formula: "by the score formula", input: "as in the request" });

/**
 * @param {Result} result
 * @param {Side} side
 * @param {Result | null} other The other side's result.
 * @param {number} largest Sum of parts that fills the bar.
 */
export function listView(result, side, other, largest) {
  const elsewhere = other && positions(other.answer);
  const otherSide = side === "A" ? "B" : "A";
  const queues = (result.request.queues ?? result.model.queues).map((queue) => queue.name);
  const ruled = ruledFields(result.rules);
  const slots = result.answer.items.map((item) => {
    const candidate = result.request.candidates[item.index];
    return make(
      "li",
      { class: "slot", "data-id": item.id },
      make("span", { class: "place" }, String(item.position)),
      queueMark(item.explanation ? queues.indexOf(item.explanation.queue) : -1),
      make(
        "p",
        { class: "what" },
        make("b", {}, item.id),
        " ",
        item.pinned ? make("span", { class: "pinned" }, "pinned") : false,
        make("span", { class: "note" }, ...describe(candidate, item), ...ruledValues(candidate, ruled)),
      ),
      make("div", { class: "moves" }, moveFromInput(item), elsewhere && moveFromOther(item, elsewhere, otherSide)),
      item.explanation ? reasons(item.explanation, largest, result.rules) : false,
    );
  });
  return make("ol", { class: "slots", "aria-label": `List ${side}` }, ...slots);
}

/**
 * Say what a person would look for: price, features, and who placed the item.
 * @param {Candidate | undefined} candidate
 * @param {Item} item
 * @returns {(Node | string)[]}
 */
function describe(candidate, { explanation, source }) {
  const features = Object.values(candidate?.features ?? {})
    .filter((value) => value !== null)
    .slice(0, 2)
    .map(String);
  const price = typeof candidate?.price === "number" ? [candidate.price.toFixed(2)] : [];
  const facts = [...price, ...features].map((fact) => `${fact} · `).join("");
  return explanation ? [facts, unseen("queue "), explanation.queue] : [facts, SOURCES[source] ?? source];
}

/**
 * Say the values that rules look at.
 * @param {Candidate | undefined} candidate
 * @param {string[]} names
 */
function ruledValues(candidate, names) {
  const values = { ...candidate?.features, ...candidate?.tags };
  return names.filter((name) => values[name] !== undefined).map((name) => ` · ${name} ${values[name]}`);
}

/** @param {Item} item */
function moveFromInput(item) {
  const places = item.index + 1 - item.position;
  return move(places, `was ${item.index + 1} in the request`, `in ${item.index + 1}`);
}

/**
 * @param {Item} item
 * @param {Map<string, number>} elsewhere
 * @param {Side} otherSide
 */
function moveFromOther(item, elsewhere, otherSide) {
  const there = elsewhere.get(item.id);
  if (there === undefined) {
    return make("span", { class: "move only" }, `not in ${otherSide}`);
  }
  return move(there - item.position, `is ${there} in list ${otherSide}`, `${otherSide} ${there}`);
}

/**
 * @param {number} places Positive: nearer to the top.
 * @param {string} spoken
 * @param {string} shown
 */
function move(places, spoken, shown) {
  const sign = places > 0 ? "▲" : places < 0 ? "▼" : "=";
  const way = places > 0 ? "up" : places < 0 ? "down" : "same";
  const told = places === 0 ? `${spoken}: the same place` : `${spoken}: ${Math.abs(places)} ${way}`;
  const visible = make(
    "span",
    { "aria-hidden": "true" },
    `${shown} `,
    make("b", {}, `${sign}${places ? Math.abs(places) : ""}`),
  );
  return make("span", { class: `move ${way}`, title: told }, visible, unseen(told));
}

/**
 * @param {Explanation} explanation
 * @param {number} largest
 * @param {ListRules} rules
 */
function reasons(explanation, largest, rules) {
  const bars = OBJECTIVES.map((name) => {
    const bar = make("span", { class: `part ${name}` });
    bar.style.width = `${(100 * Math.max(0, explanation.parts[name])) / largest}%`;
    return bar;
  });
  const penalty = make("span", { class: "part penalty" });
  penalty.style.width = `${(100 * Math.max(0, explanation.penalty)) / largest}%`;
  return make(
    "div",
    { class: "reasons" },
    make("div", { class: "stack", "aria-hidden": "true" }, ...bars, penalty),
    make(
      "dl",
      { class: "numbers" },
      ...OBJECTIVES.map((name) =>
        term(TITLES[name].letter, TITLES[name].name, explanation.parts[name].toFixed(3), name),
      ),
      term("MMR", "Diversity penalty", explanation.penalty.toFixed(3).replace("-", "−"), "penalty"),
      explanation.boost === undefined ? false : term("boost", "Boost", `×${explanation.boost}`, "boost"),
      explanation.runner_up === null ? false : term("next", "Runner-up", explanation.runner_up, "runner-up"),
    ),
    passedOver(explanation, rules),
  );
}

/**
 * Show the heads of queues that rules kept from this place, rule by rule.
 * @param {Explanation} explanation
 * @param {ListRules} rules
 */
function passedOver({ passed_over: heads }, rules) {
  if (!heads?.length) return false;
  const named = [...new Set(heads.map(({ rule }) => rule))];
  const shown = named.map((name) => {
    const kept = heads.filter(({ rule }) => rule === name).map(({ id, queue }) => `${id} (${queue})`);
    return make("li", {}, make("b", {}, ruleText(rules, name)), `: ${kept.join(", ")}`);
  });
  return make("div", { class: "passed-over" }, make("span", {}, "Passed over"), make("ul", {}, ...shown));
}

/**
 * @param {string} short
 * @param {string} long
 * @param {string} value
 * @param {string} kind
 */
function term(short, long, value, kind) {
  const title = make("dt", { title: long }, make("span", { "aria-hidden": "true" }, short), unseen(long));
  return make("div", { class: kind }, title, make("dd", {}, value));
}
