/** The live rows of one version of a shard, as they were given (version-writes.ts). */
import type { Manifest } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import type { Row } from "../../core/model/row.ts";
import { withFolder } from "../../segment/files.ts";
import type { World } from "../ports.ts";
import { VersionWrites } from "./version-writes.ts";

/** A view of the vector, which is overwritten by the next row. */
export type LiveRow = Row & { readonly vector: Float32Array };

/** Calls `take` with each, one after the other. Throws `corrupt` where a file is not what the manifest says. */
export async function eachLiveRow(
  world: Pick<World, "store">,
  collection: Collection,
  manifest: Manifest,
  take: (row: LiveRow) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const writes = await VersionWrites.open(world, collection, manifest, { folder, withVectors: true });
    try {
      for (const { isDelete, vector, ...row } of writes.all())
        if (!isDelete) await take({ ...row, vector: vector()! });
    } finally {
      writes.close();
    }
  });
}
