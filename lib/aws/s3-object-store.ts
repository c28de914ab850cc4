/**
 * The object store on Amazon S3. S3 is strongly consistent and lists in byte order, so this adapter translates and
 * nothing more: answers into outcomes, errors into kinds (failure.ts).
 *
 * Requests are counted where they leave, so that the SDK's own retries and the parts of a multipart upload are in the
 * count too.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  type _Error as S3DeleteError,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { corrupt, invalid, SiltstoneError } from "../core/errors.ts";
import type {
  ByteRange,
  GetResult,
  ObjectEntry,
  ObjectStore,
  PutCondition,
  PutResult,
} from "../engine/ports.ts";
import type { Traffic } from "../engine/traffic.ts";
import { failure, statusOf } from "./failure.ts";

/** S3's own limits. */
const deleteKeysMax = 1000;
/** 10,000 parts of this size carry 80 GB, eight times what a Lambda's disk holds. */
const uploadPartBytes = 8 * 1024 * 1024;
/** Together with the part size this bounds the memory of an upload: 32 MiB. */
const uploadPartsAtOnce = 4;
/** A body that breaks off is asked for again; the SDK retries only up to the headers. */
const bodyAttemptsMax = 3;
/** 100 million keys: far above any prefix this product writes, a bound on a server that never ends a list. */
const listPagesMax = 100_000;
const failuresShown = 5;

export class S3ObjectStore implements ObjectStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #traffic: Traffic;

  constructor(client: S3Client, bucket: string, traffic: Traffic) {
    this.#client = client;
    this.#bucket = bucket;
    this.#traffic = traffic;
    // The deserialize step is run once for every attempt.
    client.middlewareStack.add(
      (next) => async (args) => {
        traffic.request();
        return next(args);
      },
      { step: "deserialize", name: "siltstoneTraffic", override: true },
    );
  }

  async get(key: string, options: { range?: ByteRange; ifNoneMatch?: string } = {}): Promise<GetResult> {
    const command = new GetObjectCommand({
      Bucket: this.#bucket,
      Key: key,
      ...(options.range ? { Range: rangeHeader(key, options.range) } : {}),
      ...(options.ifNoneMatch === undefined ? {} : { IfNoneMatch: options.ifNoneMatch }),
    });
    for (let attempt = 1; ; attempt++) {
      let answered = false;
      try {
        const answer = await this.#client.send(command);
        answered = true;
        const bytes = await answer.Body!.transformToByteArray();
        this.#traffic.read(bytes.length);
        const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
        return { kind: "found", body, etag: answer.ETag! };
      } catch (error) {
        if (answered && attempt < bodyAttemptsMax) continue;
        const status = statusOf(error);
        if (status === 304) return { kind: "notModified" };
        if (isAbsent(error)) return { kind: "absent" };
        if (status === 416 && options.range) {
          const { start, limit } = options.range;
          throw corrupt(
            key,
            `it ends before byte ${start}; bytes ${start} to ${limit - 1} were asked for`,
            error,
          );
        }
        throw this.#failure(error, "GetObject", key);
      }
    }
  }

  async head(key: string): Promise<{ bytes: number; etag: string } | null> {
    try {
      const answer = await this.#client.send(new HeadObjectCommand({ Bucket: this.#bucket, Key: key }));
      return { bytes: answer.ContentLength!, etag: answer.ETag! };
    } catch (error) {
      if (isAbsent(error)) return null;
      throw this.#failure(error, "HeadObject", key);
    }
  }

  async put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult> {
    try {
      const answer = await this.#client.send(
        new PutObjectCommand({ Bucket: this.#bucket, Key: key, Body: body, ...conditionHeaders(condition) }),
      );
      this.#traffic.wrote(body.length);
      return { kind: "written", etag: answer.ETag! };
    } catch (error) {
      const status = statusOf(error);
      // 409 is a writer at the same moment; 404 is If-Match on a key that is gone.
      if (condition && (status === 412 || status === 409 || isAbsent(error)))
        return { kind: "preconditionFailed" };
      throw this.#failure(error, "PutObject", key);
    }
  }

  async putFile(key: string, path: string): Promise<void> {
    // Before anything is sent: a missing file is the caller's mistake, not a failing store.
    const { size } = await stat(path);
    const upload = new Upload({
      client: this.#client,
      params: { Bucket: this.#bucket, Key: key, Body: createReadStream(path) },
      partSize: uploadPartBytes,
      queueSize: uploadPartsAtOnce,
    });
    try {
      await upload.done();
      this.#traffic.wrote(size);
    } catch (error) {
      throw this.#failure(error, "PutObject", key);
    }
  }

  async *list(prefix: string, options: { startAfter?: string } = {}): AsyncIterable<readonly ObjectEntry[]> {
    let token: string | undefined;
    for (let pages = 0; pages < listPagesMax; pages++) {
      const page = await this.#page(prefix, {
        ...(token === undefined ? {} : { ContinuationToken: token }),
        ...(options.startAfter === undefined ? {} : { StartAfter: options.startAfter }),
      });
      const entries = (page.Contents ?? []).map(({ Key, Size }) => ({ key: Key!, bytes: Size! }));
      if (entries.length > 0) yield entries;
      token = page.NextContinuationToken;
      if (token === undefined) return;
    }
    throw endless(this.#subject(prefix));
  }

  async listFolders(prefix: string): Promise<string[]> {
    const folders: string[] = [];
    let token: string | undefined;
    for (let pages = 0; pages < listPagesMax; pages++) {
      const page = await this.#page(prefix, {
        Delimiter: "/",
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      for (const folder of page.CommonPrefixes ?? []) folders.push(folder.Prefix!.slice(prefix.length, -1));
      token = page.NextContinuationToken;
      // S3 orders the prefixes with their slash, which puts "a.b/" before "a/".
      if (token === undefined) return folders.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }
    throw endless(this.#subject(prefix));
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (let start = 0; start < keys.length; start += deleteKeysMax) {
      const batch = keys.slice(start, start + deleteKeysMax);
      const request = { Objects: batch.map((Key) => ({ Key })), Quiet: true };
      const command = new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: request });
      const answer = await this.#client.send(command).catch((error: unknown) => {
        throw this.#failure(error, "DeleteObjects", batch[0]!);
      });
      const failed = (answer.Errors ?? []).filter(({ Code }) => Code !== "NoSuchKey");
      if (failed.length > 0) throw this.#deleteFailed(failed);
    }
  }

  async #page(prefix: string, more: { ContinuationToken?: string; StartAfter?: string; Delimiter?: string }) {
    const command = new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, ...more });
    return this.#client.send(command).catch((error: unknown) => {
      throw this.#failure(error, "ListObjectsV2", prefix);
    });
  }

  #deleteFailed(failed: readonly S3DeleteError[]): SiltstoneError {
    const shown = failed
      .slice(0, failuresShown)
      .map(({ Key, Code, Message }) => `${Key}: ${Code} ${Message ?? ""}`);
    const denied = failed.some(({ Code }) => Code === "AccessDenied");
    const hint = denied ? `; the role needs ${permissions.DeleteObjects} on this bucket` : "";
    return new SiltstoneError(
      "uncertain",
      `S3 DeleteObjects s3://${this.#bucket}: ${failed.length} keys were not deleted${hint}: ${shown.join("; ")}`,
    );
  }

  #subject(key: string): string {
    return `s3://${this.#bucket}/${key}`;
  }
  #failure(error: unknown, operation: keyof typeof permissions, key: string): SiltstoneError {
    return failure(error, {
      call: `S3 ${operation}`,
      subject: this.#subject(key),
      writes: operation === "PutObject" || operation === "DeleteObjects",
      permission: permissions[operation],
    });
  }
}

