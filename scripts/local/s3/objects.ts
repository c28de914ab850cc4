/** Operations on single objects, and the list delete. */
import { type Answer, xmlAnswer } from "./answer.ts";
import type { Authorization } from "./authorization.ts";
import { decodeAwsChunked } from "./aws-chunked.ts";
import type { BodyFiles, ReceivedBody } from "./body-files.ts";
import { readDocument } from "./buckets.ts";
import type { Catalog } from "./catalog.ts";
import type { Bucket, Change, ObjectVersion } from "./catalog-rows.ts";
import { announcedAlgorithms, checksumElements, checksumHeaders, verifyChecksums } from "./checksums.ts";
import { checkReadCondition, writeCondition } from "./conditions.ts";
import { S3Error } from "./error.ts";
import { copySourceOf, type S3Request } from "./request.ts";
import { type XmlElement, xmlDocument, xmlElements, xmlText } from "./xml.ts";

export interface Storage {
  readonly catalog: Catalog;
  readonly bodies: BodyFiles;
}

const deletesMax = 1000;
/** S3 copies no more in one request. */
const copyBytesMax = 5 * 1024 ** 3;

/** Takes the request's body in and refuses it when a length or a checksum it came with is wrong. */
export async function receiveVerified(
  storage: Storage,
  request: S3Request,
  source: AsyncIterable<Buffer>,
): Promise<ReceivedBody> {
  const { headers } = request;
  const contentMd5 = headers["content-md5"] as string | undefined;
  if (contentMd5 !== undefined && Buffer.from(contentMd5, "base64").length !== 16) {
    throw new S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.");
  }
  const contentSha256 = String(headers["x-amz-content-sha256"] ?? "");
  const isChunked = contentSha256.startsWith("STREAMING-");
  const trailers = new Map<string, string>();
  const received = await storage.bodies.receive(isChunked ? decodeAwsChunked(source, trailers) : source, {
    algorithms: announcedAlgorithms(headers),
    sha256: /^[0-9a-f]{64}$/.test(contentSha256),
    asFile: request.operation === "UploadPart",
  });
  try {
    const length = isChunked ? headers["x-amz-decoded-content-length"] : headers["content-length"];
    if (length !== undefined && Number(length) !== received.bytes) {
      throw new S3Error(
        "IncompleteBody",
        "You did not provide the number of bytes specified by Content-Length.",
      );
    }
    if (contentMd5 !== undefined && contentMd5 !== received.md5.toString("base64")) {
      throw new S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.");
    }
    if (received.sha256 !== null && received.sha256 !== contentSha256) {
      throw new S3Error(
        "XAmzContentSHA256Mismatch",
        "The provided x-amz-content-sha256 does not match the body.",
      );
    }
    verifyChecksums(received.checksums, headers, trailers);
  } catch (error) {
    storage.bodies.discard(received.body);
    throw error;
  }
  return received;
}

/** Commits a write whose body is already durable; a body that lost its condition goes away again. */
export function commit(storage: Storage, body: ReceivedBody["body"], write: () => Change): Change {
  let change: Change;
  try {
    change = write();
  } catch (error) {
    storage.bodies.discard(body);
    throw error;
  }
  for (const old of change.discarded) storage.bodies.discard(old);
  return change;
}

export async function putObject(
  storage: Storage,
  request: S3Request,
  source: AsyncIterable<Buffer>,
): Promise<Answer> {
  const bucket = storage.catalog.bucket(request.bucket);
  const condition = writeCondition(request.headers);
  const received = await receiveVerified(storage, request, source);
  const etag = received.md5.toString("hex");
  const { body, bytes, checksums } = received;
  const object = { body, bytes, checksums, etag, headers: keptHeaders(request) };
  const change = commit(storage, body, () => storage.catalog.put(bucket, request.key, object, condition));
  return {
    status: 200,
    headers: { etag: `"${etag}"`, ...checksumHeaders(checksums), ...versionHeader(bucket, change.versionId) },
  };
}

