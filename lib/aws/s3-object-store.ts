/**
 * The object store on Amazon S3. S3 is strongly consistent and lists in byte order, so this adapter translates and
 * nothing more: answers into outcomes, errors into kinds (failure.ts).
 *
 * Requests are counted where they leave, so that the SDK's own retries and the parts of a multipart upload are in the
 * count too.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  type _Error as S3DeleteError,
  UploadPartCopyCommand,
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
import { failure, statusOf } from "./failure.ts";
import { type S3Bounds, s3SocketsMax } from "./request-handler.ts";

/** Of the connections; the rest is left to requests that are not reads. */
const readsShare = 7 / 8;
/** S3's own limits. */
const deleteKeysMax = 1000;
/** 10,000 parts of this size carry 80 GB, eight times what a Lambda's disk holds. */
const uploadPartBytes = 8 * 1024 * 1024;
/** Together with the part size this bounds the memory of an upload: 32 MiB. */
const uploadPartsAtOnce = 4;
/**
 * A larger object is copied in parts of this size, or of as much more as their number demands. S3 copies up to 5 GB in one
 * request, but sends no answer for so long that it seems to send no answer.
 */
const copyPartBytes = 256 * 1024 * 1024;
const copyPartsMax = 10_000;
const copyPartsAtOnce = 16;
/** 100 million keys: far above any prefix this product writes, a bound on a server that never ends a list. */
const listPagesMax = 100_000;
const failuresShown = 5;

export interface S3ObjectStoreOptions extends Pick<S3Bounds, "bodyAttempts" | "sockets"> {
  /**
   * Whether the role may list the bucket. S3 says that a key is absent only to who may; to others it is denied, like one that
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
      const { answer, body } = await this.#reads(() => this.#read(command, bytesMax));
      if (body === null) throw tooLarge(key, answer.ContentLength!, bytesMax);
      return { kind: "found", body, etag: answer.ETag! };
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
      const { answer, body } = await this.#reads(() => this.#read(command, bytesMax));
      if (body === null) return { kind: "tooLarge", bytes: answer.ContentLength! };
      return { kind: "found", body, modifiedMs: answer.LastModified!.getTime() };
    } catch (error) {
      if (isAbsent(error)) return { kind: "absent" };
      const failed = this.#failure(error, "GetObject", key);
      if (isRefusal(error)) return { kind: "refused", error: failed };
      throw failed;
    }
  }

  /**
   * The answer with its body; null, and the connection dropped, when that has more bytes. A body that breaks off is asked for
   * again; the SDK retries only up to the headers.
   */
  async #read(
    command: GetObjectCommand,
    bytesMax: number,
  ): Promise<{ answer: GetObjectCommandOutput; body: Buffer | null }> {
    for (let attempt = 1; ; attempt++) {
      let answered = false;
      try {
        const answer = await this.#client.send(command);
        answered = true;
        if (answer.ContentLength! > bytesMax) {
          (answer.Body as Readable).destroy();
          return { answer, body: null };
        }
        const bytes = await answer.Body!.transformToByteArray();
        this.#traffic.read(bytes.length);
        return { answer, body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) };
      } catch (error) {
        if (!answered || attempt === this.#bodyAttempts) throw error;
      }
    }
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
    const what = { Bucket: this.#bucket, Key: to, ...copySource(this.#bucket, from, source.etag) };
    try {
      // Neither tags nor metadata: a copy with tags takes rights that nothing else does.
      if (source.bytes <= copyPartBytes)
        await this.#client.send(
          new CopyObjectCommand({ ...what, MetadataDirective: "REPLACE", TaggingDirective: "REPLACE" }),
        );
      else await this.#copyParts(what, source.bytes);
      return source;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw this.#failure(error, "CopyObject", from);
    }
  }

  async #copyParts(
    { CopySource, CopySourceIfMatch, ...target }: { Bucket: string; Key: string } & CopySource,
    bytes: number,
  ): Promise<void> {
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(target));
    const upload = { ...target, UploadId };
    const partBytes = Math.max(copyPartBytes, Math.ceil(bytes / copyPartsMax));
    const limit = pLimit(copyPartsAtOnce);
    const copyPart = async (PartNumber: number) => {
      const start = (PartNumber - 1) * partBytes;
      const CopySourceRange = `bytes=${start}-${Math.min(bytes, start + partBytes) - 1}`;
      const answer = await this.#client.send(
        new UploadPartCopyCommand({ ...upload, CopySource, CopySourceIfMatch, PartNumber, CopySourceRange }),
      );
      return { PartNumber, ETag: answer.CopyPartResult!.ETag! };
    };
    try {
      const numbers = Array.from({ length: Math.ceil(bytes / partBytes) }, (_, i) => i + 1);
      const Parts = await Promise.all(numbers.map((number) => limit(() => copyPart(number))));
      await this.#client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }));
    } catch (error) {
      limit.clearQueue();
      // What is left of it the bucket's lifecycle rule removes.
      await this.#client.send(new AbortMultipartUploadCommand(upload)).catch(() => {});
      throw error;
    }
  }

  async *list(prefix: string, options: { startAfter?: string } = {}): AsyncIterable<readonly ObjectEntry[]> {
    let token: string | undefined;
    for (let pages = 0; pages < listPagesMax; pages++) {
      const page = await this.#page(prefix, {
        ...(token === undefined ? {} : { ContinuationToken: token }),
        ...(options.startAfter === undefined ? {} : { StartAfter: options.startAfter }),
      });
      const entries = (page.Contents ?? []).map(({ Key, Size, LastModified }) => ({
        key: Key!,
        bytes: Size!,
        modifiedMs: LastModified!.getTime(),
      }));
      if (entries.length > 0) yield entries;
      token = page.NextContinuationToken;
      if (token === undefined) return;
    }
    throw endless(this.#subject(prefix));
  }

  async listLevel(prefix: string): Promise<Level> {
    const folders: string[] = [];
    const keys: string[] = [];
    let token: string | undefined;
    for (let pages = 0; pages < listPagesMax; pages++) {
      const page = await this.#page(prefix, {
        Delimiter: "/",
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      for (const folder of page.CommonPrefixes ?? []) folders.push(folder.Prefix!.slice(prefix.length, -1));
      for (const { Key } of page.Contents ?? []) keys.push(Key!);
      token = page.NextContinuationToken;
      // S3 orders the prefixes with their slash, which puts "a.b/" before "a/".
      if (token !== undefined) continue;
      folders.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      return { folders, keys };
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
    return this.#reads(() => this.#client.send(command)).catch((error: unknown) => {
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
      writes: operation === "PutObject" || operation === "CopyObject" || operation === "DeleteObjects",
      permission: permissions[operation],
    });
  }
}

