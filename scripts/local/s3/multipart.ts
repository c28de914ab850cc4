/**
 * Multipart uploads. Each part is a file of its own; completing an upload writes one catalog row that names those files
 * in order, so that it copies nothing and is as atomic as any other write.
 */
import { createHash, randomUUID } from "node:crypto";
import { type Answer, xmlAnswer } from "./answer.ts";
import type { Body, BodyFile } from "./body-files.ts";
import { readDocument } from "./buckets.ts";
import type { Catalog } from "./catalog.ts";
import type { ObjectAttributes } from "./catalog-rows.ts";
import {
  type Checksums,
  checksumAlgorithms,
  checksumElements,
  checksumHeaders,
  startChecksum,
} from "./checksums.ts";
import { writeCondition } from "./conditions.ts";
import { S3Error } from "./error.ts";
import {
  checkCopyBytes,
  commit,
  copySource,
  keptHeaders,
  receiveVerified,
  type Storage,
  versionHeader,
} from "./objects.ts";
import type { S3Request } from "./request.ts";
import { xmlDocument, xmlElements, xmlText } from "./xml.ts";

const partNumberMax = 10_000;
/** Every part but the last has at least this size. */
const partBytesMin = 5 * 1024 * 1024;

interface Part {
  readonly number: number;
  readonly bytes: number;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksums: Checksums;
  readonly body: Body;
}

export function createUpload({ catalog }: Storage, request: S3Request): Answer {
  const { name } = catalog.bucket(request.bucket);
  const id = randomUUID().replaceAll("-", "");
  const attributes: ObjectAttributes = { headers: keptHeaders(request), checksums: {} };
  catalog
    .sql("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)")
    .run(id, name, request.key, JSON.stringify(attributes), Date.now());
  const algorithm = request.headers["x-amz-checksum-algorithm"];
  return xmlAnswer(
    xmlDocument("InitiateMultipartUploadResult", { Bucket: name, Key: request.key.toString(), UploadId: id }),
    typeof algorithm === "string"
      ? { "x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": "COMPOSITE" }
      : {},
  );
}

function findUpload(catalog: Catalog, request: S3Request): { id: string; attributes: ObjectAttributes } {
  const { name } = catalog.bucket(request.bucket);
  const id = request.query.get("uploadId") ?? "";
  const row = catalog
    .sql("SELECT attributes FROM uploads WHERE id = ? AND bucket = ? AND key = ?")
    .get(id, name, request.key);
  if (!row) throw new S3Error("NoSuchUpload", "The specified multipart upload does not exist.");
  return { id, attributes: JSON.parse(row.attributes as string) };
}

function partsOf(catalog: Catalog, id: string): Map<number, Part> {
  const rows = catalog.sql("SELECT * FROM parts WHERE upload = ? ORDER BY number").all(id);
  return new Map(
    rows.map((row) => [
      row.number as number,
      {
        number: row.number as number,
        bytes: row.bytes as number,
        etag: row.etag as string,
        modifiedMs: row.modified_ms as number,
        checksums: JSON.parse(row.checksums as string),
        body: { kind: "files", files: JSON.parse(row.files as string) },
      },
    ]),
  );
}

export async function uploadPart(
  storage: Storage,
  request: S3Request,
  source: AsyncIterable<Buffer>,
): Promise<Answer> {
  const number = partNumber(storage.catalog, request);
  const { body, bytes, md5, checksums } = await receiveVerified(storage, request, source);
  const etag = md5.toString("hex");
  storePart(storage, request, { number, bytes, etag, checksums, body });
  return { status: 200, headers: { etag: `"${etag}"`, ...checksumHeaders(checksums) } };
}

