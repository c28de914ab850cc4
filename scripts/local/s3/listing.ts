/**
 * ListObjectsV2 (and the older ListObjects) and ListObjectVersions. Keys ascend by their UTF-8 bytes; with a delimiter,
 * a scan jumps over each group instead of reading it.
 */
import { type Answer, xmlAnswer } from "./answer.ts";
import { type Catalog, keyAfterPrefix } from "./catalog.ts";
import type { ObjectVersion, ScanStart } from "./catalog-rows.ts";
import { checksumAlgorithms } from "./checksums.ts";
import { S3Error } from "./error.ts";
import { type XmlElement, xmlDocument } from "./xml.ts";

const keysMax = 1000;

interface Page {
  readonly found: ObjectVersion[];
  readonly commonPrefixes: Buffer[];
  /** Where the next page starts, or null at the end. */
  readonly next: ScanStart | null;
}
type Scan = (start: ScanStart, limit: number) => ObjectVersion[];

/** Reads one page through `scan`, folding keys that share the part up to the delimiter. */
function readPage(
  scan: Scan,
  at: { prefix: Buffer; delimiter: string; start: ScanStart; limit: number },
): Page {
  const found: ObjectVersion[] = [];
  const commonPrefixes: Buffer[] = [];
  let start: ScanStart | null = at.start;
  while (start !== null) {
    const left = at.limit - found.length - commonPrefixes.length;
    // Groups may be large: with a delimiter, look at few keys before jumping.
    const asked = at.delimiter === "" ? left + 1 : Math.min(left + 1, 32);
    const batch: ObjectVersion[] = scan(start, asked);
    const last: Buffer | undefined = batch.at(-1)?.key;
    if (last === undefined) return { found, commonPrefixes, next: null };
    let jump: ScanStart | null = null;
    for (const version of batch) {
      if (found.length + commonPrefixes.length >= at.limit) {
        return { found, commonPrefixes, next: { key: version.key, inclusive: true } };
      }
      const cut = at.delimiter === "" ? -1 : version.key.indexOf(at.delimiter, at.prefix.length);
      if (cut < 0) {
        found.push(version);
        continue;
      }
      const group = version.key.subarray(0, cut + Buffer.byteLength(at.delimiter));
      commonPrefixes.push(group);
      const behind = keyAfterPrefix(group);
      if (behind === null) return { found, commonPrefixes, next: null };
      jump = { key: behind, inclusive: true };
      break;
    }
    if (jump === null && batch.length < asked) return { found, commonPrefixes, next: null };
    start = jump ?? { key: last, inclusive: false };
  }
  return { found, commonPrefixes, next: null };
}

export function listObjects(catalog: Catalog, bucketName: string, query: URLSearchParams): Answer {
  const { name } = catalog.bucket(bucketName);
  const isV2 = query.get("list-type") === "2";
  const common = commonParameters(query);
  const token = query.get("continuation-token");
  const after = query.get(isV2 ? "start-after" : "marker") ?? "";
  const start = token === null ? { key: Buffer.from(after), inclusive: after === "" } : decodeToken(token);
  const page =
    common.limit === 0
      ? emptyPage
      : readPage((from, limit) => catalog.scan(name, common.prefix, from, limit), { ...common, start });
  const lastKey = [page.found.at(-1)?.key, page.commonPrefixes.at(-1)]
    .filter((key) => key !== undefined)
    .sort(Buffer.compare)
    .at(-1);
  return xmlAnswer(
    xmlDocument("ListBucketResult", {
      Name: name,
      Prefix: common.show(common.prefix),
      Delimiter: common.delimiter === "" ? undefined : common.show(common.delimiter),
      MaxKeys: common.limit,
      EncodingType: query.get("encoding-type") ?? undefined,
      ...(isV2
        ? {
            KeyCount: page.found.length + page.commonPrefixes.length,
            StartAfter: after === "" ? undefined : common.show(after),
            ContinuationToken: token ?? undefined,
            NextContinuationToken: page.next ? encodeToken(page.next) : undefined,
          }
        : {
            Marker: common.show(after),
            NextMarker: page.next && lastKey ? common.show(lastKey) : undefined,
          }),
      IsTruncated: page.next !== null,
      Contents: page.found.map((version) => ({ Key: common.show(version.key), ...described(version) })),
      CommonPrefixes: page.commonPrefixes.map((prefix) => ({ Prefix: common.show(prefix) })),
    }),
  );
}

