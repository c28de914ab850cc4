/** Everything that is measured side by side. */

import { bareHnswlib } from "../bare-hnswlib.ts";
import { chroma } from "./chroma.ts";
import { lancedb } from "./lancedb.ts";
import type { Peer } from "./peer.ts";
import { pglite } from "./pglite.ts";
import { siltstone, siltstoneUrl } from "./siltstone.ts";
import { sqliteVec } from "./sqlite-vec.ts";
import { usearch } from "./usearch.ts";

export const peers: readonly Peer[] = [
  siltstone,
  bareHnswlib,
  usearch("f32"),
  usearch("f16"),
  lancedb,
  pglite,
  sqliteVec,
  siltstoneUrl,
  chroma,
];