/** A part of another object's bytes. Its etag stands for the copied range: bytes are not read to hash them. */
export async function uploadPartCopy(storage: Storage, request: S3Request): Promise<Answer> {
  const number = partNumber(storage.catalog, request);
  const source = copySource(storage, request);
  const range = /^bytes=(\d+)-(\d+)$/.exec(String(request.headers["x-amz-copy-source-range"] ?? ""));
  const { start, limit } = range
    ? { start: Number(range[1]), limit: Number(range[2]) + 1 }
    : { start: 0, limit: source.bytes };
  if (start >= limit || limit > source.bytes)
    throw new S3Error(
      "InvalidArgument",
      `Range specified is not valid for source object of size: ${source.bytes}`,
    );
  checkCopyBytes(limit - start);
  const body = await storage.bodies.asFiles(storage.bodies.duplicate(source.body, start, limit));
  const etag = createHash("md5").update(`${source.etag} ${start} ${limit}`).digest("hex");
  storePart(storage, request, { number, bytes: limit - start, etag, checksums: {}, body });
  const LastModified = new Date().toISOString();
  return xmlAnswer(xmlDocument("CopyPartResult", { ETag: `"${etag}"`, LastModified }));
}

function partNumber(catalog: Catalog, request: S3Request): number {
  findUpload(catalog, request);
  const number = Number(request.query.get("partNumber"));
  if (Number.isInteger(number) && number >= 1 && number <= partNumberMax) return number;
  throw new S3Error("InvalidArgument", `Part number must be an integer between 1 and ${partNumberMax}.`);
}

/** Commits a part whose body is durable, in place of an earlier one of its number. */
function storePart(storage: Storage, request: S3Request, part: Omit<Part, "modifiedMs">): void {
  const { catalog } = storage;
  const { number, bytes, etag, checksums, body } = part;
  commit(storage, body, () =>
    catalog.transaction(() => {
      const { id } = findUpload(catalog, request);
      const old = partsOf(catalog, id).get(number);
      catalog
        .sql("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)")
        .run(id, number, bytes, etag, Date.now(), JSON.stringify(checksums), JSON.stringify(filesOf(body)));
      return { versionId: "null", isDeleteMarker: false, discarded: old ? [old.body] : [] };
    }),
  );
}

export async function completeUpload(
  storage: Storage,
  request: S3Request,
  source: AsyncIterable<Buffer>,
): Promise<Answer> {
  const { catalog } = storage;
  const bucket = catalog.bucket(request.bucket);
  const document = await readDocument(source);
  const condition = writeCondition(request.headers);
  const { change, etag, checksums } = catalog.transaction(() => {
    const { id, attributes } = findUpload(catalog, request);
    const stored = partsOf(catalog, id);
    const chosen = chooseParts(document, stored);
    const digests = chosen.map((part) => Buffer.from(part.etag, "hex"));
    const etag = `${createHash("md5").update(Buffer.concat(digests)).digest("hex")}-${chosen.length}`;
    const checksums = compositeChecksums(chosen);
    const bytes = chosen.reduce((sum, part) => sum + part.bytes, 0);
    const object = { body: joined(chosen), bytes, etag, checksums, headers: attributes.headers };
    const written = catalog.putInTransaction(bucket, request.key, object, condition);
    const unused = [...stored.values()].filter((part) => !chosen.includes(part)).map((part) => part.body);
    forget(catalog, id);
    return { change: { ...written, discarded: [...written.discarded, ...unused] }, etag, checksums };
  });
  for (const old of change.discarded) storage.bodies.discard(old);
  return xmlAnswer(
    xmlDocument("CompleteMultipartUploadResult", {
      Bucket: bucket.name,
      Key: request.key.toString(),
      ETag: `"${etag}"`,
      ...checksumElements(checksums),
    }),
    versionHeader(bucket, change.versionId),
  );
}

