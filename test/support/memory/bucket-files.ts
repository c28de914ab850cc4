/** Files of other buckets, in memory. */
import type { Readable } from "node:stream";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import type { BucketFiles } from "../../../lib/import/inputs.ts";

export class MemoryBucketFiles implements BucketFiles {
  /** By bucket/key. */
  readonly objects = new Map<string, Buffer>();

  async list(bucket: string, prefix: string): Promise<{ key: string; bytes: number; etag: string }[]> {
    const start = `${bucket}/`;
    return [...this.objects]
      .filter(([name]) => name.startsWith(start + prefix))
      .map(([name, body]) => ({
        key: name.slice(start.length),
        bytes: body.length,
        etag: String(body.length),
      }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }
  async read(bucket: string, key: string, range: { start: number; limit: number }): Promise<Buffer> {
    return Buffer.from(this.#body(bucket, key).subarray(range.start, range.limit));
  }
  async *stream(bucket: string, key: string): AsyncGenerator<Uint8Array> {
    yield this.#body(bucket, key);
  }
  async write(bucket: string, key: string, body: Readable): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(Buffer.from(chunk as Uint8Array));
    this.objects.set(`${bucket}/${key}`, Buffer.concat(chunks));
  }

  #body(bucket: string, key: string): Buffer {
    const body = this.objects.get(`${bucket}/${key}`);
    if (body === undefined) throw new SiltstoneError("invalid", `s3://${bucket}/${key}: NoSuchKey`);
    return body;
  }
}
