/**
 * Items through the whole store, over the local stack: a bulk load of lows, during which highs are saved one by one; how long these
 * take, beside highs with nothing else to do, and what the load costs: time, requests, milliseconds of the embedder. The provider is the
 * fake one, which answers after some milliseconds. One machine runs all of it, so only ratios and counts say something.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { awsNames, awsWorld } from "../../lib/aws/aws-world.ts";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { type FakeProvider, startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { functions, jobOutputs } from "../../lib/contract/functions.ts";
import { completeProfile } from "../../lib/core/model/embedding-profile.ts";
import { dollarsOfItems, dollarsOfTokens } from "../../lib/core/policy/cost/items.ts";
import { lexicalVector } from "../../lib/embedding/lexical-embedder.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { changeSettings } from "../../lib/jobs/control.ts";
import type { JobWorld } from "../../lib/jobs/save.ts";
import { defaultSettings } from "../../lib/jobs/settings.ts";
import { hasDataset, readDataset } from "../../test/support/datasets.ts";
import { synthesize } from "../build/synthesize.ts";
import { type LocalStack, startLocalStack } from "../local/stack.ts";
import type { Cell, Log, Result, Scenario } from "./scenario.ts";

interface Size {
  /** Lows of the load. */
  readonly rows: number;
  readonly dims: number;
  /** Highs that are saved alone, and as many beside the load. */
  readonly highs: number;
  readonly everyMs: number;
}

const model = "text-embedding-3-small";
const collection = "articles";
const itemsPerCall = 500;
const batchItems = defaultSettings.batchItems;
const dataset = "aimath-bgemicro384";
const anyPorts = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };

export const items: Scenario<Size> = {
  name: "items",
  about: "a bulk load of items, and urgent ones beside it",
  full: { rows: 5_000, dims: 384, highs: 20, everyMs: 3_000 },
  tiny: { rows: 60, dims: 8, highs: 2, everyMs: 300 },
  async run(size, log) {
    const folder = mkdtempSync(join(tmpdir(), "siltstone-bench-items-"));
    const provider = await startFakeProvider({
      dims: size.dims,
      vectorOf: (text, dims) => lexicalVector(text, dims),
    });
    const openai = {
      endpoint: `${provider.url}/v1`,
      models: [model],
      requestsPerMinute: 100_000,
      tokensPerMinute: 100_000_000,
    };
    const synthesis = await synthesize("dev", join(folder, "cdk.out"), {
      "embedding.providers": JSON.stringify({ openai }),
    });
    const stateDir = join(folder, "state");
    const stack = await startLocalStack({
      ...synthesis,
      stateDir,
      ports: anyPorts,
      scheduleEveryMs: 1_000,
    });
    try {
      Object.assign(process.env, stack.environment);
      return await measure(size, { stack, stateDir, provider }, log);
    } finally {
      await stack.stop();
      await provider.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

interface Running {
  readonly stack: LocalStack;
  readonly stateDir: string;
  readonly provider: FakeProvider;
}

async function measure({ rows, dims, highs, everyMs }: Size, running: Running, log: Log): Promise<Result> {
  const { stack, provider } = running;
  const world = awsWorld(awsNames((name) => stack.outputs[name]!));
  const { outputs } = stack;
  const jobs = jobWorld(
    { table: outputs.TableName!, jobQueueUrls: outputs[jobOutputs.queueUrls]!.split(",") },
    world,
  );
  const profile = completeProfile({ provider: "openai", model, inputTokensMax: 512, bytesPerToken: 4 });
  const { collection: made } = await createCollection(world, {
    name: collection,
    dims,
    metric: "cosine",
    embedder: profile,
  });
  await changeSettings(jobs, { concurrency: 4, intervalSeconds: 30 }, "bench");
  const save = saver(stack);
  const textAt = textsOf();
  const high = async (n: number, kind: string): Promise<number> => {
    const id = `high-${kind}-${n}`;
    const startMs = performance.now();
    await save([{ id, text: `an urgent text, number ${n}` }], "high");
    while ((await jobs.table.read({ collectionId: made.id, item: id }))?.status !== "completed")
      await sleep(20);
    return performance.now() - startMs;
  };
  // Processes start once.
  await high(0, "first");
  const alone: number[] = [];
  for (let n = 0; n < highs; n++) alone.push(await high(n, "alone"));

  const beforeMs = runsIn(running);
  const batchesBefore = batchesIn(running);
  const requestsBefore = provider.requests;
  const startMs = performance.now();
  for (let at = 0; at < rows; at += itemsPerCall) {
    const part = Array.from({ length: Math.min(itemsPerCall, rows - at) }, (_, i) => ({
      id: `low-${at + i}`,
      text: textAt(at + i),
    }));
    await save(part, "low");
  }
  const savedMs = performance.now() - startMs;
  log(`${rows} lows saved`);
  const beside: number[] = [];
  for (let n = 0; n < highs && (await active(jobs)) > 0; n++) {
    beside.push(await high(n, "beside"));
    await sleep(everyMs);
  }
  while ((await active(jobs)) > 0) await sleep(200);
  const seconds = (performance.now() - startMs) / 1_000;
  const counts = await jobs.table.readCounts(made.id);
  const runs = runsIn(running).slice(beforeMs.length);
  const embedderMs = runs.reduce((sum, ms) => sum + ms, 0);
  const batchMs = embedderMs / Math.max(1, batchesIn(running) - batchesBefore);
  const per = (count: number): number => Math.round((count / rows) * 1_000);
  const { bytes, chunks } = { bytes: counts.tokenBytes, chunks: counts.chunks };
  const p = (values: readonly number[], share: number): Cell =>
    values.length === 0
      ? "none"
      : Math.round(
          values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))]!,
        );
  const delay = Math.max(0, Number(p(beside, 0.5)) - Number(p(alone, 0.5)));
  return {
    tables: [
      {
        title: `${rows} items of ${Math.round(bytes / Math.max(1, counts.completed))} bytes on average`,
        columns: [
          "items/s",
          "chunks/s",
          "saved at once, s",
          "all embedded, s",
          "embedder ms an item",
          "requests to the provider",
        ],
        rows: [
          [
            Math.round(rows / seconds),
            Math.round(chunks / seconds),
            (savedMs / 1_000).toFixed(1),
            seconds.toFixed(1),
            (embedderMs / rows).toFixed(1),
            provider.requests - requestsBefore,
          ],
        ],
      },
      {
        title: "for 1,000 items",
        columns: ["chunks", "tokens", "provider $ by list price", "AWS $ by list prices"],
        rows: [
          [
            per(chunks),
            per(counts.tokens),
            dollarsOfTokens(profile, per(counts.tokens), null)!.toFixed(4),
            (dollarsOfItems({ items: rows, chunks, bytes, dims }) * (1_000 / rows)).toFixed(4),
          ],
        ],
      },
      {
        title: "a high, from its save to its end, ms",
        columns: ["", "p50", "p95", "max", "measured"],
        rows: [
          ["alone", p(alone, 0.5), p(alone, 0.95), p(alone, 1), alone.length],
          ["beside the load", p(beside, 0.5), p(beside, 0.95), p(beside, 1), beside.length],
          ["a run of the embedder meanwhile", p(runs, 0.5), p(runs, 0.95), p(runs, 1), runs.length],
        ],
      },
    ],
    checks: [
      {
        target: "the load holds up a high by no more than one of its batches (median)",
        measured: `${delay} ms, a batch ${Math.round(batchMs)} ms`,
        met: delay <= batchMs,
      },
    ],
  };
}

