/**
 * A warm query through the local Lambda runtime: the deployed bundle in a runtime process, called by the AWS SDK, beside
 * the same query by hnswlib's own searchKnn in this process, and beside a ping, which is the way there and back alone.
 */
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
import { interleaved, percentile, round } from "./measure.ts";
import { bucket, credentials, region, serving } from "./reader-client.ts";
import type { Scenario } from "./scenario.ts";
import { rowOfId, withSegments } from "./store.ts";
import { bareIndexes } from "./warm-query.ts";

interface Size {
  readonly rows: number;
  readonly dims: number;
  readonly queries: number;
}

const topK = 10;
const overheadMsMax = 5;
const functionName = "query";

interface Answer {
  readonly results: readonly { readonly id: string }[];
  readonly milliseconds: number;
}
type Call = (event: object) => Promise<unknown>;

export const runtime: Scenario<Size> = {
  name: "runtime",
  about: "a warm query through the local Lambda runtime beside bare hnswlib",
  full: { rows: 100_000, dims: 384, queries: 500 },
  tiny: { rows: 300, dims: 16, queries: 5 },
  async run(size, log) {
    const vectors = gaussianMixture(size);
    log("building");
    const store = await withSegments(vectors, [{ rows: size.rows, kind: "hnsw" }]);
    const [bare] = await bareIndexes(store);
    const queries = vectors.queries.map((query) => Array.from(query));
    const units = vectors.queries.map((query) => Array.from(normalised(query)));
    const found: number[][] = [];
    const inside: number[] = [];
    const samples = await serving(store, ({ endpoint }) =>
      withFunction(endpoint, (call) =>
        interleaved(
          {
            runtime: async (turn) => {
              const event = { op: "query", collection: "bench", vector: queries[turn], topK };
              const { results, milliseconds } = (await call(event)) as Answer;
              found[turn] = results.map(({ id }) => rowOfId(id));
              inside[turn] = milliseconds;
            },
            ping: () => call({ op: "ping" }),
            bare: (turn) => bare!.index.searchKnn(units[turn]!, topK),
          },
          // Every sample counts: what a caller meets now and then is a part of the way.
          { turns: size.queries, warmups: Math.min(100, size.queries) },
        ),
      ),
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

/** The query function's bundle in the local Lambda host, over the S3 at `endpoint`. */
async function withFunction<T>(endpoint: string, work: (call: Call) => Promise<T>): Promise<T> {
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
          [settings["query.refreshSeconds"].variable]: "300",
          [cacheBytes.variable]: String(4 * 2 ** 30),
        },
      });
      return await work(async (event) => {
        const Payload = Buffer.from(JSON.stringify(event));
        const answer = await client.send(new InvokeCommand({ FunctionName: functionName, Payload }));
        const text = Buffer.from(answer.Payload!).toString();
        if (answer.FunctionError !== undefined) throw new Error(`the query function failed: ${text}`);
        return JSON.parse(text);
      });
    } finally {
      client.destroy();
      await host.stop();
      await guardian.stop();
    }
  });
}
