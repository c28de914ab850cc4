/** The local S3 with a store's objects, and the processes that read from it (reader-process.ts, merge-process.ts). */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { withFolder } from "../../lib/segment/files.ts";
import { startS3Server } from "../local/s3/server.ts";
import type { Throttle } from "../local/s3/weather.ts";
import type { MergeMeasured } from "./merge-process.ts";
import type { Answer, Question } from "./reader-process.ts";
import type { Store } from "./store.ts";

const bucket = "bench";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const region = "us-east-1";

export interface ServedStore {
  /** Copies what the store has and S3 has not, and the pointer. */
  sync(): Promise<void>;
  setThrottle(throttle: Throttle | undefined): void;
  startReader(): ReaderProcess;
  /** Does the merge that is due, in a process of its own. */
  merge(): Promise<MergeMeasured>;
}

export interface ReaderProcess {
  ask(question: Question): Promise<Answer>;
  stop(): Promise<void>;
}

/** Serves a copy of the store's objects over HTTP while `work` runs. */
export async function serving<T>(store: Store, work: (served: ServedStore) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const server = await startS3Server({ folder, port: 0, region });
    try {
      const client = new S3Client({ endpoint: server.endpoint, region, credentials });
      await client.send(new CreateBucketCommand({ Bucket: bucket }));
      const target = new S3ObjectStore(client, bucket, new Traffic());
      const copied = new Set<string>();
      const served: ServedStore = {
        async sync() {
          const keys = store.world.store.keys();
          // Pointers last: what they name must be there.
          const ordered = [...keys].sort(
            (a, b) => Number(a.endsWith("pointer.json")) - Number(b.endsWith("pointer.json")),
          );
          for (const key of ordered) {
            if (copied.has(key) && !key.endsWith("pointer.json")) continue;
            await target.put(key, store.world.store.bytes(key)!);
            copied.add(key);
          }
        },
        setThrottle: (throttle) => server.setWeather(throttle ? { throttle } : {}),
        startReader: () => startReader(server.endpoint),
        merge: async () => {
          const script = join(import.meta.dirname, "merge-process.ts");
          const { stdout } = await promisify(execFile)(process.execPath, [script], {
            env: environment(server.endpoint),
          });
          return JSON.parse(stdout) as MergeMeasured;
        },
      };
      await served.sync();
      return await work(served);
    } finally {
      await server.stop();
    }
  });
}

const environment = (endpoint: string) => ({
  ...process.env,
  AWS_ENDPOINT_URL_S3: endpoint,
  AWS_REGION: region,
  AWS_ACCESS_KEY_ID: credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  BENCH_BUCKET: bucket,
});

function startReader(endpoint: string): ReaderProcess {
  const child = spawn(process.execPath, [join(import.meta.dirname, "reader-process.ts")], {
    stdio: ["pipe", "pipe", "inherit"],
    env: environment(endpoint),
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(question) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the query process ended while it was asked: ${question.op}`);
      return JSON.parse(value as string) as Answer;
    },
    async stop() {
      child.stdin.end();
      await exited;
    },
  };
}