/** The parts a client lists, checked against what was uploaded. */
function chooseParts(document: string, stored: ReadonlyMap<number, Part>): Part[] {
  const listed = xmlElements(document, "Part");
  if (listed.length === 0) throw new S3Error("MalformedXML", "The list of parts is empty.");
  const chosen = listed.map((element) => {
    const part = stored.get(Number(xmlText(element, "PartNumber")));
    const etag = xmlText(element, "ETag")?.replaceAll('"', "");
    const isSame = checksumAlgorithms.every((algorithm) => {
      const claimed = xmlText(element, `Checksum${algorithm.toUpperCase()}`);
      return claimed === undefined || claimed === part?.checksums[algorithm];
    });
    if (!part || part.etag !== etag || !isSame) {
      throw new S3Error("InvalidPart", "One or more of the specified parts could not be found or differ.");
    }
    return part;
  });
  for (const [index, part] of chosen.entries()) {
    const next = chosen[index + 1];
    if (next === undefined) continue;
    if (next.number <= part.number)
      throw new S3Error("InvalidPartOrder", "The list of parts was not in order.");
    if (part.bytes < partBytesMin)
      throw new S3Error("EntityTooSmall", "A part is smaller than the minimum size.");
  }
  return chosen;
}

/** One body of all parts, which are always files. */
function joined(parts: readonly Part[]): Body {
  return { kind: "files", files: parts.flatMap(({ body }) => filesOf(body)) };
}

function filesOf(body: Body): readonly BodyFile[] {
  if (body.kind !== "files") throw new S3Error("InternalError", "A part has no file.");
  return body.files;
}

/** S3's checksum of checksums: over the parts' raw digests, with the number of parts behind it. */
function compositeChecksums(parts: readonly Part[]): Checksums {
  const composites = checksumAlgorithms.flatMap((algorithm) => {
    if (parts.some((part) => part.checksums[algorithm] === undefined)) return [];
    const sum = startChecksum(algorithm);
    for (const part of parts) sum.update(Buffer.from(part.checksums[algorithm]!, "base64"));
    return [[algorithm, `${sum.digest().toString("base64")}-${parts.length}`]];
  });
  return Object.fromEntries(composites);
}

function forget(catalog: Catalog, id: string): void {
  catalog.sql("DELETE FROM parts WHERE upload = ?").run(id);
  catalog.sql("DELETE FROM uploads WHERE id = ?").run(id);
}

export function abortUpload(storage: Storage, request: S3Request): Answer {
  const { catalog } = storage;
  const bodies = catalog.transaction(() => {
    const { id } = findUpload(catalog, request);
    const stored = [...partsOf(catalog, id).values()];
    forget(catalog, id);
    return stored.map((part) => part.body);
  });
  for (const body of bodies) storage.bodies.discard(body);
  return { status: 204, headers: {} };
}

export function listParts({ catalog }: Storage, request: S3Request): Answer {
  const { id } = findUpload(catalog, request);
  const marker = Number(request.query.get("part-number-marker") ?? 0);
  const limit = Math.min(Number(request.query.get("max-parts") ?? 1000), 1000);
  const behind = [...partsOf(catalog, id).values()].filter((part) => part.number > marker);
  const page = behind.slice(0, limit);
  return xmlAnswer(
    xmlDocument("ListPartsResult", {
      Bucket: request.bucket,
      Key: request.key.toString(),
      UploadId: id,
      PartNumberMarker: marker,
      NextPartNumberMarker: page.at(-1)?.number ?? marker,
      MaxParts: limit,
      IsTruncated: behind.length > page.length,
      Part: page.map((part) => ({
        PartNumber: part.number,
        LastModified: new Date(part.modifiedMs).toISOString(),
        ETag: `"${part.etag}"`,
        Size: part.bytes,
        ...checksumElements(part.checksums),
      })),
    }),
  );
}

export function listUploads({ catalog }: Storage, request: S3Request): Answer {
  const { name } = catalog.bucket(request.bucket);
  const prefix = request.query.get("prefix") ?? "";
  const rows = catalog
    .sql("SELECT * FROM uploads WHERE bucket = ? ORDER BY key, created_ms LIMIT 1000")
    .all(name);
  const Upload = rows
    .map((row) => ({ row, Key: Buffer.from(row.key as Uint8Array).toString() }))
    .filter(({ Key }) => Key.startsWith(prefix))
    .map(({ row, Key }) => ({
      Key,
      UploadId: row.id as string,
      Initiated: new Date(row.created_ms as number).toISOString(),
    }));
  return xmlAnswer(xmlDocument("ListMultipartUploadsResult", { Bucket: name, IsTruncated: false, Upload }));
}
