/**
 * An item's chunks as rows of its collection. Their ids follow from the item's id and their number (UUIDv5), so that another
 * text's chunks replace them; their metadata is the item's, with `item`, `chunk`, `chunkStart`, `chunkLimit` (UTF-16 units of the text,
 * half open) and `contentHash` of the whole text.
 */
import { documentBytesMax } from "../core/model/check-records.ts";
import type { Collection } from "../core/model/collection.ts";
import { derivedId } from "../core/model/derived-id.ts";
import { inputBytesMax } from "../core/model/embedding-profile.ts";
import { encodeMetadata } from "../core/model/metadata.ts";
import type { DeltaRow, Metadata } from "../core/model/row.ts";
import { type Chunk, chunksOf } from "../embedding/chunks.ts";
import type { Item } from "./item.ts";

/** Of the built-in embedder, which knows words and has no window. */
const lexicalBytesMax = 1_500;

export const chunkId = (item: string, chunk: number): string =>
  derivedId({ tenant: "items", source: "items", sourceId: item, chunk });

export const chunkKeys = ["item", "chunk", "chunkStart", "chunkLimit", "contentHash"] as const;

/** UTF-8 bytes that a chunk of the collection has at most. */
export function chunkBytesMax({ embedder }: Collection): number {
  if (embedder === null || embedder === "lexical") return lexicalBytesMax;
  return Math.min(documentBytesMax, inputBytesMax(embedder) - Buffer.byteLength(embedder.documentPrefix));
}

export const itemChunks = (collection: Collection, text: string): Chunk[] =>
  chunksOf(text, { bytesMax: chunkBytesMax(collection) });

export function chunkMetadata(
  { item, contentHash, metadata }: Pick<Item, "item" | "contentHash" | "metadata">,
  { index, start, limit }: Pick<Chunk, "index" | "start" | "limit">,
): Metadata {
  return {
    ...metadata,
    ...{ item, chunk: index, chunkStart: start, chunkLimit: limit, contentHash: contentHash! },
  };
}

export const chunkRow = (item: Item, chunk: Chunk, vector: Float32Array): DeltaRow => ({
  id: chunkId(item.item, chunk.index),
  version: item.version,
  vector,
  document: chunk.text,
  metadata: encodeMetadata(chunkMetadata(item, chunk)),
});

/** Of the chunks from `chunks` up to what may ever have been written. */
export const tombstones = (item: Item, chunks: number): DeltaRow[] =>
  Array.from({ length: Math.max(0, item.highWater - chunks) }, (_, i) => ({
    id: chunkId(item.item, chunks + i),
    version: item.version,
    ...{ vector: null, document: null, metadata: null },
  }));
