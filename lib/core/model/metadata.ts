/**
 * Metadata of a record: a flat object of strings, finite numbers, booleans and lists of strings. Kept as JSON text with
 * sorted keys, so that equal metadata is equal text.
 */
import type { FieldType } from "./collection.ts";
import type { Problem } from "./errors.ts";
import type { Metadata, MetadataValue } from "./row.ts";

export const metadataKeysMax = 64;
export const metadataKeyBytesMax = 128;
export const metadataBytesMax = 40 * 1024;
/** A declared field's text goes into an index: bounded, so that one record cannot bloat it. */
export const fieldTextBytesMax = 1024;
export const fieldListMax = 256;

const valueShownMax = 40;

const beyondExact = `beyond ±${Number.MAX_SAFE_INTEGER}`;
/** Why `isInexact` numbers are refused, in metadata and filters alike. */
export const inexactReason = `is ${beyondExact}, where one number stands for several integers; write it as a string`;

/**
 * Whether a number may be another than the one that was written: 9007199254740993 is read as ...992 by all that parse JSON
 * to float64, Lambda included, and nothing tells afterwards. All numbers of that size are refused, the exact ones too.
 */
export const isInexact = (value: unknown): boolean => Number.isInteger(value) && !Number.isSafeInteger(value);

/** A value as it is shown in a reason: JSON, cut to 40 characters. */
export function shown(value: unknown): string {
  if (isInexact(value)) return `a number ${beyondExact}`;
  if (typeof value === "string") return cut(JSON.stringify(value.slice(0, valueShownMax + 1)));
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return cut(typeof value === "function" ? "a function" : String(value));
}

const cut = (text: string): string =>
  text.length > valueShownMax ? `${text.slice(0, valueShownMax)}…` : text;

/** An object as JSON.parse or a literal makes it: no array, no class instance. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // The second test accepts objects of another realm (a worker, a test sandbox).
  return prototype === null || (!Array.isArray(value) && Object.getPrototypeOf(prototype) === null);
}

/**
 * Everything that is wrong with a record's metadata; empty when it may be stored. `text` is what a delta holds of it: earlier
 * producers took numbers of any size, and a text that is their encoding of what was read from it has lost nothing.
 */
export function metadataProblems(
  fields: Readonly<Record<string, FieldType>>,
  value: unknown,
  text?: string,
): Problem[] {
  if (!isPlainObject(value)) return [{ field: "metadata", reason: `must be an object, got ${shown(value)}` }];
  const keys = Object.keys(value);
  if (keys.length > metadataKeysMax) {
    return [{ field: "metadata", reason: `has ${keys.length} keys; at most ${metadataKeysMax} are allowed` }];
  }
  const problems: Problem[] = [];
  for (const key of keys) {
    const field = `metadata.${key.slice(0, 80).toWellFormed()}`;
    const declared = Object.hasOwn(fields, key) ? fields[key] : undefined;
    const isKept = () => text !== undefined && encodeMetadata(value as Metadata) === text;
    const reason =
      keyProblem(key) ??
      valueProblem(value[key], declared) ??
      (isInexact(value[key]) && !isKept() ? inexactReason : null);
    if (reason !== null) problems.push({ field, reason });
  }
  if (problems.length === 0) {
    // As many as encodeMetadata makes of it: the order of the keys does not count.
    const bytes = Buffer.byteLength(JSON.stringify(value));
    if (bytes > metadataBytesMax) {
      problems.push({
        field: "metadata",
        reason: `is ${bytes} bytes as JSON; at most ${metadataBytesMax} are allowed`,
      });
    }
  }
  return problems;
}

function keyProblem(key: string): string | null {
  if (!key.isWellFormed()) return "the key is not well-formed Unicode (a lone surrogate)";
  const bytes = Buffer.byteLength(key);
  if (bytes < 1 || bytes > metadataKeyBytesMax) {
    return `the key has ${bytes} bytes; 1 to ${metadataKeyBytesMax} are allowed`;
  }
  // As a key of an ordinary object it would be lost or, assigned, replace the object's prototype.
  if (key === "__proto__") return "the key __proto__ is not allowed";
  return null;
}

function valueProblem(value: unknown, declared: FieldType | undefined): string | null {
  if (value === null || value === undefined) return `is ${value}; leave the key out instead`;
  const kind = kindOf(value);
  if (kind === null) {
    if (typeof value === "number") return `is ${value}; a number must be finite`;
    if (typeof value === "bigint") return inexactReason;
    if (Array.isArray(value)) return "a list may hold strings only";
    return `must be a string, number, boolean or list of strings, got ${shown(value)}`;
  }
  if (declared !== undefined && kind !== declared) {
    return `is declared as ${declared}, got ${kind === "string[]" ? "a list" : `the ${kind} ${shown(value)}`}`;
  }
  const texts = kind === "string[]" ? (value as string[]) : kind === "string" ? [value as string] : [];
  if (!texts.every((text) => text.isWellFormed())) return "is not well-formed Unicode (a lone surrogate)";
  if (declared === undefined) return null;
  if (kind === "string[]" && texts.length > fieldListMax) {
    return `has ${texts.length} entries; a declared field may have ${fieldListMax}`;
  }
  const longest = Math.max(0, ...texts.map((text) => Buffer.byteLength(text)));
  return longest > fieldTextBytesMax
    ? `has ${longest} bytes; a declared field's text may have ${fieldTextBytesMax}`
    : null;
}

/** The type of a metadata value, or null when it has no allowed type. */
function kindOf(value: unknown): FieldType | null {
  if (typeof value === "string") return "string";
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "number") return Number.isFinite(value) ? "number" : null;
  // Array.from also visits the holes of a sparse list, which every() skips.
  return Array.isArray(value) && Array.from(value).every((one) => typeof one === "string")
    ? "string[]"
    : null;
}

/** JSON text with sorted keys. The metadata must have passed metadataProblems. */
export function encodeMetadata(metadata: Metadata): string {
  const entries = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, value]: [string, MetadataValue]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
}
