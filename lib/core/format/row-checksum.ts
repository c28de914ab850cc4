/**
 * The conservation checksum: order-independent, additive, 128 bits.
 *
 * A row's digest covers everything that a row is. A set's checksum is the sum of its rows' digests modulo 2^128, so it
 * does not depend on order, two sets can be added, and what went in can be compared with what was kept plus what was
 * superseded without holding either set. It guards against our own mistakes; each file's sha256 guards its bytes.
 */
import { hash } from "node:crypto";
import { endianness } from "node:os";
import type { Row } from "../model/row.ts";

if (endianness() !== "LE") throw new Error("siltstone needs a little-endian processor");

const mask64 = (1n << 64n) - 1n;
const absent = 0xffffffff;
let scratch = Buffer.alloc(64 * 1024);

export class Checksum {
  rows = 0;
  #low = 0n;
  #high = 0n;

  add(row: Row): this {
    return this.addDigest(digestOf(row));
  }

  addDigest(digest: Buffer): this {
    return this.#plus(1, digest.readBigUInt64LE(0), digest.readBigUInt64LE(8));
  }

  /** Adds another set's count and checksum. */
  addSum(sum: RowSum): this {
    const value = BigInt(`0x${sum.checksum}`);
    return this.#plus(sum.rows, value & mask64, value >> 64n);
  }

  sum(): RowSum {
    const value = (this.#high << 64n) | this.#low;
    return { rows: this.rows, checksum: value.toString(16).padStart(32, "0") };
  }

  #plus(rows: number, low: bigint, high: bigint): this {
    this.rows += rows;
    const sum = this.#low + low;
    this.#low = sum & mask64;
    this.#high = (this.#high + high + (sum >> 64n)) & mask64;
    return this;
  }
}

/** How many rows, and the sum of their digests as 32 hex digits. */
export interface RowSum {
  readonly rows: number;
  readonly checksum: string;
}
export const noRows: RowSum = { rows: 0, checksum: "0".repeat(32) };

export const sumOf = (rows: Iterable<Row>): RowSum => {
  const checksum = new Checksum();
  for (const row of rows) checksum.add(row);
  return checksum.sum();
};

export const addSums = (...sums: readonly RowSum[]): RowSum =>
  sums.reduce((total, sum) => total.addSum(sum), new Checksum()).sum();

export const equalSums = (a: RowSum, b: RowSum): boolean => a.rows === b.rows && a.checksum === b.checksum;

/** Bytes of a row's digest: the first of the sha256 over its fields, each with its length in front. */
export const digestBytes = 16;

export function digestOf(row: Row): Buffer {
  const texts = [row.id, row.delta, row.document, row.metadata];
  const bytesMax =
    texts.reduce((n, text) => n + 4 + (text?.length ?? 0) * 3, 24) + (row.vector?.byteLength ?? 0);
  if (scratch.length < bytesMax) scratch = Buffer.alloc(bytesMax * 2);
  let at = scratch.writeBigInt64LE(BigInt(row.version), 0);
  at = scratch.writeUInt32LE(row.row, at);
  for (const text of texts) {
    if (text === null) {
      at = scratch.writeUInt32LE(absent, at);
    } else {
      const bytes = scratch.write(text, at + 4, "utf8");
      scratch.writeUInt32LE(bytes, at);
      at += 4 + bytes;
    }
  }
  if (row.vector === null) {
    at = scratch.writeUInt32LE(absent, at);
  } else {
    at = scratch.writeUInt32LE(row.vector.byteLength, at);
    scratch.set(new Uint8Array(row.vector.buffer, row.vector.byteOffset, row.vector.byteLength), at);
    at += row.vector.byteLength;
  }
  return hash("sha256", scratch.subarray(0, at), "buffer").subarray(0, digestBytes);
}
