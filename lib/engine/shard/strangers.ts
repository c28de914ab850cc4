/**
 * Strangers: objects below the product's prefixes that it did not make, such as a delta whose ULID is in lower case. No
 * code reads them, and none deletes them either, since what they are to those who put them there is unknown: they are reported.
 */

import {
  collectionKey,
  collectionPrefix,
  deletedKey,
  nameKey,
  pointerKey,
  type ShardRef,
  shardFolders,
  shardPrefix,
  textsFolder,
} from "../../core/format/keys.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { ObjectStore } from "../ports.ts";

/** Told the key of each one that a LIST meets, again and again; a folder's key ends in "/". */
export type OnStranger = (key: string) => void;
export const ignoreStranger: OnStranger = () => {};

/** Named one by one; of more only the number is known. */
const namedMax = 100;

/** Known one from the other; each that is met beyond is counted every time. */
const distinctMax = 10_000;

/** Strangers that one LIST below deltas/ reports: every writer may put objects there. */
export const listedStrangersMax = 10_000;

/** Tells of those that one LIST meets; throws `unavailable` for one too many, so that no LIST goes on for ever. */
export function strangersOfList(prefix: string, see: OnStranger): OnStranger {
  let met = 0;
  return (key) => {
    see(key);
    met += 1;
    if (met > listedStrangersMax)
      throw new SiltstoneError(
        "unavailable",
        `${prefix} has more than ${listedStrangersMax} objects that are not deltas, and deltas behind them are not looked for; ` +
          'stop who writes them, and delete them (docs/runbook.md, "Strangers")',
      );
  };
}

export interface StrangersFound {
  readonly count: number;
  /** The first of them, ascending. */
  readonly keys: readonly string[];
}

export class Strangers {
  readonly #keys = new Set<string>();
  #unnamed = 0;

  readonly see: OnStranger = (key) => {
    if (this.#keys.size < distinctMax) this.#keys.add(key);
    else if (!this.#keys.has(key)) this.#unnamed += 1;
  };

  /** Those of a part. */
  add({ count, keys }: StrangersFound): void {
    for (const key of keys) this.see(key);
    this.#unnamed += count - keys.length;
  }

  get found(): StrangersFound {
    return { count: this.#keys.size + this.#unnamed, keys: [...this.#keys].sort().slice(0, namedMax) };
  }
}

/** Those beside a collection's configuration and shards. */
export async function seeBesideShards(
  store: ObjectStore,
  { name, shards }: Collection,
  see: OnStranger,
): Promise<void> {
  const known = new Set([textsFolder, ...Array.from({ length: shards }, (_, shard) => String(shard))]);
  const keys = new Set([nameKey(name), collectionKey(name), deletedKey(name)]);
  await seeLevel(store, { prefix: collectionPrefix(name), folders: known, keys }, see);
}

/** Those beside a shard's pointer and folders. */
export function seeBesideFolders(store: ObjectStore, shard: ShardRef, see: OnStranger): Promise<void> {
  const known = {
    prefix: shardPrefix(shard),
    folders: new Set<string>(shardFolders),
    keys: new Set([pointerKey(shard)]),
  };
  return seeLevel(store, known, see);
}

async function seeLevel(
  store: ObjectStore,
  known: { prefix: string; folders: ReadonlySet<string>; keys: ReadonlySet<string> },
  see: OnStranger,
): Promise<void> {
  const { folders, keys } = await store.listLevel(known.prefix);
  for (const key of keys) if (!known.keys.has(key)) see(key);
  for (const folder of folders) if (!known.folders.has(folder)) see(`${known.prefix}${folder}/`);
}