/** What an object gives back with its bytes, as its writer set it. */
export function keptHeaders(request: S3Request): Record<string, string> {
  const kept: Record<string, string> = { "content-type": "binary/octet-stream" };
  for (const [name, value] of Object.entries(request.headers)) {
    if (typeof value !== "string") continue;
    if (
      /^(content-type|content-disposition|content-language|cache-control|expires|x-amz-meta-.+)$/.test(name)
    ) {
      kept[name] = value;
    }
    if (name === "content-encoding") {
      const rest = value.split(",").filter((coding) => coding.trim() !== "aws-chunked");
      if (rest.length > 0) kept[name] = rest.join(",").trim();
    }
  }
  return kept;
}

export function versionHeader(bucket: Bucket, versionId: string): Record<string, string> {
  return bucket.versioning === "none" ? {} : { "x-amz-version-id": versionId };
}

/** The version that a read is about, or S3's error for why there is none. */
function findReadable(
  catalog: Catalog,
  bucket: Bucket,
  key: Buffer,
  versionId: string | undefined,
): ObjectVersion {
  const version = catalog.find(bucket.name, key, versionId);
  if (version === null) {
    throw versionId === undefined
      ? new S3Error("NoSuchKey", "The specified key does not exist.")
      : new S3Error("NoSuchVersion", "The specified version does not exist.");
  }
  if (version.isDeleteMarker) {
    const headers = { "x-amz-delete-marker": "true", ...versionHeader(bucket, version.versionId) };
    throw versionId === undefined
      ? new S3Error("NoSuchKey", "The specified key does not exist.", headers)
      : new S3Error(
          "MethodNotAllowed",
          "The specified method is not allowed against a delete marker.",
          headers,
        );
  }
  return version;
}

export function getObject(storage: Storage, request: S3Request): Answer {
  const bucket = storage.catalog.bucket(request.bucket);
  const versionId = request.query.get("versionId") ?? undefined;
  const version = findReadable(storage.catalog, bucket, request.key, versionId);
  checkReadCondition(version.etag, request.headers);
  const range = parseRange(request.headers.range, version.bytes);
  const { start, limit } = range ?? { start: 0, limit: version.bytes };
  const isVerified = request.headers["x-amz-checksum-mode"]?.toString().toUpperCase() === "ENABLED";
  const headers = {
    ...version.headers,
    ...(isVerified && range === null ? checksumHeaders(version.checksums) : {}),
    ...(range === null ? {} : { "content-range": `bytes ${start}-${limit - 1}/${version.bytes}` }),
    ...versionHeader(bucket, version.versionId),
    "accept-ranges": "bytes",
    "content-length": String(limit - start),
    "last-modified": new Date(version.modifiedMs).toUTCString(),
    etag: `"${version.etag}"`,
  };
  const status = range === null ? 200 : 206;
  if (request.operation === "HeadObject") return { status, headers };
  return { status, headers, body: storage.bodies.read(version.body, start, limit) };
}

/** One byte range as half-open bounds; null means the whole object, also for several ranges, as S3 does. */
function parseRange(header: string | undefined, bytes: number): { start: number; limit: number } | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return null;
  const [, first, last] = match;
  const start = first === "" ? Math.max(bytes - Number(last), 0) : Number(first);
  const limit = first === "" || last === "" ? bytes : Math.min(Number(last) + 1, bytes);
  if (first !== "" && last !== "" && Number(last) < Number(first)) return null;
  if (start >= bytes || (first === "" && Number(last) === 0)) {
    throw new S3Error("InvalidRange", "The requested range is not satisfiable", {
      "content-range": `bytes */${bytes}`,
    });
  }
  return { start, limit };
}