/** Without s3:ListBucket, S3 answers 403 instead of 404 for a key that is not there. */
const permissions = {
  GetObject: "s3:GetObject, and s3:ListBucket for keys that may be absent",
  HeadObject: "s3:GetObject, and s3:ListBucket for keys that may be absent",
  PutObject: "s3:PutObject, and s3:GetObject for a conditional write",
  CopyObject: "s3:GetObject and s3:PutObject",
  ListObjectsV2: "s3:ListBucket",
  DeleteObjects: "s3:DeleteObject",
} as const;

/** A bucket that does not exist answers 404 too, and must not look like a missing key. */
const isAbsent = (error: unknown): boolean =>
  statusOf(error) === 404 && !(error instanceof Error && error.name === "NoSuchBucket");

/** Neither a clock nor credentials are the reason: those have names of their own. */
const isDenied = (error: unknown): boolean => error instanceof Error && error.name === "AccessDenied";

/** 409 is a writer at the same moment. */
const isPreconditionFailed = (error: unknown): boolean => statusOf(error) === 412 || statusOf(error) === 409;

/** Asking for it again brings the same answer. */
function isRefusal(error: unknown): boolean {
  const status = statusOf(error);
  return status === 400 || status === 403;
}

interface CopySource {
  readonly CopySource: string;
  readonly CopySourceIfMatch: string;
}
/** The source as it was looked at: what has another etag by now is not copied. */
const copySource = (bucket: string, key: string, etag: string): CopySource => ({
  CopySource: `${bucket}/${key.split("/").map(encodeURIComponent).join("/")}`,
  CopySourceIfMatch: etag,
});

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
