/**
 * ULIDs: 26 characters of Crockford base 32, of which the first ten are a time, so that they sort by it. Any time is well
 * formed here: a delta's is bounded against S3's where it is listed (lib/engine/shard/deltas.ts) and against the clock where it
 * is written (lib/engine/shard/put-delta.ts), by lib/core/policy/time-bounds.ts.
 */
import { decodeTime } from "ulid";

const ulidPattern = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

export const isUlid = (text: string): boolean => ulidPattern.test(text);

/** Milliseconds since the epoch in a ULID. */
export const ulidTimeMs = (ulid: string): number => decodeTime(ulid);

/** The latest moment that a ULID can name, in ms since 1970. */
const timeMaxMs = 2 ** 48 - 1;

/** The smallest ULID of a moment: every ULID made earlier is less. */
export function ulidFloor(timeMs: number): string {
  const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  let rest = Math.min(Math.max(0, Math.floor(timeMs)), timeMaxMs);
  let text = "";
  for (let i = 0; i < 10; i++) {
    text = alphabet[rest % 32]! + text;
    rest = Math.floor(rest / 32);
  }
  return text + "0".repeat(16);
}
