/** If-Match and If-None-Match, for writes and for reads. */
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./error.ts";

export interface WriteCondition {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

export function writeCondition(headers: IncomingHttpHeaders): WriteCondition {
  const ifNoneMatch = headers["if-none-match"];
  if (ifNoneMatch !== undefined && ifNoneMatch.trim() !== "*") {
    throw new S3Error("NotImplemented", "If-None-Match on a write takes only the value *.");
  }
  return { ifMatch: headers["if-match"], ifNoneMatch };
}

/** Throws unless a write may go on over what the key holds now. */
export function checkCondition(
  current: { etag: string; isDeleteMarker: boolean } | null,
  condition: WriteCondition,
): void {
  const exists = current !== null && !current.isDeleteMarker;
  if (condition.ifNoneMatch !== undefined && exists) throw preconditionFailed("If-None-Match");
  if (condition.ifMatch !== undefined) {
    if (!exists) throw new S3Error("NoSuchKey", "The specified key does not exist.");
    if (!etagMatches(condition.ifMatch, current.etag)) throw preconditionFailed("If-Match");
  }
}

/** Throws 412 or 304 when a read's conditions say so. */
export function checkReadCondition(etag: string, headers: IncomingHttpHeaders): void {
  const { "if-match": ifMatch, "if-none-match": ifNoneMatch } = headers;
  if (ifMatch !== undefined && !etagMatches(ifMatch, etag)) throw preconditionFailed("If-Match");
  if (ifNoneMatch !== undefined && etagMatches(ifNoneMatch, etag)) {
    throw new S3Error("NotModified", "Not Modified", { etag: `"${etag}"` });
  }
}

/** A list of quoted or bare etags, or a star. */
export function etagMatches(condition: string, etag: string): boolean {
  return condition
    .split(",")
    .some((one) => one.trim() === "*" || one.trim().replace(/^(W\/)?"|"$/g, "") === etag);
}

function preconditionFailed(condition: string): S3Error {
  return new S3Error(
    "PreconditionFailed",
    `At least one of the pre-conditions you specified did not hold: ${condition}`,
  );
}
