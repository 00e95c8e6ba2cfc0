// What the generated types must accept and must refuse; only compiled, never run.
import type { components, operations } from "./listwright.js";

type Schemas = components["schemas"];

export const smallest: Schemas["RerankRequest"] = {
  candidates: [{ id: "a", scores: { ctr: 0.1 } }],
};

export const nulls: Schemas["RerankRequest"] = {
  candidates: [{ id: "a", scores: { ctr: 0.1, cvr: null }, price: null, features: null, embedding: null }],
  request_id: null,
  user: null,
  context: { device: null },
  top_n: null,
  objectives: { click: null },
  diversity: { lambda: null, window: 4 },
  queues: null,
  partition: null,
  timeout_ms: null,
  explain: null,
};

// @ts-expect-error: a request has candidates.
export const empty: Schemas["RerankRequest"] = {};

// @ts-expect-error: an id is text.
export const number: Schemas["Candidate"] = { id: 7, scores: {} };

// @ts-expect-error: scores are required.
export const scoreless: Schemas["Candidate"] = { id: "a" };

// @ts-expect-error: what is left out is not said to be undefined.
export const unsaid: Schemas["Candidate"] = { id: "a", scores: {}, price: undefined };

// @ts-expect-error: there are two ways of dealing.
export const dealt: Schemas["RerankRequest"] = { candidates: [], partition: "random" };

export function read(answer: Schemas["RerankResponse"]): string {
  const first = answer.items[0];
  // @ts-expect-error: an explanation may be missing.
  first?.explanation.queue;
  const second: string | null | undefined = first?.explanation?.runner_up;
  return answer.degraded?.reason ?? second ?? answer.timings_ms.total.toFixed(3);
}

export const shelves: Schemas["BatchRequest"] = { requests: [smallest, nulls] };

export function outcomes(batch: Schemas["BatchResponse"]): string[] {
  // @ts-expect-error: a request that was refused has no list.
  batch.results[0]?.response.items;
  return batch.results.map(({ status, response, problem }) => `${status} ${response?.version ?? problem?.detail ?? ""}`);
}

export function retries(problem: Schemas["Problem"]): boolean {
  // @ts-expect-error: no problem has this type.
  if (problem.type === "urn:listwright:problem:tired") return false;
  return problem.type === "urn:listwright:problem:shed" || problem.type === "urn:listwright:problem:overloaded";
}

export type Retry = NonNullable<operations["rerank"]["responses"][503]["headers"]["retry-after"]>;
export const seconds: Retry = 1;
