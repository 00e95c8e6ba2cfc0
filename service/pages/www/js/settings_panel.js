/** The controls of one side. They show what holds, and pass on what people change. */

import { make } from "./dom.js";
import { queuesEditor } from "./queues_editor.js";
import { rulesEditor } from "./rules_editor.js";
import { scenePicker } from "./scene_picker.js";
import { modelName, sceneOf, underScene } from "./scenes.js";
import { modelKey, modelOf, namedModel } from "./state.js";
import { OBJECTIVES } from "./values.js";

/** @import {Candidate, Model, Objective, Scene, Settings, Side} from "./types.js" */

/** @typedef {"click" | "conversion" | "gmv" | "lambda" | "window"} SliderKey */

/** @type {{key: SliderKey, label: string, hint: string, path: string, most: number, limit: number, step: number}[]} */
const SLIDERS = [
  { key: "click", label: "α", hint: "clicks", path: "objectives.click", most: 10, limit: 1e6, step: 0.1 },
  { key: "conversion", label: "β", hint: "purchases", path: "objectives.conversion", most: 10, limit: 1e6, step: 0.1 },
  { key: "gmv", label: "γ", hint: "revenue", path: "objectives.gmv", most: 10, limit: 1e6, step: 0.1 },
  { key: "lambda", label: "λ", hint: "value share", path: "diversity.lambda", most: 1, limit: 1, step: 0.01 },
  { key: "window", label: "w", hint: "window", path: "diversity.window", most: 10, limit: 1000, step: 1 },
];

/**
 * @param {Side} side
 * @param {(changes: Partial<Settings>) => void} onChange
 * @param {{reset: () => void, copy: (() => void) | null}} actions
 */
export function settingsPanel(side, onChange, actions) {
  const model = make("select", { onchange: () => onChange({ model: model.value }) });
  const sliders = SLIDERS.map((spec) => sliderRow(side, spec, (value) => onChange({ [spec.key]: value })));
  const topN = make("input", {
    type: "number",
    min: 1,
    step: 1,
    inputmode: "numeric",
    onchange: () => onChange({ topN: numberIn(topN) }),
  });
  const partition = make("select", { onchange: () => onChange({ partition: partition.value || null }) });
  const queues = queuesEditor(side, (value) => onChange({ queues: value }));
  const rules = rulesEditor(side, (value) => onChange({ rules: value }));
  const picker = scenePicker((value) => onChange({ scene: value }));
  const copy = actions.copy && make("button", { type: "button", class: "quiet", onclick: actions.copy }, "Same as A");
  const element = make(
    "fieldset",
    { class: `card side-${side}` },
    make("legend", {}, make("span", { class: `badge ${side}` }, side), " Setting"),
    make(
      "p",
      { class: "settings-actions" },
      copy,
      make("button", { type: "button", class: "quiet", onclick: actions.reset }, "Bundle's defaults"),
    ),
    make("label", { class: "wide" }, "Model ", model),
    picker.element,
    ...sliders.map((row) => row.element),
    make("div", { class: "pair" }, make("label", {}, "Items ", topN), make("label", {}, "Dealing ", partition)),
    queues.element,
    rules.element,
  );

  /**
   * @param {Settings} settings
   * @param {{models: Model[], scenes: Scene[]}} live
   * @param {Candidate[]} candidates Those of the request, for which rules are proposed.
   */
  const show = (settings, { models, scenes }, candidates) => {
    const scene = sceneOf(scenes, settings);
    const name = modelName(settings, scene);
    const found = modelOf(models, name);
    if (!found) return;
    const named = namedModel(models, name);
    showModels(model, models, named || name === null ? modelKey(named ?? found) : name);
    const chosen = underScene(found, scene);
    picker.show(settings.scene, scenes);
    rules.show(settings, scene, candidates);
    sliders.forEach((row) => row.show(settings[row.key], defaultOf(chosen, row.key), whyFixed(chosen, row.key)));
    topN.value = settings.topN === null ? "" : String(settings.topN);
    topN.placeholder = String(chosen.list_length);
    partition.replaceChildren(
      make("option", { value: "" }, `bundle's (${chosen.partition})`),
      make("option", { value: "bfs" }, "bfs: rank by rank"),
      make("option", { value: "dfs" }, "dfs: queue by queue"),
    );
    partition.value = settings.partition ?? "";
    queues.show(settings, chosen);
  };

  /**
   * Find the control of a field of the request.
   * @param {string} path
   * @returns {HTMLElement | null}
   */
  const control = (path) => {
    if (path === "model" || path === "version") return model;
    if (path === "scene") return picker.select;
    if (/^rules\b/.test(path)) return rules.control(path);
    if (path === "top_n") return topN;
    if (path === "partition") return partition;
    const queue = path.match(/^queues(?:\[(\d+)\](?:\.(\w+))?)?$/);
    if (queue) return queues.control(queue[1] === undefined ? -1 : Number(queue[1]), queue[2] ?? "score");
    return sliders.find((row) => row.path === path || row.path.startsWith(`${path}.`))?.number ?? null;
  };
  return { element, show, control };
}

/**
 * @param {Side} side
 * @param {typeof SLIDERS[number]} spec
 * @param {(value: number | null) => void} onChange
 */
function sliderRow(side, spec, onChange) {
  const number = make("input", { type: "number", min: 0, max: spec.limit, step: "any", inputmode: "decimal" });
  const range = make("input", {
    type: "range",
    min: 0,
    max: spec.most,
    step: spec.step,
    "aria-label": `${side}: ${spec.label}, ${spec.hint}, slider`,
  });
  range.addEventListener("input", () => {
    number.value = range.value;
    onChange(range.valueAsNumber);
  });
  number.addEventListener("change", () => onChange(numberIn(number)));
  const name = make("span", { class: "name" }, make("b", {}, spec.label), ` ${spec.hint}`);
  const element = make("div", { class: "slider" }, make("label", {}, name, number), range);

  /**
   * @param {number | null} value
   * @param {number} otherwise
   * @param {string} fixed Why it cannot be changed, or nothing.
   */
  const show = (value, otherwise, fixed) => {
    number.value = value === null ? "" : String(value);
    number.placeholder = String(otherwise);
    range.value = String(value ?? otherwise);
    number.disabled = range.disabled = fixed !== "";
    element.title = fixed;
  };
  return { element, number, show, key: spec.key, path: spec.path };
}

/**
 * @param {HTMLSelectElement} select
 * @param {Model[]} models
 * @param {string} chosen
 */
function showModels(select, models, chosen) {
  const keys = models.map(modelKey);
  const missing = keys.includes(chosen) ? [] : [make("option", { value: chosen }, `${chosen} (not live)`)];
  const live = models.map((model) =>
    make("option", { value: modelKey(model) }, `${model.name} ${model.version}${model.default ? " (default)" : ""}`),
  );
  select.replaceChildren(...live, ...missing);
  select.value = chosen;
}

/**
 * @param {Model} model
 * @param {SliderKey} key
 * @returns {number}
 */
function defaultOf(model, key) {
  return key === "lambda" || key === "window" ? model.diversity[key] : model.objectives[key];
}

/**
 * @param {Model} model
 * @param {SliderKey} key
 * @returns {string}
 */
function whyFixed(model, key) {
  if (!OBJECTIVES.includes(/** @type {Objective} */ (key))) return "";
  if (model.fixed_objectives) return "This model knows its own mix of weights only.";
  return model.valued.includes(key) ? "" : "This model does not value this objective.";
}

/**
 * @param {HTMLInputElement} input
 * @returns {number | null}
 */
function numberIn(input) {
  return Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber;
}
