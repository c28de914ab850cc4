/**
 * Records written out as files of other programs: JSONL, Parquet, Arrow, fvecs. Each comes in again by an import as it went out:
 * ids, versions, vectors bit by bit, documents, metadata.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { PassThrough, type Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip, createZstdCompress } from "node:zlib";
import { invalid, SiltstoneError } from "../../core/model/errors.ts";
import type { BucketFiles } from "../inputs.ts";

export interface OutputRow {
  readonly id: string;
  readonly version: number;
  /** May be overwritten once `write` has answered. */
  readonly vector: Float32Array;
  readonly document: string | null;
  /** JSON text. */
  readonly metadata: string | null;
}

/** Makes bytes of rows; the caller writes them. */
export interface RowEncoder {
  /** What the rows that were given have become so far, or nothing yet. */
  add(row: OutputRow): Promise<readonly Uint8Array[]>;
  end(): Promise<readonly Uint8Array[]>;
}

/** Where bytes go: a file that is there when all of it is, or an object of S3. */
export class Output {
  readonly name: string;
  bytes = 0;
  readonly #input: Writable;
  readonly #written: Promise<void>;
  readonly #finish: () => Promise<void>;
  readonly #abandon: () => Promise<void>;

  private constructor(
    name: string,
    input: Writable,
    parts: { written: Promise<void>; finish: () => Promise<void>; abandon: () => Promise<void> },
  ) {
    this.name = name;
    this.#input = input;
    this.#written = parts.written;
    // Awaited at the end, and by whoever waits for the stream to drain.
    this.#written.catch(() => {});
    this.#finish = parts.finish;
    this.#abandon = parts.abandon;
  }

  static open(location: string, bucketFiles: BucketFiles | null): Output {
    const input = packed(location);
    if (location.startsWith("s3://")) {
      const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(location) ?? [];
      if (bucket === undefined || key === undefined || bucketFiles === null)
        throw invalid(`${location}: a location of S3 is s3://BUCKET/KEY`);
      const written = bucketFiles.write(bucket, key, input);
      return new Output(location, input, { written, finish: async () => {}, abandon: async () => {} });
    }
    // A name of its own until all is there: what a killed export leaves is never taken for a whole one.
    const draft = `${location}.part`;
    const file: WriteStream = createWriteStream(draft);
    return new Output(location, input, {
      written: pipeline(input, file).catch(unwritable(location)),
      finish: () => rename(draft, location),
      abandon: () => rm(draft, { force: true }),
    });
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    for (const chunk of chunks) {
      this.bytes += chunk.length;
      if (this.#input.write(chunk)) continue;
      const drained = new Promise<void>((resolve) => this.#input.once("drain", resolve));
      await Promise.race([drained, this.#written]);
    }
  }

  async end(): Promise<void> {
    this.#input.end();
    await this.#written;
    await this.#finish();
  }

  /** Nothing is left of it. */
  async abandon(error: Error): Promise<void> {
    this.#input.destroy(error);
    await this.#written.catch(() => {});
    await this.#abandon();
  }
}

/** What writing a file fails with, as the fault of who named it: a folder that is not there, a full disk. */
const unwritable = (location: string) => (error: unknown) => {
  if (error instanceof SiltstoneError) throw error;
  throw invalid(`${location} cannot be written: ${(error as Error).message}`);
};

function packed(location: string): Transform {
  if (location.endsWith(".gz")) return createGzip();
  if (location.endsWith(".zst")) return createZstdCompress();
  return new PassThrough();
}
