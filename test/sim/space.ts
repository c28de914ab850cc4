/**
 * What lies on the store of a collection at rest, and by which rule. The versions are those that retention keeps, not those above
 * the floor: that is the engine's own word, and one that never rises would keep everything.
 */
import { collectionKey, pointerKey } from "../../lib/core/format/keys.ts";
import type { Retention } from "../../lib/engine/shard/retention.ts";
import type { Oracle } from "./oracle.ts";
import { filesOf, parseKey } from "./published.ts";

/** Keys of shards that the collection has. Below one that only a former one had, what was left stays ("Deleted and made again"). */
const ownKeys = (keys: readonly string[], { collection: { name, shards } }: Oracle): string[] =>
  keys.filter((key) => key === collectionKey(name) || Number(key.split("/")[1]) < shards);

/** Deltas that a compactor has yet to ingest or to put aside. */
export function backlogOf(keys: readonly string[], oracle: Oracle): string[] {
  return ownKeys(keys, oracle).filter((key) => {
    const { shard, kind, name } = parseKey(key);
    return kind === "deltas" && !oracle.isLate(shard, name.replace(".arrow", ""));
  });
}

/** Objects that no rule keeps, where nothing was written for `restMs`, no pin is held, and garbage was collected. */
export function unkeptKeys(
  keys: readonly string[],
  oracle: Oracle,
  { retention: { versionsKept, keptMsMax }, restMs }: { retention: Retention; restMs: number },
): string[] {
  const { name, shards } = oracle.collection;
  const kept = new Set([collectionKey(name)]);
  for (let shard = 0; shard < shards; shard++) {
    const ref = `${name}/${shard}`;
    kept.add(pointerKey({ collection: name, shard }));
    const { version } = oracle.current(ref);
    const oldest = version - (keptMsMax < restMs ? 0 : versionsKept);
    for (const published of oracle.shard(ref).versions.values())
      if (published.version >= oldest) for (const key of filesOf(ref, published)) kept.add(key);
  }
  // What was put aside stays until a person decides, also a copy whose maker died, and whose delta was ingested after all.
  return ownKeys(keys, oracle).filter((key) => !kept.has(key) && parseKey(key).kind !== "quarantine");
}
