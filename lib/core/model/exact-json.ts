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
const [quoteCode, escapeCode] = [0x22, 0x5c];

/** Reads a text that is JSON; RangeError where it is nested so deep that it cannot be. */
function withKeysApart(text: string, revive?: Reviver): unknown {
  /** By the JSON of a key: alike ones have one name, so that alike objects stay alike. */
  const names = new Map<string, string>();
  const keys = new Map<string, string>();
  const nameOf = (json: string): string => {
    const name = `key ${names.size}`;
    names.set(json, name);
    keys.set(name, JSON.parse(json) as string);
    return name;
  };
  let named = "";
  let taken = 0;
  for (let start = text.indexOf('"'); start >= 0; ) {
    let end = start + 1;
    for (let code = text.charCodeAt(end); code !== quoteCode; code = text.charCodeAt(end))
      end += code === escapeCode ? 2 : 1;
    colon.lastIndex = ++end;
    if (colon.test(text)) {
      const json = text.slice(start, end);
      named += `${text.slice(taken, start)}"${names.get(json) ?? nameOf(json)}"`;
      taken = end;
    }
    start = text.indexOf('"', end);
  }
  const reviver: Reviver | undefined =
    revive && ((name, value, context) => revive(keys.get(name) ?? name, value, context));
  const value: unknown = JSON.parse(
    named + text.slice(taken),
    reviver as ((key: string, value: unknown) => unknown) | undefined,
  );
  return renamed(value, keys);
}

/** With the keys of those names, in place of all objects. A reviver of JSON.parse would take ten times as long. */
function renamed(value: unknown, keys: ReadonlyMap<string, string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = renamed(value[i], keys);
    return value;
  }
  const object: Record<string, unknown> = {};
  for (const name in value) {
    const key = keys.get(name)!;
    const part = renamed((value as Record<string, unknown>)[name], keys);
    if (key === "__proto__")
      Object.defineProperty(object, key, {
        value: part,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    else object[key] = part;
  }
  return object;
}
