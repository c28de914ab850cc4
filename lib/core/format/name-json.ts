/**
 * `<name>/name.json`: whose a name is, an alias's or a collection's, as a sealed JSON object. It is put, if absent, before anything
 * else below the name, so that of an alias and a collection that are made under one name at the same time one is. Collections that older
 * code made have none: where a collection.json is, the name is a collection's, whatever is beside it.
 */
import { checkCollectionName } from "../model/collection.ts";
import { corrupt } from "../model/errors.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

export const nameKinds = ["alias", "collection"] as const;
export type NameKind = (typeof nameKinds)[number];

export interface NameClaim {
  readonly name: string;
  readonly kind: NameKind;
}

const nameFormat = 1;

export const encodeName = ({ name, kind }: NameClaim): Buffer =>
  encodeSealed({ format: nameFormat, name: checkCollectionName(name), kind });

/** Throws `corrupt`, naming `key`. */
export function decodeName(bytes: Uint8Array, key: string, name: string): NameClaim {
  const claim = decodeSealed(bytes, key, nameFormat) as Partial<NameClaim>;
  const kind = nameKinds.find((known) => known === claim.kind);
  if (claim.name !== name)
    throw corrupt(key, `it is of the name ${JSON.stringify(claim.name ?? null).slice(0, 80)}`);
  if (kind === undefined)
    throw corrupt(key, `its kind is ${JSON.stringify(claim.kind ?? null).slice(0, 40)}`);
  return { name, kind };
}
