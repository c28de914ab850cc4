/** `<alias>/alias.json`: where an alias leads, as a sealed JSON object; made if absent, and overwritten with If-Match only. */
import { type Alias, aliasFormat, aliasProblems } from "../model/alias.ts";
import { corrupt } from "../model/errors.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

export const encodeAlias = (alias: Alias): Buffer => encodeSealed(alias);

/** Throws `corrupt`, naming `key`. */
export function decodeAlias(bytes: Uint8Array, key: string, name: string): Alias {
  const alias = decodeSealed(bytes, key, aliasFormat) as Alias;
  const problems = aliasProblems(alias);
  if (problems.length > 0) throw corrupt(key, problems.map((p) => `${p.field} ${p.reason}`).join("; "));
  if (alias.name !== name) throw corrupt(key, `it is of the alias ${alias.name}`);
  return alias;
}
