/**
 * Reading collections whose shards several query functions share: query group g of n answers for the shards s with
 * s mod n = g, so that its memory bounds a group and not the collection.
 *
 * 1. The collection's configuration says which shards there are; only groups that have any are asked.
 * 2. Each is asked the same question for its part, all at once. A query by `id` asks the group that has the record
 *    first, which answers with the vector too; the others are asked by that vector.
 * 3. The answers are merged (merge-answers.ts) into what one function would have answered.
 *
 * What is wrong with the call is thrown as a group said it. A group that fails, or is silent when the time is over,
 * fails the call; with `allowPartial` the answer is what the others have, and says which shards it lacks.
 */
import { type Collection, checkCollectionName } from "../../core/model/collection.ts";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import { vectorToBase64 } from "../../core/model/vector.ts";
import type { ObjectStore } from "../ports.ts";
import { failureOf, missingOf } from "./group-failures.ts";
import { type Health, mergeHealth } from "./health.ts";
import { KnownCollections } from "./known-collections.ts";
import { mergeCounts, mergeProvenance, mergeRecords, mergeResults, mergeStats } from "./merge-answers.ts";
import type {
  CountAnswer,
  CountRequest,
  GetAnswer,
  GetRequest,
  Operations,
  QueriesAnswer,
  QueryAnswer,
  QuestionAnswer,
  StatsAnswer,
  StatsRequest,
  Waiting,
} from "./operations.ts";
import { type AskGroup, type Asking, type Outcome, QueryGroups } from "./query-groups.ts";
import {
  checkConsistency,
  checkQueries,
  checkTopK,
  type Freshness,
  nothingPublished,
  type Provenance,
  type QueriesRequest,
  type QueryRequest,
  type Question,
  tokensByShard,
  vectorIn,
} from "./read-request.ts";
import { checkIds } from "./view.ts";

export interface FanOutOptions {
  readonly store: ObjectStore;
  readonly groups: number;
  readonly ask: AskGroup;
}

export class FanOut implements Operations {
  readonly #groups: QueryGroups;
  readonly #collections: KnownCollections;

  constructor({ store, groups, ask }: FanOutOptions) {
    this.#groups = new QueryGroups(groups, ask);
    this.#collections = new KnownCollections(store);
  }