const active = async ({ table }: JobWorld): Promise<number> =>
  (await table.count("pending")) + (await table.count("processing"));

function textsOf(): (n: number) => string {
  const lines = hasDataset(dataset) ? readDataset(dataset).lines : null;
  return (n) =>
    lines === null
      ? `Text number ${n} is about the ${n % 7}th of seven things. `.repeat(6)
      : `${String(lines[n % lines.length]!.text)} (${n})`;
}

function saver({ outputs }: LocalStack): (items: readonly object[], priority: string) => Promise<void> {
  const lambda = new LambdaClient();
  const FunctionName = outputs[functions.producer.output]!;
  return async (items, priority) => {
    const Payload = JSON.stringify({ collection, items, priority });
    const { FunctionError, Payload: answer } = await lambda.send(
      new InvokeCommand({ FunctionName, Payload }),
    );
    if (FunctionError !== undefined) throw new Error(answer!.transformToString());
  };
}

/** Milliseconds of the embedder's runs, by its log. */
function runsIn({ stack, stateDir }: Pick<Running, "stack" | "stateDir">): number[] {
  const log = embedderLog({ stack, stateDir });
  return [...log.matchAll(/REPORT [^\n]*?Duration: ([\d.]+) ms/g)].map(([, ms]) => Number(ms));
}

/** Batches of so many items that its runs have worked on. */
function batchesIn(running: Pick<Running, "stack" | "stateDir">): number {
  const done = [...embedderLog(running).matchAll(/"completed":(\d+),"failed":\d+,"postponed":(\d+)/g)];
  return done.reduce(
    (sum, [, completed, postponed]) => sum + Math.ceil((Number(completed) + Number(postponed)) / batchItems),
    0,
  );
}

const embedderLog = ({ stack, stateDir }: Pick<Running, "stack" | "stateDir">): string =>
  readFileSync(join(stateDir, "logs", `${stack.outputs[functions.embedder.output]!}.log`), "utf8");
