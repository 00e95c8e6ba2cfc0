/** Run the playground: one state, shown in controls, sent as requests, answered as lists. */

import { setUpActions } from "./actions.js";
import { budgetMs, liveModels, modelFields, Problem, rerank } from "./api.js";
import { byId } from "./dom.js";
import { clearErrors, showError } from "./errors.js";
import { NO_FIELDS } from "./generate.js";
import { forgetKey, storedKey, storeKey } from "./key.js";
import { readLink } from "./link.js";
import { setUpMeasure, showLegend, showOverview } from "./overview.js";
import { setUpRequest } from "./request_panel.js";
import { settingsPanel } from "./settings_panel.js";
import { failedSide, sideView } from "./side_view.js";
import { bundleSettings, buildRequest, freshState, modelOf, SIDES } from "./state.js";
import { setUpTheme } from "./theme.js";
import { differences, fixed } from "./values.js";

/** @import {Model, ModelFields, RerankRequest, Result, Settings, Side, State} from "./types.js" */

/** @type {State} */
let state = freshState();
/** @type {Model[]} */
let models = [];
/** @type {ModelFields} */
let fields = NO_FIELDS;
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
  changed();
}

/**
 * @param {Side} side
 * @param {Partial<Settings>} changes
 */
function changeSettings(side, changes) {
  const settings = { ...state.sides[side], ...changes };
  state = { ...state, sides: { ...state.sides, [side]: settings } };
  changed();
}

/** @param {Side} side */
function resetSettings(side) {
  changeSettings(side, { ...bundleSettings(), model: state.sides[side].model });
}

function changed() {
  show();
  clearTimeout(timer);
  if (byId("auto", HTMLInputElement).checked) timer = setTimeout(run, 150);
}

/** Show the state in the controls. */
function show() {
  const model = models[0];
  if (!model) return;
  request.show(model, fields);
  for (const side of SIDES) panels[side].show(state.sides[side], models);
  panels.B.element.hidden = !state.compare;
  byId("compare", HTMLInputElement).checked = state.compare;
  document.body.dataset.sides = state.compare ? "2" : "1";
}

/** @returns {[Side, RerankRequest][]} The requests of the sides that are on. */
function requests() {
  const base = request.current();
  if (!base) return [];
  return SIDES.filter((side) => side === "A" || state.compare).map((side) => [side, buildRequest(base, state.sides[side])]);
}

async function run() {
  clearTimeout(timer);
  running.abort();
  const { signal } = (running = new AbortController());
  const lists = byId("lists", HTMLDivElement);
  const asked = requests();
  if (!asked.length) return;
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
  showOutcomes();
  lists.setAttribute("aria-busy", "false");
  lists.dataset.runs = String(Number(lists.dataset.runs ?? 0) + 1);
  byId("announcer", HTMLParagraphElement).textContent = announcement();
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
    return model ? { request: body, model, answer } : `Version ${answer.version} of ${answer.model} is no longer live.`;
  } catch (error) {
    if (signal.aborted) return "";
    if (error instanceof Problem && error.needsKey) askForKey("This key is not one of the service's.");
    return showError(error, (path) => panels[side].control(path) ?? request.control(path));
  }
}

/** @returns {[Side, Result][]} */
function results() {
  return SIDES.flatMap((side) => {
    const outcome = outcomes.get(side);
    return outcome && typeof outcome !== "string" ? [/** @type {[Side, Result]} */ ([side, outcome])] : [];
  });
}

function showOutcomes() {
  const answered = results();
  const sums = answered.flatMap(([, { answer }]) => answer.items.map(({ explanation: e }) => (e ? e.parts.click + e.parts.conversion + e.parts.gmv + e.penalty : 0)));
  const scales = { largest: Math.max(1e-9, ...sums), budget };
  const other = (/** @type {Side} */ side) => answered.find(([name]) => name !== side)?.[1] ?? null;
  const views = [...outcomes].map(([side, outcome]) =>
    typeof outcome === "string" ? failedSide(side, outcome) : sideView(side, outcome, other(side), scales),
  );
  byId("lists", HTMLDivElement).replaceChildren(...views);
  showOverview(answered);
  showLegend(answered);
}

function announcement() {
  const told = [...outcomes].map(([side, outcome]) => {
    if (typeof outcome === "string") return `${side}: no list. ${outcome}`;
    const { items, value, degraded } = outcome.answer;
    const worth = degraded ? `degraded, ${degraded.reason}` : `expected clicks ${fixed(value.click, 3)}, revenue ${fixed(value.gmv, 2)}`;
    return `${side}: ${items.length} items, ${worth}.`;
  });
  const [a, b] = results();
  if (a && b) told.push(`${differences(a[1].answer, b[1].answer)} places differ.`);
  return `New lists. ${told.join(" ")}`;
}

/** @param {string} note */
function askForKey(note) {
  byId("key-form", HTMLFormElement).hidden = false;
  byId("key-note", HTMLParagraphElement).textContent = note;
  byId("key", HTMLInputElement).focus();
}

/** Read what is live, then the link, then run. */
async function load() {
  const fault = byId("page-error", HTMLParagraphElement);
  fault.hidden = true;
  try {
    [models, budget] = await Promise.all([liveModels(), budgetMs()]);
    byId("key-form", HTMLFormElement).hidden = true;
    byId("forget-key", HTMLButtonElement).hidden = storedKey() === null;
    const model = modelOf(models, state.sides.A);
    if (!model) throw new Error("No model is live yet.");
    fields = await modelFields(model);
    show();
    await run();
  } catch (error) {
    if (error instanceof Problem && error.needsKey) return askForKey(storedKey() === null ? "This service has API keys. The key stays in this tab, until you close it; no link holds it." : "This key is not one of the service's.");
    fault.hidden = false;
    fault.textContent = error instanceof Error ? error.message : String(error);
  }
}

async function start() {
  setUpTheme();
  setUpMeasure(showOutcomes);
  setUpActions(() => state, requests);
  byId("settings", HTMLDivElement).append(panels.A.element, panels.B.element);
  foldSettings();
  byId("run", HTMLButtonElement).addEventListener("click", run);
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
  window.addEventListener("resize", () => showOverview(results()));
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
