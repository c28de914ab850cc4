/**
 * A copy of what a caller gave, taken before anything is awaited: the caller may go on using its objects, and a vector
 * buffer is often filled anew for the next call. As deep as a call is read: call, list, record, metadata, list of strings.
 */
import { isPlainObject } from "./metadata.ts";

const levelsMax = 5;

/** Plain objects, lists and float32 vectors are copied, each property asked for once; what else there is stays as it is. */
export function ownCopy(value: unknown, levels = levelsMax): unknown {
  if (typeof value !== "object" || value === null || levels === 0) return value;
  if (value instanceof Float32Array) return new Float32Array(value);
  if (Array.isArray(value)) {
    const copy: unknown[] = [...value];
    for (let i = 0; i < copy.length; i++)
      if (typeof copy[i] === "object") copy[i] = ownCopy(copy[i], levels - 1);
    return copy;
  }
  if (!isPlainObject(value)) return value;
  // Every key becomes the copy's own, "__proto__" too.
  const copy: Record<string, unknown> = { ...value };
  for (const key of Object.keys(copy))
    if (typeof copy[key] === "object") copy[key] = ownCopy(copy[key], levels - 1);
  return copy;
}
