/** Files that lie in S3, in any bucket that the credentials may read: what import reads, and export writes. */
import type { Readable } from "node:stream";
import { GetObjectCommand, paginateListObjectsV2, type S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { SiltstoneError } from "../core/model/errors.ts";
import { failure } from "./failure.ts";

export class S3BucketFiles {
  readonly #client: S3Client;

  constructor(client: S3Client) {
    this.#client = client;
  }

  async list(bucket: string, prefix: string): Promise<{ key: string; bytes: number; etag: string }[]> {
    const found: { key: string; bytes: number; etag: string }[] = [];
    try {
      for await (const page of paginateListObjectsV2(
        { client: this.#client },
        { Bucket: bucket, Prefix: prefix },
      )) {
        for (const { Key: key, Size: bytes, ETag: etag } of page.Contents ?? [])
          found.push({ key: key!, bytes: bytes ?? 0, etag: etag ?? "" });
      }
    } catch (error) {
      throw refused("ListObjectsV2", bucket, prefix, error);
    }
    return found;
  }

  async read(
    bucket: string,
    key: string,
    { start, limit }: { start: number; limit: number },
  ): Promise<Buffer> {
    if (start >= limit) return Buffer.alloc(0);
    try {
      const range = `bytes=${start}-${limit - 1}`;
      const { Body: body } = await this.#client.send(
        new GetObjectCommand({ Bucket: bucket, Key: key, Range: range }),
      );
      return Buffer.from(await body!.transformToByteArray());
    } catch (error) {
      throw refused("GetObject", bucket, key, error);
    }
  }

  async *stream(bucket: string, key: string): AsyncGenerator<Uint8Array> {
    try {
      const { Body: body } = await this.#client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      yield* body as Readable as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw refused("GetObject", bucket, key, error);
    }
  }

  /** Over whatever the key holds; in parts, whatever its size. */
  async write(bucket: string, key: string, body: Readable): Promise<void> {
    try {
      await new Upload({ client: this.#client, params: { Bucket: bucket, Key: key, Body: body } }).done();
    } catch (error) {
      throw refused("PutObject", bucket, key, error);
    }
  }
}

function refused(operation: string, bucket: string, key: string, error: unknown): SiltstoneError {
  const subject = `s3://${bucket}/${key}`;
  const { name } = error as Error;
  if (name === "NoSuchBucket" || name === "NoSuchKey" || name === "InvalidRange")
    return new SiltstoneError("notFound", `there is no ${subject} (${name})`, { cause: error });
  const [writes, permission] =
    operation === "PutObject" ? [true, "s3:PutObject"] : [false, "s3:GetObject and s3:ListBucket"];
  return failure(error, { call: `S3 ${operation}`, subject, writes, permission });
}
