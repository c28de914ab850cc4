/**
 * The query function: reads collections through cached views (lib/engine/reader.ts), or asks the query groups and merges
 * their answers (lib/engine/fan-out.ts). It changes nothing.
 */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { FunctionCaller } from "../../lib/aws/function-caller.ts";
import { lambdaDoor } from "../../lib/aws/lambda-door.ts";
import { clearScratch } from "../../lib/aws/scratch.ts";
import { telemetry } from "../../lib/aws/telemetry.ts";
import { metric } from "../../lib/contract.ts";
import { unreachable } from "../../lib/core/errors.ts";
import { FanOut } from "../../lib/engine/fan-out.ts";
import type { Provenance } from "../../lib/engine/read-request.ts";
import { Reader } from "../../lib/engine/reader.ts";
import { parseQueryEvent, type QueryEvent } from "./event.ts";

/** What is left of the function's time when it stops waiting for its groups: enough to say which failed. */
const marginMs = 1_000;

clearScratch();
const environment = parseEnvironment(process.env);
const { stage, groupFunctions } = environment;
const service = telemetry({ stage, service: "query" });
const world = awsWorld(environment);
const reads = groupFunctions.length > 0 ? fanOut() : reader();
/** Collections that this process has answered from: the first answer of each is the cold one. */
const warm = new Set<string>();

export const handler = lambdaDoor(
  { telemetry: service, failureMetric: metric.queryErrors },
  async (event, context) => {
    const asked = parseQueryEvent(event);
    const answer = await answerOf(asked, context.getRemainingTimeInMillis() - marginMs);
    report(asked, answer as Provenance);
    return answer;
  },
);

function reader(): Reader {
  const { refreshSeconds, cacheBytesMax } = environment;
  return new Reader(world, {
    refreshSeconds,
    cacheBytesMax,
    traffic: world.traffic,
    onFault: ({ kind, message }) => service.logger.warn("fallback", { kind, fault: message }),
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

async function answerOf({ op, call }: QueryEvent, remainingMs: number): Promise<object> {
  switch (op) {
    case "query":
      return reads.query(call, remainingMs);
    case "get":
      return reads.get(call, remainingMs);
    case "count":
      return reads.count(call, remainingMs);
    case "stats":
      return reads.stats(call, remainingMs);
    case "health":
      return { stage, ...(await reads.health(remainingMs)) };
    case "ping":
      return { pong: true };
    default:
      return unreachable(op);
  }
}

/** A call is counted once: where it was asked, not in each group; loading segments, where that is done. */
function report({ op, call }: QueryEvent, answer: Provenance): void {
  if (!("collection" in call)) return;
  const isCold = groupFunctions.length === 0 && !warm.has(call.collection);
  warm.add(call.collection);
  if (isCold) service.emit(call.collection, { [metric.coldLoadDuration]: answer.milliseconds });
  if (call.part !== undefined) return;
  service.emit(call.collection, {
    ...(op === "query" ? { [metric.queryLatency]: answer.milliseconds } : {}),
    ...(groupFunctions.length === 0 ? {} : { [metric.partialAnswers]: answer.partial === undefined ? 0 : 1 }),
    [metric.snapshotAge]: Math.max(...answer.shards.map(({ ageSeconds }) => ageSeconds)),
    [metric.snapshotFallback]: answer.warning === undefined ? 0 : 1,
  });
}