export function listVersions(catalog: Catalog, bucketName: string, query: URLSearchParams): Answer {
  const { name } = catalog.bucket(bucketName);
  const common = commonParameters(query);
  if (common.delimiter !== "")
    throw new S3Error("NotImplemented", "ListObjectVersions takes no delimiter here.");
  const marker = Buffer.from(query.get("key-marker") ?? "");
  let behindVersion = query.get("version-id-marker") ?? "";
  const page =
    common.limit === 0
      ? emptyPage
      : readPage(
          (from, limit) => {
            const batch = catalog.scanVersions(name, common.prefix, from, behindVersion, limit);
            // A batch may end inside a key; the next one goes on behind its last version.
            behindVersion = batch.at(-1)?.versionId ?? "";
            return batch;
          },
          { ...common, start: { key: marker, inclusive: marker.length === 0 } },
        );
  const last = page.found.at(-1);
  const entries = (isDeleteMarker: boolean): XmlElement[] =>
    page.found
      .filter((version) => version.isDeleteMarker === isDeleteMarker)
      .map((version) => ({
        Key: common.show(version.key),
        VersionId: version.versionId,
        IsLatest: version.isLatest,
        ...described(version),
      }));
  return xmlAnswer(
    xmlDocument("ListVersionsResult", {
      Name: name,
      Prefix: common.show(common.prefix),
      KeyMarker: common.show(marker),
      VersionIdMarker: query.get("version-id-marker") ?? "",
      MaxKeys: common.limit,
      EncodingType: query.get("encoding-type") ?? undefined,
      NextKeyMarker: page.next && last ? common.show(last.key) : undefined,
      NextVersionIdMarker: page.next && last ? last.versionId : undefined,
      IsTruncated: page.next !== null,
      Version: entries(false),
      DeleteMarker: entries(true),
    }),
  );
}

const emptyPage: Page = { found: [], commonPrefixes: [], next: null };

function commonParameters(query: URLSearchParams) {
  const asked = Number(query.get("max-keys") ?? keysMax);
  if (!Number.isInteger(asked) || asked < 0)
    throw new S3Error("InvalidArgument", "max-keys has to be 0 or more.");
  const isUrl = query.get("encoding-type") === "url";
  return {
    prefix: Buffer.from(query.get("prefix") ?? ""),
    delimiter: query.get("delimiter") ?? "",
    limit: Math.min(asked, keysMax),
    show: (key: Buffer | string) =>
      isUrl ? encodeURIComponent(String(key)).replaceAll("%2F", "/") : String(key),
  };
}

function described(version: ObjectVersion): XmlElement {
  const modified = { LastModified: new Date(version.modifiedMs).toISOString() };
  if (version.isDeleteMarker) return modified;
  const algorithm = checksumAlgorithms.find((name) => version.checksums[name] !== undefined);
  return {
    ...modified,
    ETag: `"${version.etag}"`,
    ChecksumAlgorithm: algorithm?.toUpperCase(),
    Size: version.bytes,
    StorageClass: "STANDARD",
  };
}

/** A token holds the exact key bytes that the next page starts at, or behind. */
function encodeToken(start: ScanStart): string {
  return (start.inclusive ? "at-" : "behind-") + start.key.toString("base64url");
}

function decodeToken(token: string): ScanStart {
  const match = /^(at|behind)-([\w-]*)$/.exec(token);
  if (!match) throw new S3Error("InvalidArgument", "The continuation token provided is incorrect.");
  return { key: Buffer.from(match[2]!, "base64url"), inclusive: match[1] === "at" };
}
