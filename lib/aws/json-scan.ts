/**
 * The scan that comes before the parsing of JSON from outside: one pass over the bytes, by a table of states, with a counter for
 * each level. It ends at the first mistake, or at the first part that is too much. What it lets through, JSON.parse takes
 * (test/aws/json-text.test.ts compares the two).
 */

import { callRowsMax } from "../core/model/check-records.ts";
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

export const tooDeep = `nested deeper than ${jsonLevelsMax} levels`;
export const tooManyKeys = `an object has more than ${jsonKeysMax} keys`;
export const tooManyEntries = `a list has more than ${jsonEntriesMax} entries`;

/** `at` is the position of its byte. `isJson`: of a bound, and not of JSON's grammar. */
export interface Mistake {
  readonly at: number;
  readonly reason: string;
  readonly isJson: boolean;
}

/**
 * The first mistake of a UTF-8 text, or null. What each byte is compared with is local: constants of a module take twice as long to look up.
 */
export function firstMistake(bytes: Uint8Array): Mistake | null {
  const { mistake, openObject, openList, closeObject, closeList, comma } = codes;
  const { moves, value, list, object, key, next } = table;
  const [length, entriesMax] = [bytes.length, jsonEntriesMax];
  // Of the innermost object or list: what closes it, and its parts so far. Those around it wait in the two lists.
  let closing: number = mistake;
  let parts = 0;
  const closings = new Uint8Array(jsonLevelsMax);
  const counts = new Uint32Array(jsonLevelsMax);
  let level = 0;
  let state = value;
  for (let at = 0; ; at++) {
    let move: number = mistake;
    // Most bytes are of texts and numbers, and of what parts them in a list.
    for (; at < length; at++) {
      move = moves[(state << 8) | bytes[at]!]!;
      if (move > comma) state = move;
      else if (move === comma && closing === closeList && parts < entriesMax) {
        parts++;
        state = value;
      } else break;
    }
    if (at === length) break;
    if (move === comma && closing !== mistake) {
      const isObject = closing === closeObject;
      if (++parts > (isObject ? jsonKeysMax : jsonEntriesMax))
        return { at, reason: isObject ? tooManyKeys : tooManyEntries, isJson: true };
      state = isObject ? key : value;
    } else if (move === openObject || move === openList) {
      if (level === jsonLevelsMax) return { at, reason: tooDeep, isJson: true };
      closings[level] = closing;
      counts[level++] = parts;
      closing = move === openObject ? closeObject : closeList;
      parts = 1;
      state = move === openObject ? object : list;
    } else if (move === closing && move !== mistake) {
      closing = closings[--level]!;
      parts = counts[level]!;
      state = next;
    } else {
      return { at, reason: expected(state, closing), isJson: false };
    }
  }
  const isWhole = level === 0 && moves[(state << 8) | 0x20] === next;
  return isWhole ? null : { at: length, reason: "the text ends too early", isJson: false };
}

/** What a byte can do besides leading to the next state: numbers below those of the states. */
const actions = ["mistake", "{", "[", "}", "]", ","];
const codes = { mistake: 0, openObject: 1, openList: 2, closeObject: 3, closeList: 4, comma: 5 } as const;

const space = " \t\n\r";
const digits = "0123456789";
const hex = `${digits}abcdefABCDEF`;

/** The bytes that may come in a state, and the state or action that each leads to. */
type Moves = Readonly<Record<string, string>>;

const beginning: Moves = {
  ...{ "{": "{", "[": "[", '"': "text", "-": "minus", "0": "zero", "123456789": "integer" },
  ...{ t: "t", f: "f", n: "n" },
};
/** A number has no end of its own: what may come after a value ends it. */
const following: Moves = { [space]: "next", ",": ",", "}": "}", "]": "]" };
const text = (name: string, after: string): Readonly<Record<string, Moves>> => ({
  [name]: { '"': after, "\\": `${name} escape` },
  [`${name} escape`]: { '"\\/bfnrt': name, u: `${name} hex 4` },
  [`${name} hex 4`]: { [hex]: `${name} hex 3` },
  [`${name} hex 3`]: { [hex]: `${name} hex 2` },
  [`${name} hex 2`]: { [hex]: `${name} hex 1` },
  [`${name} hex 1`]: { [hex]: name },
});

const grammar: Readonly<Record<string, Moves>> = {
  value: { [space]: "value", ...beginning },
  list: { [space]: "list", ...beginning, "]": "]" },
  object: { [space]: "object", '"': "key text", "}": "}" },
  key: { [space]: "key", '"': "key text" },
  colon: { [space]: "colon", ":": "value" },
  next: following,
  ...text("text", "next"),
  ...text("key text", "colon"),
  minus: { "0": "zero", "123456789": "integer" },
  zero: { ".": "point", eE: "exponent", ...following },
  integer: { [digits]: "integer", ".": "point", eE: "exponent", ...following },
  point: { [digits]: "fraction" },
  fraction: { [digits]: "fraction", eE: "exponent", ...following },
  exponent: { "+-": "sign", [digits]: "power" },
  sign: { [digits]: "power" },
  power: { [digits]: "power", ...following },
  ...{ t: { r: "tr" }, tr: { u: "tru" }, tru: { e: "next" } },
  ...{ f: { a: "fa" }, fa: { l: "fal" }, fal: { s: "fals" }, fals: { e: "next" } },
  ...{ n: { u: "nu" }, nu: { l: "nul" }, nul: { l: "next" } },
};
const names = [...actions, ...Object.keys(grammar)];
const numberOf = (name: string): number => names.indexOf(name);
const table = {
  /** By state and byte: the next state, or the action. */
  moves: new Uint8Array(names.length << 8),
  value: numberOf("value"),
  list: numberOf("list"),
  object: numberOf("object"),
  key: numberOf("key"),
  next: numberOf("next"),
};
for (const [name, moves] of Object.entries(grammar)) {
  const row = table.moves.subarray(numberOf(name) << 8, (numberOf(name) + 1) << 8);
  // Every byte that is no control character, those of longer characters too.
  if (name.endsWith("text")) row.fill(numberOf(name), 0x20);
  for (const [bytes, to] of Object.entries(moves))
    for (const byte of Buffer.from(bytes)) row[byte] = numberOf(to);
}

function expected(state: number, closing: number): string {
  const name = names[state]!;
  if (name.endsWith("text")) return "a control character in a text must be escaped";
  if (name.endsWith("escape")) return "an unknown escape";
  if (name.includes("hex")) return "four hex digits are expected";
  if (name === "object" || name === "key") return "a key in quotes is expected";
  if (name === "colon") return "a colon is expected";
  if (["minus", "point", "exponent", "sign"].includes(name)) return "a digit is expected";
  if (!("," in grammar[name]!)) return "a value is expected";
  return closing === codes.mistake
    ? "something follows the value"
    : `a comma or ${actions[closing]} is expected`;
}
