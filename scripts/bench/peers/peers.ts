/** Everything that is measured side by side. */
import { chroma } from "./chroma.ts";
import { lancedb } from "./lancedb.ts";
import type { Peer } from "./peer.ts";
import { pglite } from "./pglite.ts";
import { siltstone } from "./siltstone.ts";
import { sqliteVec } from "./sqlite-vec.ts";
import { usearch } from "./usearch.ts";

export const peers: readonly Peer[] = [
  siltstone,
  usearch("f32"),
  usearch("f16"),
  lancedb,
  chroma,
  pglite,
  sqliteVec,
];
