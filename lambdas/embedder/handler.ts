/**
 * The embedder function. Messages of the job queues name items: a run claims, embeds and writes them (lib/jobs/work.ts). Each
 * minute a sweep wakes what no message did. A message is forgotten whatever becomes of its job, which stands in the table; one that cannot be
 * understood goes to the dead-letter queue with the reason, and comes again where even that fails. A save of a collection that embeds in the
 * call names its items, and is answered when they are embedded.
 */
import { awsWorld } from "../../lib/aws/aws-world.ts";
import { embeddingWorld } from "../../lib/aws/embedding-world.ts";
import { parseEnvironment } from "../../lib/aws/environment.ts";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { lambdaHandler } from "../../lib/aws/lambda-handler.ts";
import { parseEvent } from "../../lib/aws/parse-event.ts";
import { errorFacts, telemetry } from "../../lib/aws/telemetry.ts";
import { embedInCallMs, requestBounds, runMarginMs } from "../../lib/core/policy/time-bounds.ts";
import { documentEmbedder } from "../../lib/embedding/document-embedder.ts";
import { batchedEmbedders } from "../../lib/embedding/profile-embedders.ts";
import { parseProviders } from "../../lib/embedding/provider-access.ts";
import { watchSettings } from "../../lib/jobs/control.ts";
import { standOf } from "../../lib/jobs/in-call.ts";
import type { ItemKey } from "../../lib/jobs/item.ts";
import { stoppable } from "../../lib/jobs/stoppable-provider.ts";
import { gauge, sweep } from "../../lib/jobs/sweep.ts";
import { decodeWake } from "../../lib/jobs/wake.ts";
import { type WorkReport, type WorkWorld, work } from "../../lib/jobs/work.ts";
import { workInSlot } from "../../lib/jobs/work-in-slot.ts";
import { embedderEvent, type JobMessage, messagesOf } from "./event.ts";

const environment = parseEnvironment(process.env);
const { stage, table, queueUrl, jobQueueUrls, jobDeadLetterQueueUrl } = environment;
const highQueueName = jobQueueUrls[0]?.split("/").at(-1);
const service = telemetry({ ...environment, service: "embedder" });
const aws = awsWorld(environment, requestBounds.embedder);
const dead = awsWorld({ ...environment, queueUrl, deadLetterQueueUrl: jobDeadLetterQueueUrl }).queue;
const jobs = jobWorld(environment, aws, requestBounds.embedder);
const settings = watchSettings(jobs.table, aws.clock);
const providers = embeddingWorld(parseProviders(process.env, stage), table);
const world: WorkWorld = {
  ...jobs,
  queue: aws.queue,
  settings,
  random: Math.random,
  embed: documentEmbedder(
    batchedEmbedders({
      ...providers,
      connect: async (...asked) => stoppable(await providers.connect(...asked), settings),
      onFirstUse: (profile) => service.log("info", "embedding profile", { ...profile }),
    }),
  ),
};

export const handler = lambdaHandler(
  { telemetry: service, failureMetric: "EmbedderErrors" },
  async (event, context) => {
    const untilMs = aws.clock.nowMs() + context.getRemainingTimeInMillis() - runMarginMs.embedder;
    const owner = `embedder/${context.awsRequestId}/${aws.clock.ulid()}`;
    const messages = messagesOf(event);
    if (messages !== null)
      return answerMessages(messages, {
        ...{ owner, untilMs },
        urgent: messages.some(({ eventSourceARN }) => String(eventSourceARN).endsWith(`:${highQueueName}`)),
      });
    const call = parseEvent(embedderEvent, event);
    if (call.source === "call") return answerSave(call.items, owner);
    const { source } = call;
    const swept = await sweep(world, { all: source === "resume", untilMs });
    const gauged = await gauge(world);
    service.emit(null, { JobsWaiting: gauged.waiting, OldestJobAge: gauged.oldestSeconds });
    if (swept.woken > 0 || swept.damaged > 0)
      service.log(swept.damaged > 0 ? "error" : "info", "sweep", { ...swept, ...gauged });
    return { ...swept, ...gauged };
  },
);

async function answerSave(
  items: readonly (readonly [collectionId: string, item: string])[],
  owner: string,
): Promise<object> {
  const keys = items.map(([collectionId, item]) => ({ collectionId, item }));
  const untilMs = aws.clock.nowMs() + embedInCallMs;
  tellOf(await work(world, keys, { owner, untilMs, inCall: true }));
  return { items: await standOf(world, keys) };
}

async function answerMessages(
  messages: readonly JobMessage[],
  options: { readonly owner: string; readonly untilMs: number; readonly urgent: boolean },
): Promise<object> {
  const keys: ItemKey[] = [];
  const batchItemFailures: { itemIdentifier: string }[] = [];
  for (const { messageId, body } of messages) {
    const key = decodeWake(body);
    if (!("reason" in key)) {
      keys.push(key);
      continue;
    }
    await dead.deadLetter({ receipt: "", body }, key.reason).catch((error: unknown) => {
      service.log("warn", "message not put aside", errorFacts(error));
      batchItemFailures.push({ itemIdentifier: messageId });
    });
  }
  const report = await workInSlot(world, aws.leases, keys, options, work);
  if (report !== null) tellOf(report);
  return { batchItemFailures };
}

function tellOf(report: WorkReport): void {
  const { completed, failed, postponed, superseded, chunks, tokens, waitedMsMax, errors } = report;
  service.emit(null, {
    ...{ JobsCompleted: completed, JobsFailed: failed, JobsPostponed: postponed },
    ...{ ChunksWritten: chunks, EmbeddingTokens: tokens },
    ...(completed > 0 ? { JobWait: Math.round(waitedMsMax / 1_000) } : {}),
  });
  service.log(failed > 0 ? "warn" : "info", "run", {
    ...{ completed, failed, postponed, superseded, left: report.left, chunks, tokens },
    errors: errors.map(({ kind, message }) => `${kind}: ${message}`),
  });
  if (superseded > 0) service.log("warn", "superseded while it ran", { jobs: superseded });
}
