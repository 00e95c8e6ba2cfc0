/**
 * The shapes that the service sends and takes, as far as the pages use them, and the state of the playground.
 *
 * @typedef {"click" | "conversion" | "gmv"} Objective
 * @typedef {{click: number, conversion: number, gmv: number}} ObjectiveValues
 * @typedef {{name: string, score: string}} Queue
 *
 * @typedef {object} Model One live model, from `/v1/models`.
 * @property {string} name
 * @property {string} version
 * @property {string} family
 * @property {string} provider
 * @property {boolean} default
 * @property {boolean} current
 * @property {number} list_length
 * @property {number} max_queues
 * @property {number} max_candidates
 * @property {Queue[]} queues
 * @property {string} partition
 * @property {ObjectiveValues} objectives
 * @property {boolean} fixed_objectives
 * @property {string[]} valued
 * @property {ObjectiveValues} units
 * @property {{lambda: number, window: number}} diversity
 * @property {string} fallback
 * @property {{outcome: string, sentence: string}} verdict
 *
 * @typedef {string | number | boolean | null} FieldValue
 * @typedef {Record<string, FieldValue>} FieldValues
 *
 * @typedef {object} Candidate
 * @property {string} id
 * @property {Record<string, number>} scores
 * @property {number | null} [price]
 * @property {FieldValues} [features]
 * @property {number[] | null} [embedding]
 * @property {FieldValues} [tags]
 *
 * @typedef {{id: string, position: number}} Pin
 * @typedef {{by: string, limit: number, window?: number | null}} Cap
 * @typedef {{by: string, value: FieldValue, least: number, within: number}} Floor
 * @typedef {{where: FieldValues, factor: number}} Boost
 * @typedef {{pinned?: Pin[], blocked?: string[], caps?: Cap[], floors?: Floor[], boosts?: Boost[]}} ListRules
 * @typedef {keyof ListRules} RuleKind
 *
 * @typedef {object} Scene Settings under a name, from `/v1/scenes`.
 * @property {string} name
 * @property {string} [model]
 * @property {string} [version]
 * @property {Partial<ObjectiveValues>} [objectives]
 * @property {{lambda?: number, window?: number}} [diversity]
 * @property {Queue[]} [queues]
 * @property {string} [partition]
 * @property {ListRules} [rules]
 * @property {number} [top_n]
 * @property {number} [timeout_ms]
 *
 * @typedef {object} RerankRequest
 * @property {Candidate[]} candidates
 * @property {string} [request_id]
 * @property {string} [model]
 * @property {string} [version]
 * @property {FieldValues} [user]
 * @property {FieldValues} [context]
 * @property {number} [top_n]
 * @property {Partial<ObjectiveValues>} [objectives]
 * @property {{lambda?: number, window?: number}} [diversity]
 * @property {Queue[]} [queues]
 * @property {string} [partition]
 * @property {number} [timeout_ms]
 * @property {boolean} [explain]
 * @property {string} [scene]
 * @property {ListRules} [rules]
 *
 * @typedef {object} Explanation
 * @property {string} queue
 * @property {ObjectiveValues} parts
 * @property {number} penalty
 * @property {number} score
 * @property {string | null} runner_up
 * @property {number} [boost]
 * @property {{queue: string, id: string, rule: string}[]} [passed_over]
 *
 * @typedef {object} Item
 * @property {string} id
 * @property {number} index
 * @property {number} position
 * @property {string} source
 * @property {Explanation} [explanation]
 * @property {boolean} [pinned]
 *
 * @typedef {Record<"decode" | "deal" | "encode" | "wait" | "infer" | "total", number> & {live?: number}} Timings
 *
 * @typedef {object} Answer
 * @property {string} request_id
 * @property {string} model
 * @property {string} version
 * @property {Item[]} items
 * @property {ObjectiveValues} value
 * @property {{reason: string, level: string} | null} degraded
 * @property {Timings} timings_ms
 * @property {FieldWarning[]} [warnings]
 * @property {string[]} [relaxed] Names of rules that could not be kept.
 *
 * @typedef {{field: string, problem: string, detail: string}} FieldWarning
 *
 * @typedef {{field: string, problem: string}} FieldError
 *
 * @typedef {object} ProblemDocument An RFC 9457 document.
 * @property {string} type
 * @property {string} title
 * @property {number} status
 * @property {string} detail
 * @property {FieldError[]} [errors]
 *
 * @typedef {object} Field One feature of a model, as the generator needs it.
 * @property {string} name
 * @property {string} kind `category`, `number` or `hashed`; of a score `probability` or `number`.
 * @property {string[]} values Values of a category; may be a sample.
 * @property {number} usual A usual value of a number.
 *
 * @typedef {object} ModelFields
 * @property {Field[]} user
 * @property {Field[]} context
 * @property {Field[]} item
 * @property {Field[]} scores
 * @property {number | null} width Numbers of an embedding; null: any.
 * @property {RerankRequest} example A request that the model can answer.
 *
 * @typedef {"A" | "B"} Side
 *
 * @typedef {object} Settings What one side asks for; null leaves it to the bundle.
 * @property {string | null} model `name@version`; null: the scene's, or the default model.
 * @property {string | null} scene
 * @property {number | null} click
 * @property {number | null} conversion
 * @property {number | null} gmv
 * @property {number | null} lambda
 * @property {number | null} window
 * @property {number | null} topN
 * @property {string | null} partition
 * @property {Queue[] | null} queues
 * @property {ListRules | null} rules
 *
 * @typedef {object} State All that a link reproduces.
 * @property {number} count Candidates of a generated request.
 * @property {number} seed
 * @property {string | null} text A pasted or edited request; null: the generated one.
 * @property {boolean} compare
 * @property {Record<Side, Settings>} sides
 *
 * @typedef {object} Result One side's answer, with what was asked.
 * @property {RerankRequest} request
 * @property {Model} model With the defaults of the scene, if there is one.
 * @property {ListRules} rules The scene's and the request's.
 * @property {Answer} answer
 */

export {};
