/**
 * A warm query through the local Lambda runtime: the deployed bundle in a runtime process, called by the AWS SDK, beside
 * the same query by hnswlib's own searchKnn in this process, and beside a ping, which is the way there and back alone. Then by Invoke
 * and by the function's URL, so many callers at a time, each of whom asks again as soon as it is answered.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { env } from "../../lib/contract/names.ts";
import { cacheBytes, settings } from "../../lib/contract/settings.ts";
import { normalised } from "../../lib/core/model/vector.ts";
import { withFolder } from "../../lib/segment/files.ts";
import { bundleLambdas } from "../build/bundle.ts";
import { Guardian } from "../local/guardian.ts";
import { LambdaHost } from "../local/lambda/host.ts";
import { gaussianMixture, recallOf, truthOf } from "./data.ts";
import { interleaved, percentile, round, timed } from "./measure.ts";
import { bucket, credentials, region, serving } from "./reader-client.ts";
import type { Cell, Scenario } from "./scenario.ts";
import { rowOfId, withSegments } from "./store.ts";
import { bareIndexes } from "./warm-query.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly queries: number;
  /** Callers at a time; each has a runtime process of its own, as in Lambda. */
  readonly callers: readonly number[];
}

const topK = 10;
const overheadMsMax = 5;
const functionName = "query";
const coldAttemptsMax = 10;

interface Answer {
  readonly results: readonly { readonly id: string }[];
  readonly milliseconds: number;
}
type Call = (event: object) => Promise<unknown>;
export interface Called {
  readonly invoke: Call;
  readonly url: Call;
}

export const runtime: Scenario<Size> = {
  name: "runtime",
  about: "a warm query through the local Lambda runtime beside bare hnswlib",
  full: { rows: 100_000, dims: 384, queries: 500, callers: [1, 4, 16] },
  tiny: { rows: 300, dims: 16, queries: 5, callers: [1, 2] },
  async run(size, log) {
    const vectors = gaussianMixture(size);
    log("building");
    const store = await withSegments(vectors, [{ rows: size.rows, kind: "hnsw" }]);
    const [bare] = await bareIndexes(store);
    const queries = vectors.queries.map((query) => Array.from(query));
    const units = vectors.queries.map((query) => Array.from(normalised(query)));
    const found: number[][] = [];
    const inside: number[] = [];
    const eventOf = (turn: number) => ({ op: "query", collection: "bench", vector: queries[turn], topK });
    const { samples, load } = await serving(store, ({ endpoint }) =>
      withFunction(endpoint, async ({ invoke, url }) => {
        const samples = await interleaved(
          {
            runtime: async (turn) => {
              const { results, milliseconds } = (await invoke(eventOf(turn))) as Answer;
              found[turn] = results.map(({ id }) => rowOfId(id));
              inside[turn] = milliseconds;
            },
            ping: () => invoke({ op: "ping" }),
            bare: (turn) => bare!.index.searchKnn(units[turn]!, topK),
          },
          // Every sample counts: what a caller meets now and then is a part of the way.
          { turns: size.queries, warmups: Math.min(100, size.queries) },
        );
        const load: Cell[][] = [];
        for (const callers of size.callers)
          for (const [way, call] of Object.entries({ Invoke: invoke, "function URL": url })) {
            log(`${callers} callers by ${way}`);
            const cells = await underLoad(callers, size.queries, (turn) => call(eventOf(turn)));
            load.push([way, callers, ...cells]);
          }
        return { samples, load };
      }),
    );
    const p50 = percentile(samples.runtime, 0.5) - percentile(samples.bare, 0.5);
    const row = (name: string, ms: readonly number[]) => [
      name,
      ...[0.5, 0.95, 0.99].map((share) => round(percentile(ms, share))),
    ];
    return {
      tables: [
        {
          title: `Warm query through the local Lambda runtime, ${size.rows} × ${size.dims}, topK ${topK}, ms; recall@10 ${round(recallOf(found, truthOf(vectors, "cosine", topK)), 4)}`,
          columns: ["what", "p50", "p95", "p99"],
          rows: [
            row("query by the SDK's Invoke", samples.runtime),
            row("of which inside the reader", inside),
            row("ping by the SDK's Invoke", samples.ping),
            row("bare hnswlib searchKnn", samples.bare),
          ],
        },
        {
          title: `By so many callers at a time, each with a runtime process, ms; ${availableParallelism()} processors for all of it`,
          columns: ["way", "callers", "queries/s", "p50", "p95", "p99"],
          rows: load,
        },
      ],
      checks: [
        {
          target: `p50 within ${overheadMsMax} ms of bare hnswlib`,
          measured: `${round(p50)} ms`,
          met: p50 <= overheadMsMax,
        },
      ],
    };
  },
};