/** Without s3:ListBucket, S3 answers 403 instead of 404 for a key that is not there. */
const permissions = {
  GetObject: "s3:GetObject, and s3:ListBucket for keys that may be absent",
  HeadObject: "s3:GetObject, and s3:ListBucket for keys that may be absent",
  PutObject: "s3:PutObject, and s3:GetObject for a conditional write",
  ListObjectsV2: "s3:ListBucket",
  DeleteObjects: "s3:DeleteObject",
} as const;

/** A bucket that does not exist answers 404 too, and must not look like a missing key. */
const isAbsent = (error: unknown): boolean =>
  statusOf(error) === 404 && !(error instanceof Error && error.name === "NoSuchBucket");

function conditionHeaders(condition: PutCondition | undefined): { IfNoneMatch?: "*"; IfMatch?: string } {
  if (!condition) return {};
  return "ifAbsent" in condition ? { IfNoneMatch: "*" } : { IfMatch: condition.ifMatch };
}

/** S3 ignores an empty range and sends the whole object, so it is refused here. */
function rangeHeader(key: string, { start, limit }: ByteRange): string {
  if (Number.isSafeInteger(start) && start >= 0 && limit > start) return `bytes=${start}-${limit - 1}`;
  throw invalid(`${key}: ${start} to ${limit} is not a byte range`);
}

const endless = (subject: string): SiltstoneError =>
  new SiltstoneError("unavailable", `S3 ListObjectsV2 ${subject}: no end after ${listPagesMax} pages`);
