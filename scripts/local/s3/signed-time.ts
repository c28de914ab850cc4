/**
 * The time at which a request was signed: like S3, the server refuses one that is too far from its own. Signatures
 * themselves are not checked here.
 */
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./error.ts";

/** What the server takes for the time: the machine's, or (in tests of wrong clocks) another. */
export class ServerTime {
  aheadMs = 0;

  nowMs(): number {
    return Date.now() + this.aheadMs;
  }
}

/** S3's own limit. */
const skewMaxMs = 15 * 60_000;

/** Throws RequestTimeTooSkewed. A request without a signed time (a plain HTTP client's) passes. */
export function checkSignedTime(headers: IncomingHttpHeaders, nowMs: number): void {
  const [signed, ...parts] =
    /^(\d{4})(\d\d)(\d\d)(T\d\d)(\d\d)(\d\dZ)$/.exec(String(headers["x-amz-date"] ?? "")) ?? [];
  if (signed === undefined) return;
  const [year, month, day, hour, minute, second] = parts;
  const signedMs = Date.parse(`${year}-${month}-${day}${hour}:${minute}:${second}`);
  if (Math.abs(signedMs - nowMs) <= skewMaxMs) return;
  throw new S3Error(
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large.",
    {},
    {
      RequestTime: signed,
      ServerTime: new Date(nowMs).toISOString(),
      MaxAllowedSkewMilliseconds: String(skewMaxMs),
    },
  );
}