/** Queries a second, and milliseconds of a query; as many as there are callers were answered at once before. */
async function underLoad(
  callers: number,
  queries: number,
  ask: (turn: number) => Promise<unknown>,
): Promise<Cell[]> {
  // Cold starts side by side on few processors may take longer than a request of theirs may.
  for (let attempt = 1; attempt <= coldAttemptsMax; attempt++) {
    const asked = Array.from({ length: callers }, (_, caller) => ask(caller % queries));
    if ((await Promise.allSettled(asked)).every(({ status }) => status === "fulfilled")) break;
  }
  const ms: number[] = [];
  let next = 0;
  const caller = async () => {
    for (let turn = next++; turn < queries; turn = next++) ms.push((await timed(() => ask(turn))).ms);
  };
  const whole = await timed(() => Promise.all(Array.from({ length: callers }, caller)));
  const shown = [0.5, 0.95, 0.99].map((share) => round(percentile(ms, share)));
  return [Math.round((queries / whole.ms) * 1000), ...shown];
}

/** The query function's bundle in the local Lambda host, over the S3 at `endpoint`. */
export async function withFunction<T>(endpoint: string, work: (called: Called) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const bundles = await bundleLambdas({ architecture: "host", outDir: join(folder, "bundles") });
    const guardian = new Guardian();
    const host = await LambdaHost.start({
      port: 0,
      region,
      sandboxFolder: join(folder, "sandboxes"),
      logFolder: join(folder, "logs"),
      endpoints: { AWS_ENDPOINT_URL_S3: endpoint },
      watch: (child) => guardian.watch(child),
    });
    const client = new LambdaClient({ endpoint: host.endpoint, region, credentials });
    try {
      host.addFunction({
        name: functionName,
        arn: `arn:aws:lambda:${region}:000000000000:function:${functionName}`,
        codeFolder: bundles.find(({ name }) => name === "query")!.folder,
        handler: "handler.handler",
        runtime: "nodejs24.x",
        memoryMegabytes: 4096,
        timeoutMs: 30_000,
        environment: {
          [env.stage]: "dev",
          [env.store]: "Siltstone-dev",
          [env.bucket]: bucket,
          [env.table]: "none",
          [env.queueUrl]: "http://127.0.0.1:1/none",
          [env.deadLetterQueueUrl]: "http://127.0.0.1:1/none",
          [settings["query.refreshSeconds"].variable]: String(settings["query.refreshSeconds"].default),
          [cacheBytes.variable]: String(4 * 2 ** 30),
        },
      });
      const address = await host.addUrl(functionName, "NONE", 0);
      return await work({
        async invoke(event) {
          const Payload = Buffer.from(JSON.stringify(event));
          const answer = await client.send(new InvokeCommand({ FunctionName: functionName, Payload }));
          const text = Buffer.from(answer.Payload!).toString();
          if (answer.FunctionError !== undefined) throw new Error(`the query function failed: ${text}`);
          return JSON.parse(text);
        },
        async url(event) {
          const answer = await fetch(address, { method: "POST", body: JSON.stringify(event) });
          const text = await answer.text();
          if (!answer.ok) throw new Error(`the query function's URL answered ${answer.status}: ${text}`);
          return JSON.parse(text);
        },
      });
    } finally {
      client.destroy();
      await host.stop();
      await guardian.stop();
    }
  });
}
