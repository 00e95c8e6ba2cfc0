/** Edit the queues of one side: a name and a formula each, in priority order. */

import { make } from "./dom.js";
import { queueMark } from "./marks.js";

/** @import {Model, Queue, Settings, Side} from "./types.js" */

/**
 * @param {Side} side
 * @param {(queues: Queue[] | null) => void} onChange
 */
export function queuesEditor(side, onChange) {
  const rows = make("ol", { class: "queue-rows" });
  const title = make("summary", {}, "Queues");
  const add = make(
    "button",
    { type: "button", onclick: () => onChange([...read(), { name: nextName(), score: "ctr" }]) },
    "Add queue",
  );
  const reset = make("button", { type: "button", onclick: () => onChange(null) }, "Use the bundle's");
  const element = make("details", { class: "queues" }, title, rows, make("p", { class: "actions" }, add, reset));

  const read = () =>
    [...rows.children].map((row) => {
      const [name, score] = row.querySelectorAll("input");
      return { name: name?.value ?? "", score: score?.value ?? "" };
    });
  const nextName = () => {
    const names = new Set(read().map((queue) => queue.name));
    let i = names.size + 1;
    while (names.has(`queue-${i}`)) i += 1;
    return `queue-${i}`;
  };
  /**
   * @param {Queue} queue
   * @param {number} i
   */
  const row = (queue, i) => {
    const changed = () => onChange(read());
    const removed = () => {
      title.focus(); // The button goes, and with it the place of the keyboard.
      onChange(read().filter((_, j) => j !== i));
    };
    return make(
      "li",
      {},
      queueMark(i),
      make("input", {
        "aria-label": `${side}: name of queue ${i + 1}`,
        value: queue.name,
        spellcheck: "false",
        onchange: changed,
      }),
      make("input", {
        "aria-label": `${side}: formula of queue ${i + 1}`,
        value: queue.score,
        spellcheck: "false",
        onchange: changed,
      }),
      make(
        "button",
        { type: "button", class: "quiet", "aria-label": `${side}: remove queue ${i + 1}`, onclick: removed },
        "×",
      ),
    );
  };

  /**
   * @param {Settings} settings
   * @param {Model} model
   */
  const show = (settings, model) => {
    const queues = settings.queues ?? model.queues;
    title.textContent = settings.queues ? `Queues (${queues.length}, own)` : `Queues (${queues.length}, the bundle's)`;
    add.disabled = queues.length >= model.max_queues;
    reset.disabled = settings.queues === null;
    if (JSON.stringify(read()) !== JSON.stringify(queues)) rows.replaceChildren(...queues.map(row));
  };

  /**
   * @param {number} i
   * @param {string} field
   * @returns {HTMLElement}
   */
  const control = (i, field) => rows.children[i]?.querySelectorAll("input")[field === "name" ? 0 : 1] ?? title;
  return { element, show, control };
}
