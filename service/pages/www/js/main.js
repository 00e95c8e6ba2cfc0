/** Run the playground: one state, shown in controls, sent as requests, answered as lists. */

import { setUpActions } from "./actions.js";
import { budgetMs, liveModels, liveScenes, modelFields, Problem, rerank } from "./api.js";
import { byId } from "./dom.js";
import { clearErrors, showError } from "./errors.js";
import { forgetKey, storedKey, storeKey, WRONG_KEY } from "./key.js";
import { readLink } from "./link.js";
import { announcement, results, showOutcomes } from "./outcomes.js";
import { setUpMeasure, showOverview } from "./overview.js";
import { setUpRequest } from "./request_panel.js";
import { mergedRules } from "./rules.js";
import { modelName, sceneOf, underScene } from "./scenes.js";
import { settingsPanel } from "./settings_panel.js";
import { bundleSettings, buildRequest, freshState, modelKey, modelOf, SIDES } from "./state.js";
import { setUpTheme } from "./theme.js";

/** @import {Model, ModelFields, RerankRequest, Result, Scene, Settings, Side, State} from "./types.js" */

const KEY_NOTE = "This service has API keys. The key stays in this tab, until you close it; no link holds it.";

/** @type {State} */
let state = freshState();
/** @type {Model[]} */
let models = [];
/** @type {Scene[]} */
let scenes = [];
/** @type {Map<string, ModelFields>} By `name@version`. */
const fields = new Map();
let budget = 19;
/** @type {Map<Side, Result | string>} An answer, or why there is none. */
let outcomes = new Map();
let running = new AbortController();
/** @type {number | undefined} */
let timer;

const request = setUpRequest(() => state, changeRequest);
const panels = {
  A: settingsPanel("A", (changes) => changeSettings("A", changes), { reset: () => resetSettings("A"), copy: null }),
  B: settingsPanel("B", (changes) => changeSettings("B", changes), {
    reset: () => resetSettings("B"),
    copy: () => changeSettings("B", structuredClone(state.sides.A)),
  }),
};

/**
 * @param {Partial<State>} changes
 * @param {Settings} [settings] Those that a written request brought.
 */
function changeRequest(changes, settings) {
  state = { ...state, ...changes, sides: settings ? { ...state.sides, A: settings } : state.sides };
  void changed();
}

/**
 * @param {Side} side
 * @param {Partial<Settings>} changes
 */
function changeSettings(side, changes) {
  const settings = { ...state.sides[side], ...changes };
  state = { ...state, sides: { ...state.sides, [side]: settings } };
  void changed();
}

/** @param {Side} side */
function resetSettings(side) {
  changeSettings(side, { ...bundleSettings(), model: state.sides[side].model });
}

async function changed() {
  clearTimeout(timer);
  try {
    await readFields();
  } catch (error) {
    return fail(error);
  }
  show();
  if (byId("auto", HTMLInputElement).checked) timer = setTimeout(run, 150);
}

/** @returns {Model | undefined} A's model, for which requests are generated. */
function modelOfA() {
  return modelOf(models, modelName(state.sides.A, sceneOf(scenes, state.sides.A)));
}

async function readFields() {
  const model = modelOfA();
  if (model && !fields.has(modelKey(model))) fields.set(modelKey(model), await modelFields(model));
}

/** Show the state in the controls, once the fields of A's model are there. */
function show() {
  const model = modelOfA();
  const known = model && fields.get(modelKey(model));
  if (!known) return;
  byId("page-error", HTMLParagraphElement).hidden = true;
  request.show(model, known);
  for (const side of SIDES) panels[side].show(state.sides[side], { models, scenes }, request.candidates());
  panels.B.element.hidden = !state.compare;
  byId("compare", HTMLInputElement).checked = state.compare;
  document.body.dataset.sides = state.compare ? "2" : "1";
}

/** @returns {[Side, RerankRequest][]} The requests of the sides that are on. */
function requests() {
  const base = request.current();
  if (!base) return [];
  return SIDES.filter((side) => side === "A" || state.compare).map((side) => [
    side,
    buildRequest(base, state.sides[side]),
  ]);
}

/** Run as the button asks: after a fault from the start, and never without a word. */
function runNow() {
  const failed = !byId("page-error", HTMLParagraphElement).hidden;
  if (failed || !models.length) return void load();
  if (!request.current()) byId("request", HTMLTextAreaElement).focus();
  void run();
}

