/** Local files of segments: hashing what was written, reading rows back, and the folder a run works in. */
import { createHash } from "node:crypto";
import { closeSync, createReadStream, openSync, readSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { pipeline } from "node:stream/promises";
import type { SegmentFile } from "../core/format/keys.ts";
import type { FileEntry, Segment } from "../core/format/manifest.ts";
import { Checksum, digestBytes, digestOf, type RowSum } from "../core/format/row-checksum.ts";
import { SiltstoneError } from "../core/model/errors.ts";
import type { Row } from "../core/model/row.ts";
import { openRecords, storedRows, storedTombstones } from "./records-db.ts";

/** Read at a time, and no more than the file has: strong reads make and read back many small files. */
const readBytes = 1 << 20;

export async function hashFile(path: string): Promise<FileEntry> {
  const sha256 = createHash("sha256");
  const { size: bytes } = statSync(path);
  await pipeline(createReadStream(path, { highWaterMark: Math.min(Math.max(bytes, 1), readBytes) }), sha256);
  return { bytes, sha256: sha256.digest("hex") };
}

/** Also of a write that ended early, which is how a disk says that it is full now. */
export const shortageIn = (place: string, cause?: unknown): SiltstoneError =>
  shortage(
    `no space is left on the local disk, in ${place}; give the function more ephemeral storage`,
    cause,
  );

const shortage = (message: string, cause: unknown): SiltstoneError =>
  new SiltstoneError("unavailable", message, { cause });

/** SQLite's own codes are in the low byte. */
const sqlite = { noMemory: 7, full: 13, cannotOpen: 14 } as const;

/** What the machine has too little of, in words that say what to do; any other error as it is. */
export function asShortage(error: unknown, folder: string): unknown {
  const { code, errcode } = (error ?? {}) as { code?: unknown; errcode?: unknown };
  switch (typeof errcode === "number" ? errcode & 0xff : code) {
    case "ENOSPC":
    case sqlite.full:
      return shortageIn(folder, error);
    case "EMFILE":
    case "ENFILE":
    case sqlite.cannotOpen:
      return shortage(
        `no file descriptor is left to open what is in ${folder}: other code of this process may use them, or its limit is too low (\`ulimit -n\`)`,
        error,
      );
    case "ENOMEM":
    case sqlite.noMemory:
      return shortage(`no memory is left to open what is in ${folder}; give the function more`, error);
    default:
      return error;
  }
}

/** Runs `work` with an empty folder that is gone afterwards, whatever happens. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  let folder: string | null = null;
  try {
    folder = await mkdtemp(join(tmpdir(), "siltstone-"));
    return await work(folder);
  } catch (error) {
    throw asShortage(error, folder ?? tmpdir());
  } finally {
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  }
}

/** What has been opened together, and is closed together: also when the next of it does not open. */
export class Opened {
  readonly #all: { close(): void }[] = [];

  add<T extends { close(): void }>(one: T): T {
    this.#all.push(one);
    return one;
  }

  /** Closes all of it. Throws what the first throws that does not close. */
  close(): void {
    const [one, ...others] = this.#all.splice(0);
    this.#all.push(...others);
    if (one === undefined) return;
    try {
      one.close();
    } finally {
      this.close();
    }
  }
}

/** Vectors of vectors.f32 by label; reads ahead while labels ascend by one, so that a scan costs few reads. */
export class VectorFile {
  readonly #fd: number;
  readonly #dims: number;
  readonly #rows: number;
  readonly #ahead: number;
  #block: Float32Array | null = null;
  #start = 0;
  #limit = 0;

  constructor(path: string, dims: number) {
    this.#fd = openSync(path, "r");
    this.#dims = dims;
    this.#rows = statSync(path).size / (dims * 4);
    this.#ahead = Math.max(1, Math.floor(Math.min(readBytes / (dims * 4), this.#rows)));
  }

  /** A view that is overwritten by later calls. */
  at(label: number): Float32Array {
    this.#block ??= new Float32Array(this.#ahead * this.#dims);
    if (label < this.#start || label >= this.#limit) {
      const ahead = label === this.#limit ? this.#ahead : 1;
      const count = Math.min(ahead, this.#rows - label);
      const bytes = count * this.#dims * 4;
      const got = count > 0 ? readSync(this.#fd, this.#block, 0, bytes, label * this.#dims * 4) : 0;
      if (count <= 0 || got !== bytes) throw new Error(`vectors.f32: no row ${label} of ${this.#rows}`);
      this.#start = label;
      this.#limit = label + count;
    }
    const offset = (label - this.#start) * this.#dims;
    return this.#block.subarray(offset, offset + this.#dims);
  }

  /** A copy of the rows of a half-open range of labels, packed. */
  rows(start: number, limit: number): Float32Array {
    const rows = new Float32Array((limit - start) * this.#dims);
    const got = readSync(this.#fd, rows, 0, rows.byteLength, start * this.#dims * 4);
    if (got !== rows.byteLength) throw new Error(`vectors.f32: no rows ${start} to ${limit}`);
    return rows;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Every row (with its label) and tombstone, read back from the files. Vectors are views that are overwritten. */
export function* rowsOf(db: DatabaseSync, vectors: VectorFile): Generator<Row & { label: number | null }> {
  for (const row of storedRows(db)) yield { ...row, vector: vectors.at(row.label) };
  for (const tombstone of storedTombstones(db))
    yield { ...tombstone, label: null, vector: null, document: null, metadata: null };
}

export interface Measured {
  readonly sum: RowSum;
  readonly rows: number;
  readonly slots: number;
  readonly minVersion: number;
  readonly maxVersion: number;
  /** The digest of each label's row, digestBytes each. */
  readonly digests: Buffer;
}

/** Rows between two checkpoints. */
const checkpointRows = 1024;

/** What records.db and vectors.f32 really hold. `checkpoint` is awaited between slices of work and may throw to stop. */
export async function measureRows(
  folder: string,
  dims: number,
  checkpoint: () => Promise<void> = async () => {},
): Promise<Measured> {
  const slots = statSync(join(folder, "vectors.f32")).size / (dims * 4);
  const opened = new Opened();
  try {
    const db = opened.add(openRecords(join(folder, "records.db")));
    const vectors = opened.add(new VectorFile(join(folder, "vectors.f32"), dims));
    const checksum = new Checksum();
    const digests = Buffer.alloc(slots * digestBytes);
    let rows = 0;
    let minVersion = Number.MAX_SAFE_INTEGER;
    let maxVersion = 0;
    for (const row of rowsOf(db, vectors)) {
      const digest = digestOf(row);
      checksum.addDigest(digest);
      if (row.label !== null) {
        digest.copy(digests, row.label * digestBytes);
        rows += 1;
      }
      minVersion = Math.min(minVersion, row.version);
      maxVersion = Math.max(maxVersion, row.version);
      if (checksum.rows % checkpointRows === 0) await checkpoint();
    }
    minVersion = Math.min(minVersion, maxVersion);
    return { sum: checksum.sum(), rows, slots, minVersion, maxVersion, digests };
  } finally {
    opened.close();
  }
}

/** Entries of a segment's files, for its manifest. */
export type SegmentFiles = Partial<Record<SegmentFile, FileEntry>>;

export async function hashFiles(folder: string, names: readonly SegmentFile[]): Promise<SegmentFiles> {
  const files: SegmentFiles = {};
  for (const name of names) files[name] = await hashFile(join(folder, name));
  return files;
}

/**
 * Describes a segment by what its files really hold, read back after writing: the half of the conservation check that
 * does not trust the code that wrote them.
 */
export const describeSegment = (
  { id, kind }: Pick<Segment, "id" | "kind">,
  { sum, rows, slots, minVersion, maxVersion }: Measured,
  files: SegmentFiles,
): Segment => ({ id, kind, rows, tombstones: sum.rows - rows, slots, minVersion, maxVersion, sum, files });
