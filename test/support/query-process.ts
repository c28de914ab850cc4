/** The query function's own handler in processes of its own, over a local S3 that is filled from a world in memory. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import pLimit from "p-limit";
import { S3ObjectStore } from "../../lib/aws/s3-object-store.ts";
import { env } from "../../lib/contract/names.ts";
import { settings } from "../../lib/contract/settings.ts";
import type { ObjectStore } from "../../lib/engine/ports.ts";
import { Traffic } from "../../lib/engine/traffic.ts";
import { type RunningS3, startS3Server } from "../../scripts/local/s3/server.ts";
import type { MemoryObjectStore } from "./memory/object-store.ts";

const bucket = "queries";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };
const copiesAtOnce = 48;

export interface LocalBucket {
  readonly server: RunningS3;
  readonly store: ObjectStore;
  /** For what the processes keep. */
  readonly folder: string;
  /** Puts what lies below a prefix in memory. */
  fill(from: MemoryObjectStore, prefix: string): Promise<void>;
  close(): Promise<void>;
}

export async function localBucket(): Promise<LocalBucket> {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-queries-"));
  const server = await startS3Server({ folder: join(folder, "s3"), port: 0, region: "us-east-1" });
  const s3 = new S3Client({ endpoint: server.endpoint, region: "us-east-1", credentials });
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  return {
    server,
    folder,
    store: new S3ObjectStore(s3, bucket, new Traffic()),
    async fill(from, prefix) {
      const limit = pLimit(copiesAtOnce);
      const put = (Key: string) =>
        s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: from.bytes(Key)! }));
      await Promise.all(from.keys(prefix).map((key) => limit(() => put(key))));
    },
    async close() {
      s3.destroy();
      await server.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

export interface Said {
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  readonly answer: any;
  /** Descriptors: now, and the most that there were. */
  readonly open: number;
  readonly most: number;
  /** Of its cache. */
  readonly openFiles: readonly string[];
}

/** A query function that may have so many descriptors; Lambda gives 1,024. */
export class QueryProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor({ server, folder }: LocalBucket, descriptors = 1_024) {
    const tmp = mkdtempSync(join(folder, "process-"));
    const script = join(import.meta.dirname, "query-process-main.ts");
    this.#child = spawn("sh", ["-c", `ulimit -n ${descriptors}; exec "$0" "$1"`, process.execPath, script], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        ...process.env,
        TMPDIR: tmp,
        AWS_ENDPOINT_URL_S3: server.endpoint,
        AWS_REGION: "us-east-1",
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        POWERTOOLS_LOG_LEVEL: "SILENT",
        POWERTOOLS_METRICS_DISABLED: "true",
        [env.stage]: "dev",
        [env.store]: "Siltstone-dev",
        [env.bucket]: bucket,
        [env.table]: "none",
        [env.queueUrl]: "http://127.0.0.1:1/none",
        [env.deadLetterQueueUrl]: "http://127.0.0.1:1/none",
        [settings["query.refreshSeconds"].variable]: "300",
      },
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async ask(event: object): Promise<Said> {
    this.#child.stdin!.write(`${JSON.stringify(event)}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value as string) as Said;
  }

  /** As Lambda does when a call was answered. */
  freeze(): void {
    this.#child.kill("SIGSTOP");
  }
  wake(): void {
    this.#child.kill("SIGCONT");
  }

  async end(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
