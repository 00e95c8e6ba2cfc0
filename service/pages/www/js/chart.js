/** Draw value by position, as lines: one for each side, told apart by dash and marker as well as by colour. */

import { make, makeSvg } from "./dom.js";
import { fixed } from "./values.js";

/** @import {Side} from "./types.js" */

/** @typedef {{side: Side, values: number[]}} Line */

const HEIGHT = 232;
const EDGE = { left: 48, right: 40, top: 12, bottom: 34 };

/**
 * @param {Line[]} lines
 * @param {string} unit
 * @param {number} digits
 * @param {number} width In pixels, so that its text is as large as other text.
 */
export function chart(lines, unit, digits, width) {
  const longest = Math.max(...lines.map((line) => line.values.length));
  const ticks = ticksTo(Math.max(...lines.flatMap((line) => line.values), 1e-9));
  const top = ticks.at(-1) ?? 1;
  /** @param {number} position */
  const x = (position) => EDGE.left + ((width - EDGE.left - EDGE.right) * position) / longest;
  /** @param {number} value */
  const y = (value) => HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.top - EDGE.bottom) * value) / top;
  const ends = lines.map((line) => `${line.side} ${fixed(line.values.at(-1) ?? 0, digits)}`).join(", ");
  const picture = makeSvg(
    "svg",
    {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      class: "chart",
      role: "img",
      "aria-label": `Cumulative value by position, ${unit}. At the end: ${ends}.`,
    },
    ...ticks.flatMap((value) => [
      makeSvg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      makeSvg("text", { class: "tick", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value)),
    ]),
    ...positionsShown(longest).map((position) =>
      makeSvg(
        "text",
        { class: "tick", x: x(position), y: HEIGHT - EDGE.bottom + 17, "text-anchor": "middle" },
        String(position),
      ),
    ),
    makeSvg(
      "text",
      { class: "axis", x: (EDGE.left + width - EDGE.right) / 2, y: HEIGHT - 2, "text-anchor": "middle" },
      "position in the list",
    ),
    ...lines.map((line) => lineView(line, x, y)),
    ...labels(lines, x, y),
  );
  return make("figure", {}, picture, make("figcaption", { class: "note" }, unit), table(lines, longest, digits));
}

/**
 * @param {Line} line
 * @param {(position: number) => number} x
 * @param {(value: number) => number} y
 */
function lineView({ side, values }, x, y) {
  const points = [0, ...values].map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const markers = values.map((value, i) =>
    side === "A"
      ? makeSvg("circle", { cx: x(i + 1), cy: y(value), r: 3.5 })
      : makeSvg("rect", { x: x(i + 1) - 3.5, y: y(value) - 3.5, width: 7, height: 7 }),
  );
  return makeSvg("g", { class: `line ${side}` }, makeSvg("polyline", { points }), ...markers);
}

/**
 * Name each line at its end; two names never stand on one another.
 * @param {Line[]} lines
 * @param {(position: number) => number} x
 * @param {(value: number) => number} y
 */
function labels(lines, x, y) {
  const places = lines.map((line) => y(line.values.at(-1) ?? 0) + 5);
  const [first = 0, second = 0] = places;
  if (places.length === 2 && Math.abs(first - second) < 16) {
    const middle = (first + second) / 2;
    const upper = first <= second ? 0 : 1;
    places[upper] = middle - 8;
    places[1 - upper] = middle + 8;
  }
  return lines.map((line, i) =>
    makeSvg("text", { class: `label ${line.side}`, x: x(line.values.length) + 12, y: places[i] ?? 0 }, line.side),
  );
}

/**
 * @param {Line[]} lines
 * @param {number} longest
 * @param {number} digits
 */
function table(lines, longest, digits) {
  const rows = Array.from({ length: longest }, (_, i) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, String(i + 1)),
      ...lines.map(({ values }) => make("td", {}, values[i] === undefined ? "" : fixed(values[i], digits))),
    ),
  );
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, "Position"),
    ...lines.map(({ side }) => make("th", { scope: "col" }, side)),
  );
  return make(
    "details",
    { class: "as-table", id: "chart-table" },
    make("summary", {}, "As a table"),
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)),
  );
}

/**
 * Choose round numbers from 0 to at least `most`.
 * @param {number} most
 * @returns {number[]}
 */
export function ticksTo(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/**
 * @param {number} longest
 * @returns {number[]}
 */
function positionsShown(longest) {
  const step = Math.ceil(longest / 12);
  return Array.from({ length: Math.floor(longest / step) }, (_, i) => (i + 1) * step);
}
