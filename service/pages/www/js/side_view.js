/** Show one side's answer: what answered, what it could not use, its time and its list. */

import { make } from "./dom.js";
import { listView } from "./list_view.js";
import { ruleText } from "./rules.js";
import { timingsView } from "./timings.js";
import { counted, modelMade } from "./values.js";

/** @import {Answer, FieldWarning, Result, Side} from "./types.js" */

/**
 * @param {Side} side
 * @param {Result} result
 * @param {Result | null} other
 * @param {{largest: number, budget: number}} scales
 */
export function sideView(side, result, other, { largest, budget }) {
  const { answer } = result;
  return make(
    "section",
    { class: `card side side-${side}`, "aria-labelledby": `list-${side}` },
    make(
      "div",
      { class: "card-head" },
      make(
        "h2",
        { id: `list-${side}` },
        make("span", { class: `badge ${side}` }, side),
        ` ${answer.model} ${answer.version}`,
      ),
      make("span", { class: "note" }, settingText(result)),
    ),
    timingsView(side, answer.timings_ms, budget),
    answer.degraded && degradedView(answer.degraded),
    !answer.degraded && !modelMade(answer) && bypassedView(),
    answer.relaxed?.length ? relaxedView(result, answer.relaxed) : false,
    answer.warnings?.length ? warningsView(side, answer.warnings) : false,
    listView(result, side, other, largest),
  );
}

/**
 * Show why there is no list.
 * @param {Side} side
 * @param {string} message
 */
export function failedSide(side, message) {
  return make(
    "section",
    { class: `card side side-${side}`, "aria-labelledby": `list-${side}` },
    make("h2", { id: `list-${side}` }, make("span", { class: `badge ${side}` }, side), " No list"),
    make("p", { class: "error banner" }, message),
  );
}

/** @param {Result} result */
function settingText({ request, model }) {
  const { click, conversion, gmv } = { ...model.objectives, ...request.objectives };
  const { lambda, window } = { ...model.diversity, ...request.diversity };
  return `α ${click} · β ${conversion} · γ ${gmv} · λ ${lambda} · w ${window}`;
}

/** @param {NonNullable<Answer["degraded"]>} degraded */
function degradedView({ reason, level }) {
  const why =
    {
      wait: "the wait would have been too long",
      deadline: "the model was not done in time",
      "model-error": "the model failed",
    }[reason] ?? reason;
  const how = level === "formula" ? "the score formula made this list" : "this is the order of the request";
  return make("p", { class: "warning banner" }, make("b", {}, `Degraded (${reason}): `), `${why}, so ${how}.`);
}

function bypassedView() {
  const why = "for these weights the bundle keeps nothing that was learnt, so the score formula made this list.";
  return make("p", { class: "note banner" }, make("b", {}, "Without the model: "), why);
}

/**
 * @param {Result} result
 * @param {string[]} names
 */
function relaxedView({ rules }, names) {
  const told = names.map((name) => `${name} (${ruleText(rules, name)})`).join("; ");
  return make("p", { class: "warning banner" }, make("b", {}, "Relaxed: "), `could not be kept: ${told}.`);
}

/**
 * @param {Side} side
 * @param {FieldWarning[]} warnings
 */
function warningsView(side, warnings) {
  return make(
    "details",
    { class: "warning banner", id: `warnings-${side}` },
    make(
      "summary",
      {},
      make("b", {}, counted(warnings.length, "warning")),
      " about what the model could not use",
    ),
    make(
      "ul",
      {},
      ...warnings.map(({ field, problem, detail }) => make("li", {}, make("b", {}, field), ` (${problem}): ${detail}`)),
    ),
  );
}
