/** Files that lie in S3, in any bucket that the credentials may read: what import reads, and export writes. */
import type { Readable } from "node:stream";
import { GetObjectCommand, PutObjectCommand, paginateListObjectsV2, type S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { SiltstoneError } from "../core/model/errors.ts";
import { failure } from "./failure.ts";

/** An upload has 10,000 parts at the most: so an export may have 320 GB. */
const partBytes = 32 * 1024 * 1024;
const partsAtOnce = 2;

/** As it was listed; what another has overwritten since is not read. */
interface ListedFile {
  readonly bucket: string;
  readonly key: string;
  readonly bytes: number;
  readonly etag: string;
}

export class S3BucketFiles {
  readonly #client: S3Client;

  constructor(client: S3Client) {
    this.#client = client;
  }

  async *list(bucket: string, prefix: string): AsyncGenerator<ListedFile> {
    const pages = paginateListObjectsV2({ client: this.#client }, { Bucket: bucket, Prefix: prefix });
    try {
      for await (const page of pages) {
        for (const { Key: key, Size: bytes, ETag: etag } of page.Contents ?? [])
          yield { bucket, key: key!, bytes: bytes ?? 0, etag: etag ?? "" };
      }
    } catch (error) {
      throw refused("ListObjectsV2", bucket, prefix, error);
    }
  }

  async read(file: ListedFile, { start, limit }: { start: number; limit: number }): Promise<Buffer> {
    if (start >= limit) return Buffer.alloc(0);
    const { bucket, key, etag } = file;
    try {
      const range = `bytes=${start}-${limit - 1}`;
      const { Body: body } = await this.#client.send(
        new GetObjectCommand({ Bucket: bucket, Key: key, Range: range, IfMatch: etag }),
      );
      return Buffer.from(await body!.transformToByteArray());
    } catch (error) {
      throw refused("GetObject", bucket, key, error);
    }
  }

  async *stream({ bucket, key, etag }: ListedFile): AsyncGenerator<Uint8Array> {
    try {
      const { Body: body } = await this.#client.send(
        new GetObjectCommand({ Bucket: bucket, Key: key, IfMatch: etag }),
      );
      yield* body as Readable as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw refused("GetObject", bucket, key, error);
    }
  }

  /** Over whatever the key holds; in parts, whatever its size. */
  async write(bucket: string, key: string, body: Readable): Promise<void> {
    const params = { Bucket: bucket, Key: key, Body: body };
    try {
      await new Upload({ client: this.#client, params, partSize: partBytes, queueSize: partsAtOnce }).done();
    } catch (error) {
      throw refused("PutObject", bucket, key, error);
    }
  }

  /** False, and nothing written, where the key has an object. */
  async create(bucket: string, key: string, body: Uint8Array): Promise<boolean> {
    try {
      await this.#client.send(
        new PutObjectCommand({ Bucket: bucket, Key: key, Body: body, IfNoneMatch: "*" }),
      );
      return true;
    } catch (error) {
      // The first attempt of a call whose answer was lost may have written it: the key has an object all the same.
      if ((error as Error).name === "PreconditionFailed") return false;
      throw refused("PutObject", bucket, key, error);
    }
  }
}

function refused(operation: string, bucket: string, key: string, error: unknown): SiltstoneError {
  const subject = `s3://${bucket}/${key}`;
  const { name } = error as Error;
  if (name === "NoSuchBucket" || name === "NoSuchKey")
    return new SiltstoneError("notFound", `there is no ${subject} (${name})`, { cause: error });
  if (name === "PreconditionFailed" || name === "InvalidRange")
    return new SiltstoneError(
      "conflict",
      `${subject} was overwritten while it was read: run the same again`,
      {
        cause: error,
      },
    );
  const [writes, permission] =
    operation === "PutObject" ? [true, "s3:PutObject"] : [false, "s3:GetObject and s3:ListBucket"];
  return failure(error, { call: `S3 ${operation}`, subject, writes, permission });
}
