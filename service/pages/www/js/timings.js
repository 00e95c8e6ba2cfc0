/** Show where the time of an answer went, against the budget. */

import { make } from "./dom.js";

/** @import {Side, Timings} from "./types.js" */

/** @type {{key: "decode" | "deal" | "encode" | "wait" | "infer", name: string}[]} */
const STAGES = [
  { key: "decode", name: "decode" },
  { key: "deal", name: "deal" },
  { key: "encode", name: "encode" },
  { key: "wait", name: "wait" },
  { key: "infer", name: "infer" },
];

/**
 * @param {Side} side
 * @param {Timings} timings
 * @param {number} budget In milliseconds.
 */
export function timingsView(side, timings, budget) {
  const scale = 1.12 * Math.max(budget, timings.total);
  const known = STAGES.reduce((sum, { key }) => sum + timings[key], 0);
  const rows = [
    ...STAGES.map(({ key, name }) => ({ name, ms: timings[key] })),
    { name: "other", ms: Math.max(0, timings.total - known) },
  ];
  const bars = rows.map(({ name, ms }) => {
    const bar = make("span", { class: `stage ${name}`, title: `${name} ${ms.toFixed(2)} ms` });
    bar.style.width = `${(100 * ms) / scale}%`;
    return bar;
  });
  const line = make("span", { class: "budget" });
  line.style.left = `${(100 * budget) / scale}%`;
  const verdict = timings.total <= budget ? "within" : "over";
  return make(
    "details",
    { class: "timings", id: `timings-${side}` },
    make(
      "summary",
      {},
      make(
        "span",
        { class: `total ${verdict}` },
        `${timings.total.toFixed(2)} ms, ${verdict} the budget of ${Number(budget.toFixed(1))} ms`,
      ),
      make("span", { class: "clock", "aria-hidden": "true" }, ...bars, line),
    ),
    make(
      "dl",
      { class: "stages" },
      ...rows.map(({ name, ms }) =>
        make("div", { class: name }, make("dt", {}, name), make("dd", {}, `${ms.toFixed(2)} ms`)),
      ),
    ),
  );
}
