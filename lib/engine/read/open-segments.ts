/**
 * The segments of a shard that its reader has open: fetched and verified when a view first names them, retired when none
 * does any more, and closed, with their files, once no read can be using them.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { SegmentFile, ShardRef } from "../../core/format/keys.ts";
import { type Segment, segmentBytes } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isKind } from "../../core/model/errors.ts";
import { fold } from "../../core/model/fold.ts";
import type { SegmentId } from "../../core/model/ids.ts";
import type { Row } from "../../core/model/row.ts";
import { asShortage } from "../../segment/files.ts";
import { OpenSegment } from "../../segment/open-segment.ts";
import type { Located, SegmentWork } from "../../segment/segment-work.ts";
import { writeFlatSegment } from "../../segment/write-flat.ts";
import type { ObjectStore } from "../ports.ts";
import { fetchSegment, searchedFiles } from "../shard/segment-transfer.ts";
import type { Descriptors } from "./descriptors.ts";

/** What an open segment holds in memory and on disk, about. clusters.bin is never kept. */
export const heldBytes = (segments: readonly Segment[]): number =>
  segments.reduce(
    (sum, segment) => sum + segmentBytes(segment) - (segment.files["clusters.bin"]?.bytes ?? 0),
    0,
  );

/** Beside its vector, document and metadata, what a row takes in records.db with its indexes, about. */
const rowBytes = 400;
/** What rows of a backlog take as a segment, about: known before it is made. */
export const laidOverBytes = (rows: readonly Row[]): number =>
  rows.reduce(
    (sum, { vector, document, metadata }) =>
      sum + rowBytes + (vector?.byteLength ?? 0) + (document?.length ?? 0) + 2 * (metadata?.length ?? 0),
    0,
  );

export class OpenSegments {
  readonly #store: ObjectStore;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #folder: string;
  readonly #descriptors: Descriptors;
  readonly #work: SegmentWork;
  readonly #open = new Map<SegmentId, OpenSegment>();
  /** Those that are fetched now: `#bytes` counts them already. */
  readonly #arriving = new Set<SegmentId>();
  #retired: OpenSegment[] = [];
  #bytes = 0;
  /** Those that were damaged when they were last fetched. */
  readonly #damaged = new Set<SegmentId>();
  readonly #vectorsFetched = new WeakMap<OpenSegment, Promise<void>>();
  static #opened = 0;

  /** `folder` for their files. */
  constructor(
    store: ObjectStore,
    collection: Collection,
    shard: number,
    { folder, descriptors, work }: { folder: string; descriptors: Descriptors; work: SegmentWork },
  ) {
    this.#store = store;
    this.#descriptors = descriptors;
    this.#work = work;
    this.#collection = collection;
    this.#ref = { collection: collection.name, shard };
    this.#folder = folder;
  }

  /** Of everything whose files are here, retired segments and those on their way included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What those of the segments would take that are neither open yet nor on their way. */
  bytesToOpen(segments: readonly Segment[]): number {
    return heldBytes(segments.filter(({ id }) => !this.#open.has(id) && !this.#arriving.has(id)));
  }

  /** The segments, open; those that are not yet are fetched side by side. */
  async open(segments: readonly Segment[]): Promise<OpenSegment[]> {
    const missing = segments.filter((segment) => !this.#open.has(segment.id));
    const opened = await Promise.allSettled(missing.map((segment) => this.#fetch(segment)));
    for (const { id } of missing) this.#arriving.delete(id);
    for (const result of opened)
      if (result.status === "fulfilled") this.#open.set(result.value.segment.id, result.value);
    for (const result of opened) if (result.status === "rejected") throw result.reason;
    return segments.map((segment) => this.#open.get(segment.id)!);
  }

  /** Whether none of them was found damaged: asked before others are fetched that would be in vain. */
  mayBeWhole(segments: readonly Segment[]): boolean {
    return !segments.some(({ id }) => this.#damaged.has(id));
  }

  /** Rows of the backlog become a segment just as the compactor would make them one, so that they are searched the same way. */
  async openRows(id: SegmentId, rows: readonly Row[]): Promise<OpenSegment> {
    const folder = join(this.#folder, id);
    try {
      await mkdir(folder, { recursive: true });
      const { kept } = fold(rows);
      const segment = await this.#descriptors.making(() =>
        writeFlatSegment(folder, this.#collection, id, kept),
      );
      const opened = await OpenSegment.open(folder, this.#collection, segment, {
        pool: this.#descriptors.records,
      });
      this.#bytes += heldBytes([segment]);
      return opened;
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw asShortage(error, this.#folder);
    }
  }

  /** Makes sure that a segment's vectors as given are on disk (an hnsw segment is searched without them). */
  async fetchGivenVectors(segment: OpenSegment): Promise<void> {
    if (segment.segment.kind === "flat") return;
    // Once, however many ask meanwhile: two writers of one file would each truncate, or after a failure delete, the other's.
    const known = this.#vectorsFetched.get(segment);
    const fetched = known ?? this.#fetchFiles(segment, ["vectors.f32"]);
    this.#vectorsFetched.set(segment, fetched);
    try {
      await fetched;
    } catch (error) {
      if (this.#vectorsFetched.get(segment) === fetched) this.#vectorsFetched.delete(segment);
      throw asShortage(error, this.#folder);
    }
  }

  /** Retires all others. */
  keepOnly(segments: readonly Segment[]): void {
    const named = new Set(segments.map((segment) => segment.id));
    for (const [id, segment] of this.#open) {
      if (named.has(id)) continue;
      this.#open.delete(id);
      this.#retired.push(segment);
    }
  }

  retire(segment: OpenSegment): void {
    this.#retired.push(segment);
  }

  /** Only while there are no readers. */
  async closeRetired(): Promise<void> {
    const retired = this.#retired;
    this.#retired = [];
    for (const segment of retired) segment.close();
    for (const { folder, segment } of retired) {
      await rm(folder, { recursive: true, force: true });
      this.#bytes -= heldBytes([segment]);
    }
  }

  #fetchFiles({ segment, folder }: Located, files: readonly SegmentFile[]): Promise<void> {
    const { files: fileLimit, parts } = this.#descriptors;
    const limits = { files: fileLimit, parts, work: this.#work };
    return fetchSegment(this.#store, this.#ref, segment, files, folder, limits);
  }

  async #fetch(segment: Segment): Promise<OpenSegment> {
    // One that was retired or evicted and is wanted again must not share the folder of its former self.
    const folder = join(this.#folder, `${segment.id}-${++OpenSegments.#opened}`);
    this.#bytes += heldBytes([segment]);
    this.#arriving.add(segment.id);
    const arrived = this.#fetchFiles({ folder, segment }, searchedFiles(segment));
    try {
      const opened = await OpenSegment.open(folder, this.#collection, segment, {
        arrived,
        pool: this.#descriptors.records,
        work: this.#work,
      });
      this.#damaged.delete(segment.id);
      return opened;
    } catch (error) {
      if (isKind(error, "corrupt")) this.#damaged.add(segment.id);
      await arrived.catch(() => {}); // Nothing is written into a folder that is deleted.
      await rm(folder, { recursive: true, force: true });
      this.#bytes -= heldBytes([segment]);
      this.#arriving.delete(segment.id);
      throw asShortage(error, this.#folder);
    }
  }
}