async function run() {
  clearTimeout(timer);
  const asked = requests();
  if (!asked.length) return; // What is written is no JSON.
  running.abort();
  const { signal } = (running = new AbortController());
  const lists = byId("lists", HTMLDivElement);
  lists.setAttribute("aria-busy", "true");
  clearErrors();
  /** @type {Map<Side, Result | string>} */
  const found = new Map();
  for (const [side, body] of asked) {
    const outcome = await answerTo(side, body, signal);
    if (signal.aborted) return;
    found.set(side, outcome);
  }
  outcomes = found;
  showOutcomes(outcomes, budget);
  lists.setAttribute("aria-busy", "false");
  lists.dataset.runs = String(Number(lists.dataset.runs ?? 0) + 1);
  byId("announcer", HTMLParagraphElement).textContent = announcement(outcomes);
}

/**
 * Ask for one side's list. One side after the other, so that the timings are those of a service without other work.
 * @param {Side} side
 * @param {RerankRequest} body
 * @param {AbortSignal} signal
 * @returns {Promise<Result | string>}
 */
async function answerTo(side, body, signal) {
  try {
    const answer = await rerank(body, signal);
    const find = () => models.find((m) => m.name === answer.model && m.version === answer.version);
    if (!find()) models = await liveModels(); // A reload has brought a version that this page does not know yet.
    const model = find();
    const scene = sceneOf(scenes, state.sides[side]);
    return model
      ? { request: body, model: underScene(model, scene), rules: mergedRules(body.rules, scene?.rules), answer }
      : `Version ${answer.version} of ${answer.model} is no longer live.`;
  } catch (error) {
    if (signal.aborted) return "";
    if (error instanceof Problem && error.needsKey) askForKey(WRONG_KEY);
    return showError(error, (path) => panels[side].control(path) ?? request.control(path));
  }
}

/** @param {string} note */
function askForKey(note) {
  byId("key-form", HTMLFormElement).hidden = false;
  byId("key-note", HTMLParagraphElement).textContent = note;
  byId("key", HTMLInputElement).focus();
}

/** Read what is live, then the link, then run. */
async function load() {
  byId("page-error", HTMLParagraphElement).hidden = true;
  try {
    [models, scenes, budget] = await Promise.all([liveModels(), liveScenes(), budgetMs()]);
    byId("key-form", HTMLFormElement).hidden = true;
    byId("forget-key", HTMLButtonElement).hidden = storedKey() === null;
    if (!models.length) throw new Error("No model is live yet.");
    await readFields();
    show();
    await run();
  } catch (error) {
    fail(error);
  }
}

/** @param {unknown} error A fault that is no field's. */
function fail(error) {
  if (error instanceof Problem && error.needsKey) {
    askForKey(storedKey() === null ? KEY_NOTE : WRONG_KEY);
    return;
  }
  const fault = byId("page-error", HTMLParagraphElement);
  fault.hidden = false;
  fault.textContent = error instanceof Error ? error.message : String(error);
}

async function start() {
  setUpTheme();
  setUpMeasure(() => showOverview(results(outcomes)));
  setUpActions(() => state, requests);
  byId("settings", HTMLDivElement).append(panels.A.element, panels.B.element);
  foldSettings();
  byId("run", HTMLButtonElement).addEventListener("click", runNow);
  byId("compare", HTMLInputElement).addEventListener("change", (event) => {
    changeRequest({ compare: /** @type {HTMLInputElement} */ (event.target).checked });
  });
  byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    storeKey(byId("key", HTMLInputElement).value.trim());
    void load();
  });
  byId("forget-key", HTMLButtonElement).addEventListener("click", () => {
    forgetKey();
    location.reload();
  });
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => showOverview(results(outcomes)));
  await follow();
}

/** Fold the settings away where they would stand between a person and the lists. */
function foldSettings() {
  const narrow = matchMedia("(max-width: 860px)");
  const fold = () => (byId("settings-box", HTMLDetailsElement).open = !narrow.matches);
  narrow.addEventListener("change", fold);
  fold();
}

/** Take the state from the address. */
async function follow() {
  try {
    state = await readLink(location.hash);
  } catch (error) {
    state = freshState();
    byId("action-note", HTMLSpanElement).textContent = error instanceof Error ? error.message : String(error);
  }
  await load();
}

void start();
