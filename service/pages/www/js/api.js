/** Talk to the service that served this page, and to nothing else. */

import { storedKey } from "./key.js";

/** @import {Answer, Field, Model, ModelFields, ProblemDocument, RerankRequest, Scene} from "./types.js" */

/** An answer that is no success. */
export class Problem extends Error {
  /** @param {ProblemDocument} document */
  constructor(document) {
    super(document.detail || document.title);
    this.document = document;
    this.fields = document.errors ?? [];
  }

  /** @returns {boolean} Whether a key is missing or wrong. */
  get needsKey() {
    return this.document.status === 401;
  }
}

/**
 * Ask the service. Throws `Problem`.
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const key = storedKey();
  if (key !== null) headers.set("authorization", `Bearer ${key}`);
  const response = await fetch(path, { ...options, headers, cache: "no-store" }).catch(explain);
  if (response.ok) return response.json().catch(explain);
  const { status } = response;
  const body = await response.json().catch(() => null);
  throw new Problem(body ?? { type: "", title: `HTTP status ${status}`, status, detail: "" });
}

/**
 * Say what browsers name in different words: no connection, or one that broke.
 * @param {unknown} error
 * @returns {never}
 */
function explain(error) {
  throw error instanceof TypeError ? new Error("The service does not answer.") : error;
}

/** @returns {Promise<Model[]>} The live models, the default one first. */
export async function liveModels() {
  /** @type {{models: Model[]}} */
  const { models } = await ask("/v1/models");
  return [...models].sort((a, b) => Number(b.default) - Number(a.default) || Number(b.current) - Number(a.current));
}

/** @returns {Promise<Scene[]>} The live scenes. */
export async function liveScenes() {
  return (await ask("/v1/scenes")).scenes;
}

/** @returns {Promise<number>} The latency budget in milliseconds. */
export async function budgetMs() {
  return (await ask("/v1/slo")).budget_seconds * 1000;
}

/**
 * Send one request. Throws `Problem`, or the abort of `signal`.
 * @param {RerankRequest} request
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>}
 */
export function rerank(request, signal) {
  const headers = { "content-type": "application/json" };
  return ask("/v1/rerank", { method: "POST", headers, body: JSON.stringify(request), signal });
}

/**
 * Read what a request for a model is made of: its fields, what it reads of a candidate, an example.
 * @param {Model} model
 * @returns {Promise<ModelFields>}
 */
export async function modelFields(model) {
  const path = `/v1/models/${encodeURIComponent(model.name)}?version=${encodeURIComponent(model.version)}`;
  const { fields, scores, embedding, example } = await ask(path);
  const group = (/** @type {string} */ name) =>
    fields.filter((/** @type {any} */ field) => field.group === name).map(readField);
  return {
    user: group("user"),
    context: group("context"),
    item: group("item"),
    scores: scores.map(readScore),
    width: embedding.width,
    example,
  };
}

/**
 * @param {any} told
 * @returns {Field}
 */
function readField(told) {
  return { name: told.name, kind: told.kind, values: told.vocabulary_sample ?? [], usual: told.number?.default ?? 0 };
}

/**
 * @param {any} told
 * @returns {Field}
 */
function readScore(told) {
  const probability = told.number === null || told.number.transform === "logit";
  return {
    name: told.name,
    kind: probability ? "probability" : "number",
    values: [],
    usual: told.number?.default ?? 0,
  };
}
