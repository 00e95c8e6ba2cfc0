/** Talk to the service that served this page, and to nothing else. */

import { storedKey } from "./key.js";

/** @import {Answer, Field, Model, ModelFields, ProblemDocument, RerankRequest} from "./types.js" */

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
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new Problem(body ?? { type: "", title: response.statusText, status: response.status, detail: "" });
}

/** @returns {Promise<Model[]>} The live models, the default one first. */
export async function liveModels() {
  /** @type {{models: Model[]}} */
  const { models } = await ask("/v1/models");
  return [...models].sort((a, b) => Number(b.default) - Number(a.default) || Number(b.current) - Number(a.current));
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
 * Read the features of a model. A service that does not tell them has none here.
 * @param {Model} model
 * @returns {Promise<ModelFields>}
 */
export async function modelFields(model) {
  try {
    const told = await ask(`/v1/models/${encodeURIComponent(model.name)}?version=${encodeURIComponent(model.version)}`);
    const groups = told.fields ?? {};
    return { user: (groups.user ?? []).map(readField), context: (groups.context ?? []).map(readField), item: (groups.item ?? []).map(readField) };
  } catch (error) {
    if (error instanceof Problem && error.document.status === 404) return { user: [], context: [], item: [] };
    throw error;
  }
}

/**
 * @param {any} told
 * @returns {Field}
 */
function readField(told) {
  return { name: told.name, kind: told.kind, values: told.vocabulary ?? [], usual: Number(told.default ?? 0) };
}
