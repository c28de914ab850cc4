/** `<collection>/collection.json`: the configuration as a sealed JSON object (sealed-json.ts). */
import { type Collection, collectionFormat, collectionProblems } from "../model/collection.ts";
import { corrupt } from "../model/errors.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

export const encodeCollection = (collection: Collection): Buffer => encodeSealed(collection);

/** Reads a stored configuration. Throws `corrupt`, naming `key`. */
export function decodeCollection(bytes: Uint8Array, key: string): Collection {
  const value = decodeSealed(bytes, key, collectionFormat, 1) as Collection;
  const problems = collectionProblems(value);
  if (problems.length > 0) throw corrupt(key, problems.map((p) => `${p.field} ${p.reason}`).join("; "));
  return value;
}
