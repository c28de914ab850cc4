/** What the golden files hold. */
import type { DeltaRow } from "../../lib/core/delta.ts";
import type { DeltaHeader } from "../../lib/core/delta-header.ts";

export const goldenDeltaHeader: DeltaHeader = {
  collection: "notes_v1",
  collectionId: "01JD0000000000000000000000",
  shard: 0,
  embeddingVersion: "lexical-1",
  dims: 4,
  producer: "golden",
  createdAtMs: 1_763_000_000_000,
};

export const goldenDeltaRows: readonly DeltaRow[] = [
  {
    id: "note-1#0",
    version: 1,
    vector: Float32Array.of(0.5, -0.25, 0.125, 1),
    document: "Deltas settle into segments.",
    metadata: '{"lang":"en","pages":12,"public":true,"tags":["stone","silt"]}',
  },
  { id: "note-1#1", version: 1, vector: null, document: null, metadata: null },
  {
    id: "Straße/石/🪨",
    version: Number.MAX_SAFE_INTEGER,
    vector: Float32Array.of(1e18, 1.401298464324817e-45, -0, 2),
    document: "",
    metadata: null,
  },
];
