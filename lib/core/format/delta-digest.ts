/**
 * The digest of a delta: sha256 over its header and the content of its rows in a form that does not depend on how Arrow
 * laid them out, so that any language can make it in a few lines (docs/format.md has them in Python):
 *
 *   1. "siltstone delta 1\n"
 *   2. collection, collectionId, shard, embeddingVersion, dims, producer, createdAtMs, count: each as text
 *   3. each row: op byte (1 upsert, 2 delete), version as int64, then id, document, metadata as text
 *   4. the vectors of all upserts, float32 after float32, without anything between
 *
 * Text is its UTF-8 length as uint32, then its bytes; a missing text is the length 0xFFFFFFFF alone. All numbers are
 * little-endian. The lengths make the form unambiguous: two deltas with the same bytes here have the same content.
 */
import { createHash, type Hash } from "node:crypto";

const domain = "siltstone delta 1\n";
const missingText = 0xffffffff;
/** Small pieces are gathered up to this size: one hash call for many rows. */
const gatherBytes = 64 * 1024;

const opByte = { upsert: 1, delete: 2 } as const;
export type DeltaOp = keyof typeof opByte;

export class DeltaDigest {
  readonly #hash: Hash = createHash("sha256");
  readonly #gathered = Buffer.allocUnsafe(gatherBytes);
  #used = 0;

  constructor(headerTexts: readonly string[]) {
    this.#hash.update(domain);
    for (const text of headerTexts) this.#text(Buffer.from(text, "utf8"));
  }

  row(op: DeltaOp, version: bigint, texts: readonly (Uint8Array | null)[]): void {
    this.#reserve(9);
    this.#used = this.#gathered.writeUInt8(opByte[op], this.#used);
    this.#used = this.#gathered.writeBigInt64LE(version, this.#used);
    for (const text of texts) this.#text(text);
  }

  /** Vectors of upserts, after the last row. */
  vectors(values: Float32Array): void {
    this.#flush();
    this.#hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }

  hex(): string {
    this.#flush();
    return this.#hash.digest("hex");
  }

  #text(bytes: Uint8Array | null): void {
    this.#reserve(4);
    this.#used = this.#gathered.writeUInt32LE(bytes?.length ?? missingText, this.#used);
    if (bytes === null) return;
    if (bytes.length > gatherBytes / 4) {
      this.#flush();
      this.#hash.update(bytes);
    } else {
      this.#reserve(bytes.length);
      this.#gathered.set(bytes, this.#used);
      this.#used += bytes.length;
    }
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes > gatherBytes) this.#flush();
  }

  #flush(): void {
    this.#hash.update(this.#gathered.subarray(0, this.#used));
    this.#used = 0;
  }
}
