// What the generated types must accept and must refuse; only compiled, never run.
import type { components, operations } from "./listwright.js";

type Schemas = components["schemas"];

export const smallest: Schemas["RerankRequest"] = {
  candidates: [{ id: "a", scores: { ctr: 0.1 } }],
};

export const nulls: Schemas["RerankRequest"] = {
  candidates: [{ id: "a", scores: { ctr: 0.1, cvr: null }, price: null, features: null, embedding: null, tags: null }],
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
  scene: null,
  rules: { pinned: null, blocked: null, caps: null, floors: null, boosts: null },
  shown: null,
  shown_items: null,
};

export const columns: Schemas["RerankRequest"] = {
  candidates: {
    id: ["a", "b"],
    scores: { ctr: [0.1, null], cvr: "AAAAAAAAAAA=", other: null },
    price: [1, null],
    features: { brand: ["x", null], stars: "AAAAAAAAAAA=" },
    embedding: [[0.1, 0.2], null],
    tags: { sponsored: [true, false] },
  },
};

// @ts-expect-error: scores are required in columns too.
export const scorelessColumns: Schemas["CandidateColumns"] = { id: ["a"] };

// @ts-expect-error: a column has more than one value.
export const single: Schemas["CandidateColumns"] = { id: ["a"], scores: { ctr: 0.1 } };

export const ruled: Schemas["RerankRequest"] = {
  candidates: [{ id: "ad", scores: { ctr: 0.1 }, tags: { brand: "b1", sponsored: true } }],
  scene: "home-feed",
  rules: {
    pinned: [{ id: "ad", position: 1 }],
    blocked: ["x"],
    caps: [{ by: "brand", limit: 2, window: 5 }, { by: "brand", limit: 4, window: null }],
    floors: [{ by: "source", value: "new", least: 1, within: 3 }],
    boosts: [{ where: { source: "new", sponsored: true }, factor: 1.2 }],
  },
  shown: ["y"],
  shown_items: [{ id: "y", tags: { brand: null }, features: null, embedding: [0.1, 0.2] }],
};

// @ts-expect-error: a cap has a limit.
export const unlimited: Schemas["CapRule"] = { by: "brand" };

// @ts-expect-error: the value of a floor is never missing.
export const valueless: Schemas["FloorRule"] = { by: "source", value: null, least: 1, within: 3 };

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

export function rules(answer: Schemas["RerankResponse"]): string[] {
  const first = answer.items[0];
  const pinned: boolean | undefined = first?.pinned;
  // @ts-expect-error: nothing may have been passed over.
  first?.explanation?.passed_over.length;
  const barred = first?.explanation?.passed_over?.map(({ queue, id, rule }) => `${queue} ${id} ${rule}`);
  const boost: number = first?.explanation?.boost ?? 1;
  return [String(pinned), boost.toFixed(1), ...(barred ?? []), ...(answer.relaxed ?? [])];
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