  async query(call: QueryRequest & Waiting, remainingMs: number): Promise<QueryAnswer> {
    const topK = checkTopK(call.topK);
    return this.#read<QueryAnswer, ReturnType<typeof mergeResults>>(call, remainingMs, {
      ask: async (collection, ask) => {
        const all = this.#groups.of(collection);
        const { id, vector } = call;
        const question = questionOf(call);
        // What depends on the collection is worked out once, and not by each group.
        if (typeof vector === "function")
          question.vector = vectorToBase64((await vectorIn(collection, call))!);
        // With two of them the group says what is wrong.
        if (id === undefined || vector !== undefined) return ask(all, () => ({ op: "query", ...question }));
        const owner = this.#groups.ofId(collection, id);
        const [first] = await ask<QueryAnswer>([owner], () => ({ op: "query", ...question }));
        if (first!.kind === "failed") throw failureOf(collection, [first!]);
        const { id: _, ...rest } = question;
        const others = all.filter((group) => group !== owner);
        const byVector = { op: "query", ...rest, vector: first!.answer.queryVector };
        return [first!, ...(await ask<QueryAnswer>(others, () => byVector))];
      },
      merge: (answers) => mergeResults(answers, topK),
    });
  }

  /** As one by one, in one call of each group: over one snapshot of each; questions by id need a call before it, for their vectors. */
  async queries(call: QueriesRequest & Waiting, remainingMs: number): Promise<QueriesAnswer> {
    const queries = checkQueries(call.queries);
    const topKs = queries.map(({ topK }) => checkTopK(topK));
    return this.#read<QueriesAnswer, { answers: QuestionAnswer[] }>(call, remainingMs, {
      ask: async (collection, ask) => {
        const given = await Promise.all(queries.map((question) => this.#inFull(collection, question)));
        const resolved = await this.#byVectors(collection, { ...call, queries: given }, ask);
        const event = { op: "query", ...questionOf(call), queries: resolved };
        return ask(this.#groups.of(collection), () => event);
      },
      merge: (answers) => ({
        answers: topKs.map((topK, i) =>
          mergeResults(
            answers.map((answer) => answer.answers[i]!),
            topK,
          ),
        ),
      }),
    });
  }

  /** What depends on the collection is worked out once, and not by each group. */
  async #inFull(collection: Collection, question: Question): Promise<Question> {
    if (typeof question.vector !== "function") return question;
    return { ...question, vector: vectorToBase64((await vectorIn(collection, question))!) };
  }

  /** Queries by id become queries by the vectors that the groups have of them. */
  async #byVectors(collection: Collection, call: QueriesRequest & Waiting, ask: Asking): Promise<Question[]> {
    const resolved = [...call.queries];
    const byId = [...resolved.entries()].filter(
      ([, { id, vector }]) => id !== undefined && vector === undefined,
    );
    const byGroup = Map.groupBy(byId, ([, { id }]) => this.#groups.ofId(collection, id!));
    const outcomes = await ask<QueriesAnswer>([...byGroup.keys()], (group) => ({
      op: "query",
      ...questionOf(call),
      queries: byGroup.get(group)!.map(([, { id }]) => ({ id, topK: 0 })),
    }));
    for (const [i, asked] of [...byGroup.values()].entries()) {
      const outcome = outcomes[i]!;
      if (outcome.kind === "failed") throw failureOf(collection, [outcome]);
      for (const [n, [place, { id: _, ...question }]] of asked.entries())
        resolved[place] = { ...question, vector: outcome.answer.answers[n]!.queryVector };
    }
    return resolved;
  }

  /** Asks the groups that have the ids, and no others. */
  async get(call: GetRequest & Waiting, remainingMs: number): Promise<GetAnswer> {
    const ids = checkIds("ids", call.ids);
    return this.#read<GetAnswer, ReturnType<typeof mergeRecords>>(call, remainingMs, {
      ask: async (collection, ask) => {
        const byGroup = Map.groupBy(ids, (id) => this.#groups.ofId(collection, id));
        const eventOf = (group: number) => ({
          op: "get",
          ...questionOf(call),
          ids: byGroup.get(group) ?? [],
        });
        const owners = await ask<GetAnswer>([...byGroup.keys()], eventOf);
        // Shards without a version have none of the ids; whether the collection has a snapshot, the others know.
        if (!owners.every((one) => one.kind === "answered" && one.answer.snapshotVersion === 0))
          return owners;
        const others = this.#groups.of(collection).filter((group) => !byGroup.has(group));
        return [...owners, ...(await ask<GetAnswer>(others, eventOf))];
      },
      merge: (answers) => mergeRecords(answers, ids),
    });
  }

  async count(call: CountRequest & Waiting, remainingMs: number): Promise<CountAnswer> {
    return this.#read<CountAnswer, ReturnType<typeof mergeCounts>>(call, remainingMs, {
      ask: (collection, ask) =>
        ask(this.#groups.of(collection), () => ({ op: "count", ...questionOf(call) })),
      merge: mergeCounts,
    });
  }

  async stats(call: StatsRequest & Waiting, remainingMs: number): Promise<StatsAnswer> {
    return this.#read<StatsAnswer, ReturnType<typeof mergeStats>>(call, remainingMs, {
      ask: (collection, ask) =>
        ask(this.#groups.of(collection), () => ({ op: "stats", ...questionOf(call) })),
      merge: mergeStats,
    });
  }

  /** Of all groups; one that does not answer is an error. */
  async health({ collection }: { collection?: string | undefined }, remainingMs: number): Promise<Health> {
    const event = {
      op: "health",
      ...(collection === undefined ? {} : { collection: checkCollectionName(collection) }),
    };
    const answers = this.#groups.all.map((group) =>
      this.#groups.ask(group, event, Math.max(0, remainingMs)).catch((error: Error) => {
        throw new SiltstoneError("unavailable", `query group ${group}: ${error.message}`, { cause: error });
      }),
    );
    return mergeHealth((await Promise.all(answers)) as Health[]);
  }

  async #read<A extends Provenance, T extends object>(
    call: Freshness & Waiting & { collection: string },
    remainingMs: number,
    how: {
      ask: (collection: Collection, ask: Asking) => Promise<readonly Outcome<A>[]>;
      merge: (answers: readonly A[]) => T;
    },
  ): Promise<T & Provenance> {
    const startedMs = performance.now();
    if (call.part !== undefined) throw invalid("part: this function asks the query groups for their parts");
    const limitMs = startedMs + Math.min(checkDeadline(call.deadlineMs), remainingMs);
    const consistency = checkConsistency(call);
    const { collection, promised, outcomes } = await this.#collections.ofCurrent(
      call,
      async (collection) => ({
        collection,
        promised: consistency === "strong" || tokensByShard(collection, call.atLeast ?? []).size > 0,
        outcomes: await how.ask(collection, (groups, eventOf) =>
          this.#groups.askAll(collection, groups, eventOf, limitMs),
        ),
      }),
    );
    const answers = outcomes.flatMap((one) => (one.kind === "answered" ? [one.answer] : []));
    const failed = outcomes.filter((one) => one.kind === "failed");
    const isEmpty = !promised && answers.every(({ snapshotVersion }) => snapshotVersion === 0);
    if (failed.length > 0 && (!call.allowPartial || answers.length === 0 || isEmpty))
      throw failureOf(collection, failed);
    if (isEmpty) {
      const warning = answers.find((answer) => answer.warning !== undefined)?.warning;
      if (warning !== undefined) throw new SiltstoneError("unavailable", warning);
      throw nothingPublished(collection.name);
    }
    return {
      ...how.merge(answers),
      ...mergeProvenance(answers),
      milliseconds: Math.round((performance.now() - startedMs) * 1000) / 1000,
      ...(failed.length > 0 ? { partial: missingOf(failed) } : {}),
    };
  }
}

/** What the groups are asked of a call. */
function questionOf<Request extends object>(call: Request & Waiting): Writable<Request> {
  const { deadlineMs: _, allowPartial: __, ...question } = call;
  return question as unknown as Writable<Request>;
}
type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

function checkDeadline(deadlineMs: number | undefined): number {
  if (deadlineMs === undefined) return Number.POSITIVE_INFINITY;
  if (!(deadlineMs > 0))
    throw invalid(`deadlineMs: must be a number of milliseconds above 0, got ${deadlineMs}`);
  return deadlineMs;
}
