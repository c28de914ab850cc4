/**
 * JSON from outside: its bounds come before its parsing. A text of six million brackets, keys or numbers costs seconds
 * to parse and to check, so that one scan first proves that it is JSON whose parts are as many as a call may have; it ends
 * at the first that is too much. A mistake is named by its position, and never quoted: it may be in a user's document.
 */

import { callRowsMax } from "../core/model/check-records.ts";
import { invalid } from "../core/model/errors.ts";
import { filterDepthMax } from "../core/model/filter.ts";

/**
 * The deepest call is a filter's: a level of it is an object in a list, and the last holds {"field": {"$in": [...]}}. The
 * call itself is the first object. Every recursive reader behind the handler can go as deep.
 */
export const jsonLevelsMax = 2 * filterDepthMax + 2;
/** Keys of one object: far more than metadata may have, or a level of a filter. */
export const jsonKeysMax = 1_024;
/** Entries of one list: no list of a call is longer than its records. */
export const jsonEntriesMax = callRowsMax;

/** UTF-16 units. A shorter text is parsed before it could be scanned, whatever is in it. */
const scannedUnitsMin = 64 * 1024;

/** The value of a JSON text; `invalid` names the position of the first mistake, or the bound that it breaks. */
export function parseJson(text: string): unknown {
  if (text.length >= scannedUnitsMin) refuseMistake(text);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    refuseMistake(text);
    throw error;
  }
}

function refuseMistake(text: string): void {
  const mistake = scan(text);
  if (mistake === null) return;
  const before = text.slice(0, mistake.at).split("\n");
  const where = `position ${mistake.at} (line ${before.length}, column ${before.at(-1)!.length + 1})`;
  throw refusal(
    mistake.isJson ? `${mistake.reason}, at ${where}` : `not JSON at ${where}: ${mistake.reason}`,
  );
}

/** The same bounds for a value that Lambda has parsed. The recursion is bounded by them too. */
export function checkJsonBounds(value: unknown, level = 0): void {
  if (typeof value !== "object" || value === null) return;
  if (level >= jsonLevelsMax) throw refusal(tooDeep);
  if (Array.isArray(value)) {
    if (value.length > jsonEntriesMax) throw refusal(tooManyEntries);
    for (const part of value) if (typeof part === "object") checkJsonBounds(part, level + 1);
    return;
  }
  const parts = Object.values(value);
  if (parts.length > jsonKeysMax) throw refusal(tooManyKeys);
  for (const part of parts) checkJsonBounds(part, level + 1);
}

const tooDeep = `nested deeper than ${jsonLevelsMax} levels`;
const tooManyKeys = `an object has more than ${jsonKeysMax} keys`;
const tooManyEntries = `a list has more than ${jsonEntriesMax} entries`;
const refusal = (reason: string) => invalid(`body: ${reason}`, [{ field: "body", reason }]);

/** Where the first mistake is; thrown inside the scan only. */
class Mistake {
  readonly at: number;
  readonly reason: string;
  /** Of a bound, and not of JSON's grammar. */
  readonly isJson: boolean;

  constructor(at: number, reason: string, isJson = false) {
    this.at = at;
    this.reason = reason;
    this.isJson = isJson;
  }
}

/** The first mistake of a text, or null: then JSON.parse takes it (test/aws/json-text.test.ts compares the two). */
function scan(text: string): Mistake | null {
  try {
    const end = afterSpace(text, afterValue(text, afterSpace(text, 0), 0));
    return end === text.length ? null : new Mistake(end, "something follows the value");
  } catch (error) {
    if (error instanceof Mistake) return error;
    throw error;
  }
}

/** UTF-16 units: reading them costs a quarter of reading texts of one character. */
const code = {
  '"': 0x22,
  "\\": 0x5c,
  "{": 0x7b,
  "}": 0x7d,
  "[": 0x5b,
  "]": 0x5d,
  ":": 0x3a,
  ",": 0x2c,
  "+": 0x2b,
  "-": 0x2d,
  ".": 0x2e,
  "0": 0x30,
  "9": 0x39,
  " ": 0x20,
  "\t": 0x09,
  "\n": 0x0a,
  "\r": 0x0d,
  t: 0x74,
  f: 0x66,
  n: 0x6e,
  e: 0x65,
  E: 0x45,
} as const;