export function deleteObject(storage: Storage, request: S3Request): Answer {
  const bucket = storage.catalog.bucket(request.bucket);
  const versionId = request.query.get("versionId") ?? undefined;
  const condition = writeCondition(request.headers);
  const change = storage.catalog.delete(bucket, request.key, versionId, condition);
  for (const old of change.discarded) storage.bodies.discard(old);
  return {
    status: 204,
    headers: {
      ...versionHeader(bucket, change.versionId),
      ...(change.isDeleteMarker ? { "x-amz-delete-marker": "true" } : {}),
    },
  };
}

export async function deleteObjects(
  storage: Storage,
  request: S3Request,
  authorization: Authorization,
): Promise<Answer> {
  const bucket = storage.catalog.bucket(request.bucket);
  const document = await readDocument(request.body);
  const asked = xmlElements(document, "Object");
  if (asked.length === 0 || asked.length > deletesMax) {
    throw new S3Error("MalformedXML", `The list has to name 1 to ${deletesMax} objects.`);
  }
  const isQuiet = xmlText(document, "Quiet") === "true";
  const condition = { ifMatch: undefined, ifNoneMatch: undefined };
  const Deleted: XmlElement[] = [];
  const refused: XmlElement[] = [];
  for (const object of asked) {
    const Key = xmlText(object, "Key") ?? "";
    const VersionId = xmlText(object, "VersionId");
    const Message = authorization.denialOfDelete(request, Key, VersionId);
    if (Message !== null) {
      refused.push({ Key, VersionId, Code: "AccessDenied", Message });
      continue;
    }
    const change = storage.catalog.delete(bucket, Buffer.from(Key), VersionId, condition);
    for (const old of change.discarded) storage.bodies.discard(old);
    const marker = change.isDeleteMarker
      ? { DeleteMarker: true, DeleteMarkerVersionId: change.versionId }
      : {};
    Deleted.push({ Key, VersionId, ...marker });
  }
  return xmlAnswer(xmlDocument("DeleteResult", { ...(isQuiet ? {} : { Deleted }), Error: refused }));
}

/** The object that a copy is made of; S3 refuses one that is too large for a single request. */
export function copySource({ catalog }: Storage, request: S3Request): ObjectVersion {
  const { headers } = request;
  const { bucket, key, versionId } = copySourceOf(request)!;
  const source = findReadable(catalog, catalog.bucket(bucket), key, versionId);
  checkReadCondition(source.etag, {
    "if-match": headers["x-amz-copy-source-if-match"] as string | undefined,
    "if-none-match": headers["x-amz-copy-source-if-none-match"] as string | undefined,
  });
  return source;
}

export function checkCopyBytes(bytes: number): void {
  if (bytes <= copyBytesMax) return;
  throw new S3Error(
    "InvalidRequest",
    `The specified copy source is larger than the maximum allowable size for a copy source: ${copyBytesMax}`,
  );
}

export function copyObject(storage: Storage, request: S3Request): Answer {
  const { headers } = request;
  const source = copySource(storage, request);
  checkCopyBytes(source.bytes);
  const bucket = storage.catalog.bucket(request.bucket);
  const isReplaced = headers["x-amz-metadata-directive"] === "REPLACE";
  const condition = writeCondition(headers);
  const { bytes, etag, checksums } = source;
  const body = storage.bodies.duplicate(source.body, 0, bytes);
  const object = {
    body,
    bytes,
    etag,
    checksums,
    headers: isReplaced ? keptHeaders(request) : source.headers,
  };
  const change = commit(storage, body, () => storage.catalog.put(bucket, request.key, object, condition));
  const copied = storage.catalog.find(bucket.name, request.key, change.versionId);
  return xmlAnswer(
    xmlDocument("CopyObjectResult", {
      ETag: `"${etag}"`,
      LastModified: new Date(copied?.modifiedMs ?? source.modifiedMs).toISOString(),
      ...checksumElements(checksums),
    }),
    versionHeader(bucket, change.versionId),
  );
}
