/** Files of other buckets, in memory. */
import { hash } from "node:crypto";
import type { Readable } from "node:stream";
import { SiltstoneError } from "../../../lib/core/model/errors.ts";
import type { BucketFile, BucketFiles } from "../../../lib/import/inputs.ts";

export class MemoryBucketFiles implements BucketFiles {
  /** By bucket/key. */
  readonly objects = new Map<string, Buffer>();

  readonly #onCreate: (bucket: string, key: string, body: Uint8Array) => Promise<unknown>;

  /** `onCreate`: told of what is created, as the store that has the bucket sees it. */
  constructor(
    onCreate: (bucket: string, key: string, body: Uint8Array) => Promise<unknown> = async () => {},
  ) {
    this.#onCreate = onCreate;
  }

  /** How many entries of lists were asked for. */
  listed = 0;

  async *list(bucket: string, prefix: string): AsyncGenerator<BucketFile> {
    const start = `${bucket}/`;
    const found = [...this.objects]
      .filter(([name]) => name.startsWith(start + prefix))
      .map(([name, body]) => ({
        bucket,
        key: name.slice(start.length),
        bytes: body.length,
        etag: etagOf(body),
      }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const one of found) {
      this.listed += 1;
      yield one;
    }
  }
  async read(file: BucketFile, range: { start: number; limit: number }): Promise<Buffer> {
    return Buffer.from(this.#body(file).subarray(range.start, range.limit));
  }
  async *stream(file: BucketFile): AsyncGenerator<Uint8Array> {
    yield this.#body(file);
  }
  async write(bucket: string, key: string, body: Readable): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(Buffer.from(chunk as Uint8Array));
    this.objects.set(`${bucket}/${key}`, Buffer.concat(chunks));
  }
  async create(bucket: string, key: string, body: Uint8Array): Promise<boolean> {
    const name = `${bucket}/${key}`;
    if (this.objects.has(name)) return false;
    this.objects.set(name, Buffer.from(body));
    await this.#onCreate(bucket, key, body);
    return true;
  }

  #body({ bucket, key, etag }: BucketFile): Buffer {
    const body = this.objects.get(`${bucket}/${key}`);
    if (body === undefined) throw new SiltstoneError("notFound", `s3://${bucket}/${key}: NoSuchKey`);
    if (etagOf(body) !== etag) throw new SiltstoneError("conflict", `s3://${bucket}/${key} was overwritten`);
    return body;
  }
}

const etagOf = (body: Buffer): string => hash("md5", body, "hex");
