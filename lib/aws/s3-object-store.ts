/**
 * The object store on Amazon S3. S3 is strongly consistent and lists in byte order, so this adapter translates and
 * nothing more: answers into outcomes, errors into kinds (s3-failure.ts).
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
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import pLimit, { type LimitFunction } from "p-limit";
import { deltaBytesMax } from "../core/format/delta-header.ts";
import { corrupt, invalid, SiltstoneError } from "../core/model/errors.ts";
import { requestBounds } from "../core/policy/time-bounds.ts";
import type {
  BoundedGetResult,
  ByteRange,
  GetOptions,
  GetResult,
  Level,
  ObjectEntry,
  ObjectStore,
  PutCondition,
  PutResult,
} from "../engine/ports.ts";
import type { Traffic } from "../engine/traffic.ts";
import { statusOf } from "./failure.ts";
import { type S3Bounds, s3SocketsMax } from "./request-handler.ts";
import { type Answered, readWhole } from "./s3-body.ts";
import { copyObject } from "./s3-copy.ts";
import {
  deleteFailure,
  isAbsent,
  isDenied,
  isPreconditionFailed,
  isRefusal,
  type S3Operation,
  s3Failure,
} from "./s3-failure.ts";

/** The share of the connections that reads may take; the rest is left to other requests. */
const readsShare = 7 / 8;
/** S3's own limits. */
const deleteKeysMax = 1000;
/** 10,000 parts of this size carry 80 GB, eight times what a Lambda's disk holds. */
const uploadPartBytes = 8 * 1024 * 1024;
/** Together with the part size this bounds the memory of an upload: 32 MiB. */
const uploadPartsAtOnce = 4;
/** 100 million keys: far above any prefix this product writes, a bound on a server that never ends a list. */
const listPagesMax = 100_000;

export interface S3ObjectStoreOptions extends Pick<S3Bounds, "bodyAttempts" | "sockets"> {
  /**
   * Whether the role may list the bucket. S3 says that a key is absent only to a role that may; to others it is denied, like one that
   * they may not read, and `get` answers `absent` for both.
   * @default true
   */
  readonly mayList?: boolean;
}

const tooLarge = (key: string, bytes: number, bytesMax: number): SiltstoneError =>
  corrupt(key, `it has ${bytes} bytes; at most ${bytesMax} are read`);