// Each takes the position where its part begins and gives the one after it.
function afterValue(text: string, start: number, level: number): number {
  switch (text.charCodeAt(start)) {
    case code["{"]:
    case code["["]:
      return afterParts(text, start, level);
    case code['"']:
      return afterString(text, start);
    case code.t:
      return afterWord(text, start, "true");
    case code.f:
      return afterWord(text, start, "false");
    case code.n:
      return afterWord(text, start, "null");
    default:
      return afterNumber(text, start);
  }
}

function afterParts(text: string, start: number, level: number): number {
  if (level >= jsonLevelsMax) throw new Mistake(start, tooDeep, true);
  const isObject = text.charCodeAt(start) === code["{"];
  const end = isObject ? code["}"] : code["]"];
  let at = afterSpace(text, start + 1);
  if (text.charCodeAt(at) === end) return at + 1;
  for (let parts = 1; ; parts++) {
    if (isObject) {
      if (parts > jsonKeysMax) throw new Mistake(at, tooManyKeys, true);
      at = afterKey(text, at);
    } else if (parts > jsonEntriesMax) throw new Mistake(at, tooManyEntries, true);
    at = afterSpace(text, afterValue(text, at, level + 1));
    const unit = text.charCodeAt(at);
    if (unit === end) return at + 1;
    if (unit !== code[","]) throw ended(text, at, `a comma or ${isObject ? "}" : "]"} is expected`);
    at = afterSpace(text, at + 1);
  }
}

function afterKey(text: string, start: number): number {
  if (text.charCodeAt(start) !== code['"']) throw ended(text, start, "a key in quotes is expected");
  const at = afterSpace(text, afterString(text, start));
  if (text.charCodeAt(at) !== code[":"]) throw ended(text, at, "a colon is expected");
  return afterSpace(text, at + 1);
}

function afterString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === code['"']) return at + 1;
    if (unit < code[" "]) throw new Mistake(at, "a control character in a text must be escaped");
    if (unit === code["\\"]) at = afterEscape(text, at) - 1;
  }
  throw ended(text, text.length, "");
}

function afterEscape(text: string, start: number): number {
  const escaped = text[start + 1];
  if (escaped !== undefined && '"\\/bfnrt'.includes(escaped)) return start + 2;
  if (escaped !== "u") throw ended(text, start + 1, "an unknown escape");
  for (let at = start + 2; at < start + 6; at++)
    if (!/^[0-9a-fA-F]$/.test(text[at] ?? "")) throw ended(text, at, "four hex digits are expected");
  return start + 6;
}

function afterWord(text: string, start: number, word: string): number {
  for (let i = 0; i < word.length; i++)
    if (text[start + i] !== word[i]) throw ended(text, start + i, "a value is expected");
  return start + word.length;
}

function afterNumber(text: string, start: number): number {
  let at = text.charCodeAt(start) === code["-"] ? start + 1 : start;
  if (!isDigit(text, at)) throw ended(text, at, at === start ? "a value is expected" : "a digit is expected");
  at = text.charCodeAt(at) === code["0"] ? at + 1 : afterDigits(text, at);
  let unit = text.charCodeAt(at);
  if (unit === code["."]) {
    at = afterDigits(text, at + 1);
    unit = text.charCodeAt(at);
  }
  if (unit !== code.e && unit !== code.E) return at;
  unit = text.charCodeAt(at + 1);
  return afterDigits(text, unit === code["+"] || unit === code["-"] ? at + 2 : at + 1);
}

function afterDigits(text: string, start: number): number {
  if (!isDigit(text, start)) throw ended(text, start, "a digit is expected");
  let at = start + 1;
  while (isDigit(text, at)) at++;
  return at;
}

const isDigit = (text: string, at: number): boolean => {
  const unit = text.charCodeAt(at);
  return unit >= code["0"] && unit <= code["9"];
};

function afterSpace(text: string, start: number): number {
  let at = start;
  // Mostly there is none.
  for (let unit = text.charCodeAt(at); unit <= code[" "]; unit = text.charCodeAt(++at))
    if (unit !== code[" "] && unit !== code["\n"] && unit !== code["\r"] && unit !== code["\t"]) return at;
  return at;
}

const ended = (text: string, at: number, reason: string): Mistake =>
  new Mistake(at, at >= text.length ? "the text ends too early" : reason);
