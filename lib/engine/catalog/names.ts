/**
 * Names: one key space for collections and aliases. Who makes either puts `name.json`, if absent, before anything else below the name: one
 * key, one winner. Where there is a collection.json the name is a collection's all the same: older code makes no claims.
 */

import { collectionPrefix, nameKey } from "../../core/format/keys.ts";
import { decodeName, encodeName, type NameKind } from "../../core/format/name-json.ts";
import { sealedBytesMax } from "../../core/format/sealed-json.ts";
import { checkCollectionName } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { ObjectStore } from "../ports.ts";

/** Takes a name that is free, or that one of this kind has or was about to have. Throws `conflict` where it is of the other kind. */
export async function claimName(store: ObjectStore, name: string, kind: NameKind): Promise<void> {
  const put = await store.put(nameKey(name), encodeName({ name, kind }), { ifAbsent: true });
  if (put.kind === "written") return;
  const found = await readClaim(store, name);
  if (found === null)
    throw new SiltstoneError("unavailable", `${nameKey(name)} could not be written; repeat the call`);
  if (found !== kind)
    throw new SiltstoneError(
      "conflict",
      `${name} is the name of ${article(found)}, or of one whose making or deletion has not ended; ` +
        `take another name, or free it with \`silt ${found} delete ${name} --confirm ${name}\``,
    );
}

export async function readClaim(store: ObjectStore, name: string): Promise<NameKind | null> {
  const key = nameKey(name);
  const found = await store.get(key, { bytesMax: sealedBytesMax });
  return found.kind === "found" ? decodeName(found.body, key, name).kind : null;
}

/** A key below the name that is not its claim, or null: what keeps another from being made there. */
export async function remainsOf(store: ObjectStore, name: string): Promise<string | null> {
  for await (const page of store.list(collectionPrefix(name)))
    for (const { key } of page) if (key !== nameKey(name)) return key;
  return null;
}

/** Folders that may be collections or aliases, ascending; and what lies beside them. */
export async function listNames(store: ObjectStore): Promise<{ names: string[]; strangers: string[] }> {
  const { folders, keys } = await store.listLevel("");
  const others = folders.filter((name) => !isName(name)).map((name) => `${name}/`);
  return { names: folders.filter(isName), strangers: [...keys, ...others] };
}

function isName(name: string): boolean {
  try {
    checkCollectionName(name);
    return true;
  } catch {
    return false;
  }
}

const article = (kind: NameKind): string => (kind === "alias" ? "an alias" : "a collection");