export class S3ObjectStore implements ObjectStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #traffic: Traffic;
  readonly #bodyAttempts: number;
  readonly #mayList: boolean;
  /** The time of a read begins when it is begun, and not when a connection is free for it: thousands may be wanted at once. */
  readonly #reads: LimitFunction;

  constructor(
    client: S3Client,
    bucket: string,
    traffic: Traffic,
    { bodyAttempts, sockets = s3SocketsMax, mayList = true }: S3ObjectStoreOptions = requestBounds.person,
  ) {
    this.#client = client;
    this.#bucket = bucket;
    this.#traffic = traffic;
    this.#bodyAttempts = bodyAttempts;
    this.#mayList = mayList;
    this.#reads = pLimit(Math.ceil(sockets * readsShare));
    // The deserialize step is run once for every attempt.
    client.middlewareStack.add(
      (next) => async (args) => {
        traffic.request();
        return next(args);
      },
      { step: "deserialize", name: "siltstoneTraffic", override: true },
    );
  }

  async get(key: string, options: GetOptions = {}): Promise<GetResult> {
    const command = new GetObjectCommand({
      Bucket: this.#bucket,
      Key: key,
      ...(options.range ? { Range: rangeHeader(key, options.range) } : {}),
      ...(options.ifNoneMatch === undefined ? {} : { IfNoneMatch: options.ifNoneMatch }),
    });
    const { start, limit } = options.range ?? { start: 0, limit: 0 };
    const bytesMax = options.range ? limit - start : (options.bytesMax ?? deltaBytesMax);
    try {
      const { answer, body } = await this.#read(command, bytesMax);
      if (body === null) throw tooLarge(key, answer.ContentLength!, bytesMax);
      return { kind: "found", body, etag: answer.ETag!, modifiedMs: answer.LastModified!.getTime() };
    } catch (error) {
      if (error instanceof SiltstoneError) throw error;
      const status = statusOf(error);
      if (status === 304) return { kind: "notModified" };
      if (isAbsent(error) || (!this.#mayList && isDenied(error))) return { kind: "absent" };
      if (status === 416 && options.range) {
        throw corrupt(
          key,
          `it ends before byte ${start}; bytes ${start} to ${limit - 1} were asked for`,
          error,
        );
      }
      throw this.#failure(error, "GetObject", key);
    }
  }

  async getBounded(key: string, bytesMax: number): Promise<BoundedGetResult> {
    try {
      const command = new GetObjectCommand({ Bucket: this.#bucket, Key: key });
      const { answer, body } = await this.#read(command, bytesMax);
      if (body === null) return { kind: "tooLarge", bytes: answer.ContentLength! };
      return { kind: "found", body, modifiedMs: answer.LastModified!.getTime() };
    } catch (error) {
      if (isAbsent(error)) return { kind: "absent" };
      const failed = this.#failure(error, "GetObject", key);
      if (isRefusal(error)) return { kind: "refused", error: failed };
      throw failed;
    }
  }

  #read(command: GetObjectCommand, bytesMax: number): Promise<Answered> {
    const bounds = { bytesMax, attempts: this.#bodyAttempts };
    return this.#reads(() => readWhole(this.#client, command, bounds, this.#traffic));
  }

  async head(key: string): Promise<{ bytes: number; etag: string } | null> {
    try {
      const command = new HeadObjectCommand({ Bucket: this.#bucket, Key: key });
      const answer = await this.#reads(() => this.#client.send(command));
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
      // 404 is If-Match on a key that is gone.
      if (condition && (isPreconditionFailed(error) || isAbsent(error)))
        return { kind: "preconditionFailed" };
      throw this.#failure(error, "PutObject", key);
    }
  }

  async putFile(key: string, path: string): Promise<void> {
    // Before anything is sent: a missing file is the caller's mistake, not a failing store.
    const { size } = await stat(path);
    const upload = new Upload({
      client: this.#client,
      params: { Bucket: this.#bucket, Key: key, Body: createReadStream(path), IfNoneMatch: "*" },
      partSize: uploadPartBytes,
      queueSize: uploadPartsAtOnce,
    });
    try {
      await upload.done();
    } catch (error) {
      // The key is new: what is there, whole, is a first attempt's, whose answer was lost.
      const mayBe = isPreconditionFailed(error) || isAbsent(error);
      const isThere = mayBe && (await this.head(key))?.bytes === size;
      if (!isThere) throw this.#failure(error, "PutObject", key);
    }
    this.#traffic.wrote(size);
  }

  async copy(from: string, to: string): Promise<{ bytes: number } | null> {
    const source = await this.head(from);
    if (source === null) return null;
    try {
      await copyObject(this.#client, { bucket: this.#bucket, from, to, ...source });
      return source;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw this.#failure(error, "CopyObject", from);
    }
  }

  async *list(prefix: string, options: { startAfter?: string } = {}): AsyncIterable<readonly ObjectEntry[]> {
    const { startAfter } = options;
    for await (const page of this.#pages(
      prefix,
      startAfter === undefined ? {} : { StartAfter: startAfter },
    )) {
      const entries = (page.Contents ?? []).map(({ Key, Size, LastModified }) => ({
        key: Key!,
        bytes: Size!,
        modifiedMs: LastModified!.getTime(),
      }));
      if (entries.length > 0) yield entries;
    }
  }

  async listLevel(prefix: string): Promise<Level> {
    const folders: string[] = [];
    const keys: string[] = [];
    for await (const page of this.#pages(prefix, { Delimiter: "/" })) {
      for (const folder of page.CommonPrefixes ?? []) folders.push(folder.Prefix!.slice(prefix.length, -1));
      for (const { Key } of page.Contents ?? []) keys.push(Key!);
    }
    // S3 orders the prefixes with their slash, which puts "a.b/" before "a/".
    folders.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return { folders, keys };
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
      if (failed.length > 0) throw deleteFailure(this.#bucket, failed);
    }
  }

  async *#pages(
    prefix: string,
    more: { readonly StartAfter?: string; readonly Delimiter?: string },
  ): AsyncGenerator<ListObjectsV2CommandOutput> {
    const asked = { Bucket: this.#bucket, Prefix: prefix, ...more };
    let next: { readonly ContinuationToken?: string } = {};
    for (let pages = 0; pages < listPagesMax; pages++) {
      const command = new ListObjectsV2Command({ ...asked, ...next });
      const page = await this.#reads(() => this.#client.send(command)).catch((error: unknown) => {
        throw this.#failure(error, "ListObjectsV2", prefix);
      });
      yield page;
      if (page.NextContinuationToken === undefined) return;
      next = { ContinuationToken: page.NextContinuationToken };
    }
    throw endless(this.#subject(prefix));
  }

  #subject(key: string): string {
    return `s3://${this.#bucket}/${key}`;
  }
  #failure(error: unknown, operation: S3Operation, key: string): SiltstoneError {
    return s3Failure(error, { operation, subject: this.#subject(key) });
  }
}

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
