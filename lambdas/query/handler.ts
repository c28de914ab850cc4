/**
 * The query function: reads collections through cached views (lib/engine/read/reader.ts), or asks the query groups and merges
 * their answers (lib/engine/read/fan-out.ts). It changes nothing.
 */
import { extname, join } from "node:path";
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { shareDescriptors } from "../../lib/aws/descriptors.ts";
import { embeddingWorld } from "../../lib/aws/embedding-world.ts";
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { FunctionCaller } from "../../lib/aws/function-caller.ts";
import { lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { clearScratch } from "../../lib/aws/scratch.ts";
import { errorFacts, telemetry } from "../../lib/aws/telemetry.ts";
import type { LedBy } from "../../lib/core/model/alias.ts";
import { SiltstoneError, unreachable } from "../../lib/core/model/errors.ts";
import {
  answerMarginMs,
  embedMarginMs,
  fanOutMarginMs,
  readMarginMs,
  requestBounds,
} from "../../lib/core/policy/time-bounds.ts";
import { type EmbeddingCost, embedQuery } from "../../lib/embedding/collection-embedder.ts";
import { queryEmbedders } from "../../lib/embedding/profile-embedders.ts";
import { parseProviders } from "../../lib/embedding/provider-access.ts";
import { FanOut } from "../../lib/engine/read/fan-out.ts";
import type { Provenance } from "../../lib/engine/read/read-request.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { type Routing, ThroughAlias } from "../../lib/engine/read/through-alias.ts";
import { parseQueryEvent, type QueryEvent, queryBytesMax } from "./event.ts";

clearScratch(process.env);
const environment = parseEnvironment(process.env);
const { stage, groupFunctions } = environment;
const service = telemetry({ ...environment, service: "query" });
const { sockets, files } = shareDescriptors();
const world = awsWorld(environment, { ...requestBounds.query, sockets });
const isFront = groupFunctions.length > 0;
const reads = new ThroughAlias(isFront ? fanOut() : reader(), world);
const providers = parseProviders(process.env, stage);
const profiles = queryEmbedders({
  ...embeddingWorld(providers, environment.table),
  onFirstUse: (profile) => service.log("info", "embedding profile", { ...profile }),
});
/** Collections that this process has answered from: the first answer of each is the cold one. */
const warm = new Set<string>();

export const handler = lambdaHandler(
  { telemetry: service, failureMetric: "QueryErrors", bodyBytesMax: queryBytesMax },
  async (event, context) => {
    const asked = parseQueryEvent(event);
    const leftMs = context.getRemainingTimeInMillis();
    const waitMs = leftMs - (isFront ? answerMarginMs : readMarginMs);
    const answer = await world.clock.atMost(waitMs, answerOf(asked, leftMs - fanOutMarginMs));
    if (answer === null) throw silent(waitMs);
    report(asked, answer.value as Provenance & { readonly alias?: LedBy });
    return answer.value;
  },
);

function reader(): Reader {
  const { refreshSeconds, cacheBytesMax } = environment;
  return new Reader(world, {
    refreshSeconds,
    cacheBytesMax,
    descriptorsMax: files,
    traffic: world.traffic,
    threadScript: join(import.meta.dirname, `segment-thread${extname(import.meta.filename)}`),
    onFault: (fault) => service.log("warn", "fallback", { kind: fault.kind, ...errorFacts(fault) }),
  });
}

function fanOut(): FanOut {
  const caller = new FunctionCaller();
  return new FanOut({
    store: world.store,
    groups: groupFunctions.length,
    ask: (group, event, waitMs) => caller.call(groupFunctions[group]!, event, { writes: false, waitMs }),
  });
}

/** The call is given up and the process lives on: what it waits for, the next calls find. */
const silent = (waitMs: number): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `no answer within ${waitMs} ms: S3 is slow or silent, or more has to be fetched than fits into one call; repeat it`,
  );

async function answerOf({ op, call }: QueryEvent, remainingMs: number): Promise<object> {
  switch (op) {
    case "query":
      return queried(call, remainingMs);
    case "get":
      return reads.get(call, remainingMs);
    case "count":
      return reads.count(call, remainingMs);
    case "stats":
      return reads.stats(call, remainingMs);
    case "health":
      return { stage, ...(await reads.health(call, remainingMs)) };
    case "ping":
      return { pong: true };
    default:
      return unreachable(op);
  }
}

async function queried(
  call: Extract<QueryEvent, { op: "query" }>["call"],
  remainingMs: number,
): Promise<object> {
  let embedding: EmbeddingCost | undefined;
  const onCost = ({ milliseconds, tokens }: EmbeddingCost): void => {
    embedding = {
      milliseconds: (embedding?.milliseconds ?? 0) + milliseconds,
      // 0 is a vector that was kept, null a provider that does not count.
      tokens: embedding?.tokens == null ? tokens : embedding.tokens + (tokens ?? 0),
    };
  };
  // It gives up before the handler does, so that the caller is told of the provider and not of S3.
  const waitMs = Math.min(remainingMs - embedMarginMs, call.deadlineMs ?? Number.POSITIVE_INFINITY);
  const options = { profiles, waitMs, onCost };
  const { queries, ...rest } = call;
  // Of what was asked, not of what a text becomes: each side may embed it otherwise.
  const routing: Routing = { routingKey: call.routingKey ?? (() => keyOf(queries ?? [call])) };
  const answer =
    queries === undefined
      ? await reads.query({ ...embedQuery(rest, options), ...routing }, remainingMs)
      : await reads.queries(
          { ...rest, ...routing, queries: queries.map((one) => embedQuery(one, options)) },
          remainingMs,
        );
  return embedding === undefined ? answer : { ...answer, embedding };
}

const keyOf = (
  questions: readonly {
    readonly text?: unknown;
    readonly vector?: unknown;
    readonly id?: unknown;
    readonly filter?: unknown;
  }[],
): string => JSON.stringify(questions.map(({ text, vector, id, filter }) => [text, vector, id, filter]));

/** A call is counted once: where it was asked, not in each group; loading segments, where that is done. */
function report(asked: QueryEvent, answer: Provenance & { readonly alias?: LedBy }): void {
  if (asked.op === "health" || asked.op === "ping") return;
  const { op, call } = asked;
  const collection = answer.alias?.collection ?? call.collection;
  const isCold = !isFront && !warm.has(collection);
  warm.add(collection);
  if (isCold) service.emit(collection, { ColdLoadDuration: answer.milliseconds });
  if (call.part !== undefined) return;
  service.emit(collection, {
    ...(op === "query" ? { QueryLatency: answer.milliseconds } : {}),
    ...(!isFront ? {} : { PartialAnswers: answer.partial === undefined ? 0 : 1 }),
    SnapshotAge: Math.max(...answer.shards.map(({ ageSeconds }) => ageSeconds)),
    SnapshotFallback: answer.warning === undefined ? 0 : 1,
  });
}
