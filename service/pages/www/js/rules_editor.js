/** Edit the rules of one side: pins, blocked ids, caps, floors and boosts. */

import { make } from "./dom.js";
import { KINDS } from "./rule_kinds.js";
import { mergedRules, RULE_KINDS, withRules } from "./rules.js";

/** @import {Candidate, ListRules, RuleKind, Scene, Settings, Side} from "./types.js" */

/**
 * @param {Side} side
 * @param {(rules: ListRules | null) => void} onChange
 */
export function rulesEditor(side, onChange) {
  /** @type {ListRules | null} */
  let own = null;
  /** @type {ListRules | null} */
  let scenes = null;
  /** @type {Candidate[]} */
  let candidates = [];
  const title = make("summary", {}, "Rules");
  const reset = make("button", { type: "button", onclick: () => onChange(null) }, "No own rules");
  const groups = RULE_KINDS.map((kind) =>
    ruleGroup(side, kind, {
      change: (list) => onChange(withRules(own, scenes, kind, list)),
      candidates: () => candidates,
    }),
  );
  const element = make(
    "details",
    { class: "rules" },
    title,
    ...groups.map((group) => group.element),
    make("p", { class: "actions" }, reset),
  );

  /**
   * @param {Settings} settings
   * @param {Scene | null} scene
   * @param {Candidate[]} known Those that a new rule is proposed for.
   */
  const show = (settings, scene, known) => {
    own = settings.rules;
    scenes = scene?.rules ?? null;
    candidates = known;
    const rules = mergedRules(own, scenes);
    const count = RULE_KINDS.reduce((sum, kind) => sum + (rules[kind]?.length ?? 0), 0);
    title.textContent = `Rules (${count || "none"}${count ? (own ? ", own" : ", the scene's") : ""})`;
    reset.textContent = scenes ? "Use the scene's" : "No rules";
    reset.disabled = own === null;
    for (const group of groups) group.show(rules[group.kind] ?? []);
  };

  /**
   * Find the control of a field of the request.
   * @param {string} path
   * @returns {HTMLElement | null}
   */
  const control = (path) => {
    const [, kind, place, field] = path.match(/^rules(?:\.(\w+)(?:\[(\d+)\](?:\.(\w+))?)?)?/) ?? [];
    const group = groups.find((one) => one.kind === kind);
    return group?.control(place === undefined ? -1 : Number(place), field ?? "") ?? title;
  };
  return { element, show, control };
}

/**
 * @param {Side} side
 * @param {RuleKind} kind
 * @param {{change: (list: any[]) => void, candidates: () => Candidate[]}} around
 */
function ruleGroup(side, kind, { change, candidates }) {
  const spec = KINDS[kind];
  const rows = make("ul", { class: "rule-rows" });
  /** @type {any[]} */
  let rules = [];
  const add = make(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": `${side}: add ${spec.one}`,
      onclick: () => change([...rules, spec.fresh(candidates(), rules)]),
    },
    "Add",
  );
  const head = make("div", { class: "rule-head" }, make("h3", {}, spec.title), add);
  const element = make("div", { class: "rule-group" }, head, rows);

  /** @param {number} i */
  const row = (i) => {
    const inputs = spec.columns.map(({ label, step }) =>
      make("input", {
        ...(step ? { type: "number", step, inputmode: "decimal" } : { spellcheck: "false" }),
        "aria-label": `${side}: ${label ? `${label} of ` : ""}${spec.one} ${i + 1}`,
        onchange: () => {
          const changed = spec.rule(inputs.map((input) => input.value));
          change(rules.map((rule, j) => (j === i ? changed : rule)));
        },
      }),
    );
    const removed = () => {
      add.focus(); // The button goes, and with it the place of the keyboard.
      change(rules.filter((_, j) => j !== i));
    };
    const name = `${side}: remove ${spec.one} ${i + 1}`;
    const remove = make("button", { type: "button", class: "quiet", "aria-label": name, onclick: removed }, "×");
    const worded = inputs.flatMap((input, j) => [spec.columns[j]?.before ?? "", input]);
    return make("li", {}, ...worded, remove);
  };

  /** @param {any[]} list */
  const show = (list) => {
    rules = list;
    if (rows.children.length !== list.length) rows.replaceChildren(...list.map((_, i) => row(i)));
    list.forEach((rule, i) => {
      const cells = spec.cells(rule);
      rows.children[i]?.querySelectorAll("input").forEach((input, j) => (input.value = cells[j] ?? ""));
    });
  };

  /**
   * @param {number} i
   * @param {string} field
   * @returns {HTMLElement}
   */
  const control = (i, field) => {
    const inputs = rows.children[i]?.querySelectorAll("input");
    return inputs?.[Math.max(0, spec.columns.findIndex((column) => column.key === field))] ?? add;
  };
  return { kind, element, show, control };
}
