/** What the golden files hold. */
import { type Collection, type CollectionOptions, newCollection } from "../../lib/core/model/collection.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import type { DeltaHeader } from "../../lib/core/format/delta-header.ts";

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

const goldenOptions: CollectionOptions = {
  name: "notes_v1",
  dims: 4,
  metric: "cosine",
  embedder: "lexical",
  index: { M: 12 },
  fields: { lang: "string", pages: "number", public: "boolean", tags: "string[]" },
  shards: 3,
  ordering: "source",
};
const golden = (options: Partial<CollectionOptions>): Collection =>
  newCollection({ ...goldenOptions, ...options }, "01JD0000000000000000000000", 1_763_000_000_000);
/** By file. */
export const goldenCollections: Readonly<Record<string, Collection>> = {
  "collection-v1.json": golden({}),
  "collection-v2.json": golden({ tombstoneRetention: 90 }),
  "collection-v2-never.json": golden({ tombstoneRetention: "never" }),
  "collection-v2-profile.json": golden({
    embedder: {
      provider: "jina",
      model: "jina-embeddings-v3",
      documentPrefix: "passage: ",
      queryPrefix: "Frage: ",
      inputTokensMax: 8_192,
      bytesPerToken: 2.5,
      shortened: true,
      normalise: false,
    },
  }),
};
