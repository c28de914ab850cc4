/**
 * JSON whose keys are others'. V8's `JSON.parse` in Node 24 may read a key for another of an object that it read before, whoever's that
 * was (nodejs/node issue 63785): one that is written with an escape, for one that has a backslash in the same place. So an object without
 * such a key was read as it was written. A text that has one is read again, with a name of ours for each key.
 */

/** JSON.parse's: `source` is the text of a value that is no object or list. */
export type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;

/** Throws SyntaxError, as JSON.parse does. */
export function parseExactly(text: string, revive?: Reviver): unknown {
  const value: unknown = JSON.parse(text, revive as (key: string, value: unknown) => unknown);
  return text.includes("\\") && hasMistakableKey(value) ? withKeysApart(text, revive) : value;
}

/** What a key is mistaken for has a backslash: it is compared with the key's JSON as far as that is long, and the escape is within. */
export const isMistakable = (key: string): boolean => key.includes("\\");

const { isArray } = Array;

function hasMistakableKey(value: unknown): boolean {
  const left = [value];
  const take = (part: unknown) => {
    if (typeof part === "object" && part !== null) left.push(part);
  };
  // Not recursive: a line of a file may be nested as deep as it is long.
  while (left.length > 0) {
    const part = left.pop();
    if (isArray(part)) part.forEach(take);
    else
      for (const key in part as object) {
        if (isMistakable(key)) return true;
        take((part as Record<string, unknown>)[key]);
      }
  }
  return false;
}

const colon = /[ \t\r\n]*:/y;

/** Reads a text that is JSON; RangeError where it is nested so deep that it cannot be. */
function withKeysApart(text: string, revive: Reviver = (_, value) => value): unknown {
  /** By the JSON of a key: alike ones have one name, so that alike objects stay alike. */
  const names = new Map<string, string>();
  const pieces: string[] = [];
  let taken = 0;
  for (let start = text.indexOf('"'); start >= 0; ) {
    let end = start + 1;
    while (text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
    colon.lastIndex = ++end;
    if (colon.test(text)) {
      const key = text.slice(start, end);
      const name = names.get(key) ?? `key ${names.size}`;
      names.set(key, name);
      pieces.push(text.slice(taken, start), `"${name}"`);
      taken = end;
    }
    start = text.indexOf('"', end);
  }
  pieces.push(text.slice(taken));
  const keys = new Map([...names].map(([key, name]) => [name, JSON.parse(key) as string]));
  const named = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null || isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [keys.get(name)!, part]));
  };
  const reviver: Reviver = (key, value, context) => revive(keys.get(key) ?? key, named(value), context);
  return JSON.parse(pieces.join(""), reviver as (key: string, value: unknown) => unknown);
}
