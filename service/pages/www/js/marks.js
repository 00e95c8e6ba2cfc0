/** Draw the mark of a queue: a colour and a shape, so that no meaning rests on the colour alone. */

import { make, makeSvg } from "./dom.js";

/** Outlines in a box of 16 by 16; one for each colour, then from the start. */
const SHAPES = [
  "M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
  "M8 3l5.5 9.5h-11z",
  "M3.5 3.5h9v9h-9z",
  "M8 2l6 6l-6 6l-6-6z",
  "M6 3h4v3h3v4h-3v3H6v-3H3V6h3z",
  "M8 13L2.5 3.5h11z",
  "M2.5 6h11v4h-11z",
  "M6 2.5h4v11H6z",
];

/**
 * @param {number} i Place of the queue; negative: none.
 * @returns {HTMLElement}
 */
export function queueMark(i) {
  const kind = i < 0 ? "none" : String(i % SHAPES.length);
  const path = i < 0 ? "M4 7.25h8v1.5H4z" : (SHAPES[i % SHAPES.length] ?? "");
  const shape = makeSvg(
    "svg",
    { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
    makeSvg("path", { d: path }),
  );
  return make("span", { class: `mark q${kind}` }, shape);
}
