/** The local S3 with a store's objects, and query processes that read from it (reader-process.ts). */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { s3Client } from "../../lib/aws/s3-client.ts";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { withFolder } from "../../lib/segment/files.ts";
import type { Throttle } from "../local/s3/fault-injection.ts";
import { startS3Server } from "../local/s3/server.ts";
import type { Question as CompactorQuestion, Taken } from "./compactor-process.ts";
import type { Answer, Question } from "./reader-process.ts";
import type { Store } from "./store.ts";

export const bucket = "bench";
export const credentials = { accessKeyId: "local", secretAccessKey: "local" };
export const region = "us-east-1";

export interface ServedStore {
  readonly endpoint: string;
  /** Copies what the store has and S3 has not, and the pointer. */
  sync(): Promise<void>;
  setThrottle(throttle: Throttle | undefined): void;
  startReader(): ReaderProcess;
  /** Ingests all deltas, which are one batch, or does the merge that is due, in a process of its own. */
  compactor(op: CompactorQuestion["op"]): Promise<Taken>;
}

/** A process that answers each question, a JSON line on stdin, with one on stdout. */
export interface AskedProcess<Question, Answer> {
  ask(question: Question): Promise<Answer>;
  stop(): Promise<void>;
  /** Ends the process at once, whatever it is doing. */
  kill(): Promise<void>;
}
export type ReaderProcess = AskedProcess<Question, Answer>;

export interface LocalS3 {
  readonly endpoint: string;
  readonly store: S3ObjectStore;
  setThrottle(throttle: Throttle | undefined): void;
  /** Starts one of this folder's scripts, with the bucket in its environment. */
  start<Question extends { readonly op: string }, Answer>(
    script: string,
    flags?: readonly string[],
  ): AskedProcess<Question, Answer>;
}

/** Runs an S3 of its own with an empty bucket while `work` runs. */
export async function withLocalS3<T>(work: (s3: LocalS3) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const server = await startS3Server({ folder, port: 0, region });
    try {
      const client = s3Client(requestBounds.person, { endpoint: server.endpoint, region, credentials });
      await client.send(new CreateBucketCommand({ Bucket: bucket }));
      return await work({
        store: new S3ObjectStore(client, bucket, new Traffic()),
        endpoint: server.endpoint,
        setThrottle: (throttle) => server.setFaultInjection(throttle ? { throttle } : {}),
        start: (script, flags) => start(script, { endpoint: server.endpoint, folder, flags }),
      });
    } finally {
      await server.stop();
    }
  });
}

/** Serves a copy of the store's objects over HTTP while `work` runs. */
export async function serving<T>(store: Store, work: (served: ServedStore) => Promise<T>): Promise<T> {
  return withLocalS3(async (s3) => {
    const copied = new Set<string>();
    const served: ServedStore = {
      endpoint: s3.endpoint,
      async sync() {
        const keys = store.world.store.keys();
        // Pointers last: what they name must be there.
        const ordered = [...keys].sort(
          (a, b) => Number(a.endsWith("pointer.json")) - Number(b.endsWith("pointer.json")),
        );
        for (const key of ordered) {
          if (copied.has(key) && !key.endsWith("pointer.json")) continue;
          await s3.store.put(key, store.world.store.bytes(key)!);
          copied.add(key);
        }
      },
      setThrottle: s3.setThrottle,
      startReader: () => s3.start("reader-process.ts"),
      async compactor(op) {
        const compactor = s3.start<CompactorQuestion, Taken>("compactor-process.ts");
        const taken = await compactor.ask({ op });
        await compactor.stop();
        return taken;
      },
    };
    await served.sync();
    return work(served);
  });
}

/** `folder` takes what a killed one leaves behind. */
function start<Question extends { readonly op: string }, Answer>(
  script: string,
  {
    endpoint,
    folder,
    flags = [],
  }: { endpoint: string; folder: string; flags?: readonly string[] | undefined },
): AskedProcess<Question, Answer> {
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, script)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      ...process.env,
      AWS_ENDPOINT_URL_S3: endpoint,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      BENCH_BUCKET: bucket,
      TMPDIR: folder,
    },
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(question) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      const { value, done } = await lines.next();
      if (done)
        throw new Error(`the process ended (${(await exited).join(" ")}) while it was asked: ${question.op}`);
      return JSON.parse(value as string) as Answer;
    },
    async stop() {
      child.stdin.end();
      await exited;
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
