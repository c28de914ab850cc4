/**
 * From an HTTP request to what it asks for: bucket and key from either addressing style, and S3's name for the
 * operation. Only what the server does has a name; the rest is NotImplemented.
 */
import type { IncomingMessage } from "node:http";
import { S3Error } from "./error.ts";

export interface S3Request {
  readonly operation: Operation;
  readonly bucket: string;
  readonly key: Buffer;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: IncomingMessage;
}

export interface CopySource {
  readonly bucket: string;
  readonly key: Buffer;
  readonly versionId: string | undefined;
}

const keyBytesMax = 1024;

const operations = {
  service: { "GET ": "ListBuckets" },
  bucket: {
    "GET ": "ListObjects",
    "GET versions": "ListObjectVersions",
    "GET location": "GetBucketLocation",
    "GET versioning": "GetBucketVersioning",
    "GET uploads": "ListMultipartUploads",
    "PUT ": "CreateBucket",
    "PUT versioning": "PutBucketVersioning",
    "HEAD ": "HeadBucket",
    "DELETE ": "DeleteBucket",
    "POST delete": "DeleteObjects",
  },
  object: {
    "GET ": "GetObject",
    "GET uploadId": "ListParts",
    "HEAD ": "HeadObject",
    "PUT ": "PutObject",
    "PUT copy": "CopyObject",
    "PUT uploadId": "UploadPart",
    "PUT uploadId copy": "UploadPartCopy",
    "POST uploads": "CreateMultipartUpload",
    "POST uploadId": "CompleteMultipartUpload",
    "DELETE ": "DeleteObject",
    "DELETE uploadId": "AbortMultipartUpload",
  },
} as const;
type ValueOf<T> = T[keyof T];
export type Operation = ValueOf<{ [Scope in keyof typeof operations]: ValueOf<(typeof operations)[Scope]> }>;

/** Query parameters that name a sub-resource. */
const subresources = [
  "uploadId",
  "uploads",
  "delete",
  "versions",
  "versioning",
  "location",
  "acl",
  "tagging",
  "policy",
  "lifecycle",
  "cors",
  "attributes",
  "retention",
  "legal-hold",
  "partNumber",
  "encryption",
  "object-lock",
  "select",
  "restore",
];

export function parseRequest(request: IncomingMessage): S3Request {
  const target = request.url ?? "/";
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1));
  const { bucket, key } = address(path);
  const method = request.method ?? "GET";
  const subresource = subresources.find((name) => query.has(name));
  const isCopy = request.headers["x-amz-copy-source"] !== undefined;
  const what = [subresource, isCopy ? "copy" : undefined].filter((part) => part !== undefined).join(" ");
  const scope = bucket === "" ? "service" : key.length === 0 ? "bucket" : "object";
  const table: Readonly<Record<string, Operation>> = operations[scope];
  const operation = table[`${method} ${what}`];
  if (operation === undefined) {
    throw new S3Error("NotImplemented", `${method} on a ${scope} with "${what}" is not implemented.`);
  }
  return { operation, bucket, key, query, headers: request.headers, body: request };
}

/**
 * Path style (`/bucket/key`), which SDKs use at 127.0.0.1; a bucket in the Host is refused before (../request-guard.ts). The
 * path is never normalised.
 */
function address(path: string): { bucket: string; key: Buffer } {
  const slash = path.indexOf("/", 1);
  if (slash < 0) return { bucket: decodeURIComponent(path.slice(1)), key: Buffer.alloc(0) };
  return { bucket: path.slice(1, slash), key: decodeKey(path.slice(slash + 1)) };
}

/** What a copy is made of; null for other requests. */
export function copySourceOf({ headers }: Pick<S3Request, "headers">): CopySource | null {
  const header = headers["x-amz-copy-source"];
  if (header === undefined) return null;
  const [, bucket, key, versionId] = /^\/?([^/]+)\/([^?]+)(?:\?versionId=(.+))?$/.exec(String(header)) ?? [];
  if (bucket === undefined || key === undefined)
    throw new S3Error("InvalidArgument", "x-amz-copy-source has to be bucket/key.");
  return { bucket, key: decodeKey(key), versionId };
}

export function decodeKey(encoded: string): Buffer {
  let key: Buffer;
  try {
    key = Buffer.from(decodeURIComponent(encoded));
  } catch {
    throw new S3Error("InvalidURI", "Couldn't parse the specified URI.");
  }
  if (key.length > keyBytesMax) throw new S3Error("KeyTooLongError", "Your key is too long.");
  return key;
}
