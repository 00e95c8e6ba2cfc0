/** Read, merge and describe the rules of a list. */

import { KINDS } from "./rule_kinds.js";

/** @import {ListRules, RuleKind} from "./types.js" */

export const RULE_KINDS = /** @type {RuleKind[]} */ (Object.keys(KINDS));

/**
 * Tell whether the controls can hold rules. Others stay in the request, so that the service says what is wrong.
 * @param {any} rules
 * @returns {boolean}
 */
export function fitsRules(rules) {
  if (typeof rules !== "object" || rules === null || Array.isArray(rules)) return false;
  return Object.entries(rules).every(
    ([kind, list]) => kind in KINDS && Array.isArray(list) && list.every(KINDS[/** @type {RuleKind} */ (kind)].fits),
  );
}

/**
 * Read rules that came from outside; null if there are none.
 * @param {any} data
 * @returns {ListRules | null}
 */
export function readRules(data) {
  return fitsRules(data) && Object.keys(data).length ? data : null;
}

/**
 * Merge as the service does: what a request says of a kind stands in for all that its scene says of it.
 * @param {ListRules | null | undefined} own
 * @param {ListRules | null | undefined} scene
 * @returns {ListRules}
 */
export function mergedRules(own, scene) {
  const given = Object.entries(own ?? {}).filter(([, list]) => list !== null && list !== undefined);
  return { ...scene, ...Object.fromEntries(given) };
}

/**
 * Change the rules of one kind. No rule is said as such only where it stands in for a scene's.
 * @param {ListRules | null} own
 * @param {ListRules | null | undefined} scene
 * @param {RuleKind} kind
 * @param {any[]} list
 * @returns {ListRules | null}
 */
export function withRules(own, scene, kind, list) {
  const { [kind]: _, ...others } = own ?? {};
  const changed = list.length || scene?.[kind]?.length ? { ...others, [kind]: list } : others;
  return Object.keys(changed).length ? changed : null;
}

/**
 * Say a rule in words, from its name in an answer, such as `caps[0]`.
 * @param {ListRules} rules
 * @param {string} name
 * @returns {string}
 */
export function ruleText(rules, name) {
  const [, kind, place] = name.match(/^(\w+)\[(\d+)\]$/) ?? [];
  if (!kind || !(kind in KINDS)) return name;
  const known = /** @type {RuleKind} */ (kind);
  const rule = rules[known]?.[Number(place)];
  return rule === undefined ? name : KINDS[known].text(rule);
}

/**
 * Name the tags and features that rules look at.
 * @param {ListRules} rules
 * @returns {string[]}
 */
export function ruledFields({ caps, floors, boosts }) {
  const names = [...(caps ?? []), ...(floors ?? [])].map((rule) => rule.by);
  return [...new Set([...names, ...(boosts ?? []).flatMap((boost) => Object.keys(boost.where))])];
}
