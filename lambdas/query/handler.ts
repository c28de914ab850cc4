/** The query function: reads collections through cached views (lib/engine/reader.ts). It changes nothing. */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { lambdaDoor } from "../../lib/aws/lambda-door.ts";
import { clearScratch } from "../../lib/aws/scratch.ts";
import { telemetry } from "../../lib/aws/telemetry.ts";
import { metric } from "../../lib/contract.ts";
import { unreachable } from "../../lib/core/errors.ts";
import type { Provenance } from "../../lib/engine/read-request.ts";
import { Reader } from "../../lib/engine/reader.ts";
import { parseQueryEvent, type QueryEvent } from "./event.ts";

clearScratch();
const environment = parseEnvironment(process.env);
const { stage, refreshSeconds, cacheBytesMax } = environment;
const world = awsWorld(environment);
const service = telemetry({ stage, service: "query" });
const reader = new Reader(world, {
  refreshSeconds,
  cacheBytesMax,
  traffic: world.traffic,
  onFault: ({ kind, message }) => service.logger.warn("fallback", { kind, fault: message }),
});
/** Collections that this process has answered from: the first answer of each is the cold one. */
const warm = new Set<string>();

export const handler = lambdaDoor(
  { telemetry: service, failureMetric: metric.queryErrors },
  async (event) => {
    const asked = parseQueryEvent(event);
    const answer = await answerOf(asked);
    if ("collection" in asked.call) report(asked.call.collection, asked.op, answer as Provenance);
    return answer;
  },
);

async function answerOf({ op, call }: QueryEvent): Promise<object> {
  switch (op) {
    case "query":
      return reader.query(call);
    case "get":
      return reader.get(call);
    case "count":
      return reader.count(call);
    case "stats":
      return reader.stats(call);
    case "health":
      return { stage, ...reader.health() };
    case "ping":
      return { pong: true };
    default:
      return unreachable(op);
  }
}

function report(collection: string, op: QueryEvent["op"], answer: Provenance): void {
  const isCold = !warm.has(collection);
  warm.add(collection);
  service.emit(collection, {
    ...(op === "query" ? { [metric.queryLatency]: answer.milliseconds } : {}),
    ...(isCold ? { [metric.coldLoadDuration]: answer.milliseconds } : {}),
    [metric.snapshotAge]: Math.max(...answer.shards.map(({ ageSeconds }) => ageSeconds)),
    [metric.snapshotFallback]: answer.warning === undefined ? 0 : 1,
  });
}
