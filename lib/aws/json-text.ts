/**
 * JSON from outside: its bounds come before its parsing. A text of six million brackets, keys or numbers costs seconds
 * to parse and to check. A mistake is named by its position, and never quoted: it may be in a user's document.
 */

import { invalid } from "../core/model/errors.ts";
import { isMistakable, parseExactly } from "../core/model/exact-json.ts";
import {
  firstMistake,
  jsonEntriesMax,
  jsonKeysMax,
  jsonLevelsMax,
  tooDeep,
  tooManyEntries,
  tooManyKeys,
} from "./json-scan.ts";

/** The value of a JSON text; `invalid` names the position of the first mistake, or the bound that it breaks. */
export function parseJson(text: string): unknown {
  const bytes = Buffer.from(text);
  const mistake = firstMistake(bytes);
  if (mistake === null) return parseExactly(text);
  const { reason, isJson } = mistake;
  const where = placeIn(bytes.subarray(0, mistake.at));
  throw refusal(isJson ? `${reason}, at ${where}` : `not JSON at ${where}: ${reason}`);
}

/** Where a text ends, in UTF-16 units, which editors count by: one pass, as a text may have millions of lines. */
function placeIn(before: Uint8Array): string {
  let position = 0;
  let line = 1;
  let lineStart = 0;
  const { length } = before;
  for (let at = 0; at < length; at++) {
    const byte = before[at]!;
    // Bytes that continue a character count for nothing; one of four bytes is two units.
    if ((byte & 0xc0) !== 0x80) position += byte < 0xf0 ? 1 : 2;
    if (byte === 0x0a) {
      line++;
      lineStart = position;
    }
  }
  return `position ${position} (line ${line}, column ${position - lineStart + 1})`;
}

const { isArray } = Array;

const mistakable =
  "a key has a backslash, and Lambda's own JSON reader may have read it for another (nodejs/node issue 63785); send the call " +
  "over the function's URL, where it is read exactly, or rename the key";

/**
 * The same bounds for a value that Lambda has parsed. The recursion is bounded by them too. Nobody can tell here what the key was that
 * is read with a backslash.
 */
export function checkJsonBounds(value: unknown, level = 0): void {
  if (typeof value !== "object" || value === null) return;
  if (level >= jsonLevelsMax) throw refusal(tooDeep);
  if (isArray(value)) {
    if (value.length > jsonEntriesMax) throw refusal(tooManyEntries);
    for (const part of value) if (typeof part === "object") checkJsonBounds(part, level + 1);
    return;
  }
  let keys = 0;
  // A list of the keys of each of 65,536 records would cost more than everything else here.
  for (const key in value) {
    if (++keys > jsonKeysMax) throw refusal(tooManyKeys);
    if (isMistakable(key)) throw refusal(mistakable);
    const part = (value as Record<string, unknown>)[key];
    if (typeof part === "object") checkJsonBounds(part, level + 1);
  }
}

const refusal = (reason: string) => invalid(`body: ${reason}`, [{ field: "body", reason }]);
