/**
 * What S3 still holds of what was written under some ids, and until when: read from the objects themselves.
 *
 *  1. The manifests that are there, published or not, and the pins say which segments are kept, by what, and for how long.
 *  2. The records of every segment below the shard's prefix are asked for the ids. What cannot be read may hold them.
 *  3. So are the deltas, ingested or not, and those that were put aside.
 *  4. A graph keeps the vectors of replaced and deleted rows until it is rebuilt, without ids: those of a time in which one of
 *     the ids may be among them count as traces.
 *
 * A tombstone is not a trace: it holds an id, and no content.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeDelta } from "../../core/format/delta.ts";
import { deltaBytesMax } from "../../core/format/delta-header.ts";
import {
  deltaKey,
  deltaOfKey,
  deltaPrefix,
  quarantinedDeltaKey,
  type ShardRef,
  segmentKey,
  segmentPrefix,
} from "../../core/format/keys.ts";
import type { Manifest, Segment } from "../../core/format/manifest.ts";
import type { Collection } from "../../core/model/collection.ts";
import { isUnreadable } from "../../core/model/errors.ts";
import type { DeltaId, SegmentId } from "../../core/model/ids.ts";
import { compareOrder, type Row } from "../../core/model/row.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { mergeLimits } from "../../core/policy/merge-plan.ts";
import { openCheckedRecords } from "../../segment/check-records.ts";
import { withFolder } from "../../segment/files.ts";
import { type Write, writesOf } from "../../segment/records-db.ts";
import type { World } from "../ports.ts";
import { tombstoneKeepMsOf } from "../shard/deltas.ts";
import { readHead } from "../shard/head.ts";
import { listQuarantine } from "../shard/quarantine.ts";
import { fetchSegment } from "../shard/segment-transfer.ts";
import { type Held, heldSegments, surveyedMs, versionGoneMs, whenErased } from "./held-segments.ts";

const dayMs = 24 * 60 * 60_000;
/** Read whole into memory; a larger records.db of a segment that no version names counts as one that cannot be read. */
const unnamedBytesMax = 1024 ** 3;

/**
 * So long after a delete was acknowledged no object holds what was written before: its row is counted as stale, the segment is
 * rebuilt without it, the last version with the old one grows old; and a day for the compactor to get round to each. Pins
 * and quarantine keep it for longer, and only they do.
 */
export const erasedMs = mergeLimits.uncountedMsMax + mergeLimits.staleMsMax + versionGoneMs + dayMs;

export interface Trace {
  /** The object; of a segment the folder. */
  readonly key: string;
  /** Those of the ids that it holds, or may hold. */
  readonly ids: readonly string[];
  /** Why it is there, for people. */
  readonly heldBy: readonly string[];
  /** When it will be gone at the latest, in ms since 1970; null as long as no person acts. */
  readonly goneByMs: number | null;
}

export interface Erasure {
  /** Ids whose newest write is no delete: what was written last is kept for ever. */
  readonly live: readonly string[];
  /** Empty when no object of the shard holds anything of the others. */
  readonly traces: readonly Trace[];
}

/** The ids are all of one shard. Throws `corrupt` where the shard's own history cannot be read, `unavailable` in an outage. */
export async function findTraces(
  world: World,
  collection: Collection,
  shard: number,
  ids: readonly string[],
): Promise<Erasure> {
  return new Survey(world, collection, { collection: collection.name, shard }, ids).run();
}

class Survey {
  readonly #world: World;
  readonly #collection: Collection;
  readonly #ref: ShardRef;
  readonly #ids: ReadonlySet<string>;
  readonly #newest = new Map<string, Write>();
  readonly #traces: Trace[] = [];

  constructor(world: World, collection: Collection, ref: ShardRef, ids: readonly string[]) {
    this.#world = world;
    this.#collection = collection;
    this.#ref = ref;
    this.#ids = new Set(ids);
  }

  async run(): Promise<Erasure> {
    const head = (await readHead(this.#world.store, this.#collection, this.#ref.shard)).manifest;
    const held = await heldSegments(this.#world, this.#ref, head);
    for (const [id, one] of held) await this.#lookIntoSegment(id, one);
    await this.#lookIntoDeltas(head);
    await this.#lookIntoQuarantine();
    this.#lookForVectors(head);
    // Known when all deletes were seen.
    const traces = this.#traces.map((trace) =>
      trace.goneByMs === whenErased ? { ...trace, goneByMs: this.#erasedByMs(trace.ids) } : trace,
    );
    const live = [...this.#newest.values()].filter(({ isDelete }) => !isDelete).map(({ id }) => id);
    return { live, traces };
  }

  #erasedByMs(ids: readonly string[]): number {
    return Math.max(...ids.map((id) => this.#deletedMs(id))) + erasedMs;
  }

  /** When an id was deleted; now, where it was not yet. */
  #deletedMs(id: string): number {
    const write = this.#newest.get(id);
    const nowMs = this.#world.clock.nowMs();
    // A forgotten tombstone was made longer ago than they are kept.
    if (write === undefined) return nowMs - tombstoneKeepMsOf(this.#collection);
    return write.isDelete ? ulidTimeMs(write.delta) : nowMs;
  }

  async #lookIntoSegment(id: SegmentId, { segment, isCurrent, by, goneByMs }: Held): Promise<void> {
    const writes = await this.#recordsOf(id, segment);
    if (isCurrent) for (const write of writes ?? []) this.#see(write);
    const ids = writes === null ? [...this.#ids] : writes.filter((one) => !one.isDelete).map((one) => one.id);
    if (ids.length === 0) return;
    const heldBy = by.length === 0 ? ["a segment that no version names"] : by;
    this.#traces.push({
      key: `${segmentPrefix(this.#ref)}${id}/`,
      ids,
      heldBy: writes === null ? [...heldBy, "it cannot be read"] : heldBy,
      goneByMs,
    });
  }

  /** Null when it cannot be read: it may hold anything. */
  async #recordsOf(id: SegmentId, segment: Segment | null): Promise<Write[] | null> {
    const { store } = this.#world;
    return withFolder(async (folder) => {
      try {
        if (segment !== null) await fetchSegment(store, this.#ref, segment, ["records.db"], folder);
        else {
          const found = await store.get(segmentKey(this.#ref, id, "records.db"), {
            bytesMax: unnamedBytesMax,
          });
          // Its other files may be there: vectors without ids, of a segment that is being written or deleted as garbage.
          if (found.kind !== "found") return [];
          await writeFile(join(folder, "records.db"), found.body);
        }
        const db = await openCheckedRecords(join(folder, "records.db"), this.#collection, segment);
        try {
          return [...writesOf(db, this.#ids)];
        } finally {
          db.close();
        }
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        return null;
      }
    });
  }

  async #lookIntoDeltas({ applied }: Manifest): Promise<void> {
    const isApplied = new Set(applied);
    for await (const page of this.#world.store.list(deltaPrefix(this.#ref))) {
      for (const { key } of page) {
        const delta = deltaOfKey(this.#ref, key);
        if (delta === null) continue;
        const heldBy = [isApplied.has(delta) ? "an ingested delta" : "a delta of the backlog"];
        await this.#lookIntoDelta({ key: deltaKey(this.#ref, delta), delta }, { heldBy, isRead: true });
      }
    }
  }

  async #lookIntoQuarantine(): Promise<void> {
    for (const { delta } of await listQuarantine(this.#world.store, this.#ref)) {
      const key = quarantinedDeltaKey(this.#ref, delta);
      await this.#lookIntoDelta({ key, delta }, { heldBy: ["quarantine"], isRead: false });
    }
  }

  /** `isRead`: whether readers see it. */
  async #lookIntoDelta(
    { key, delta }: { readonly key: string; readonly delta: DeltaId },
    { heldBy, isRead }: { readonly heldBy: readonly string[]; readonly isRead: boolean },
  ): Promise<void> {
    const found = await this.#world.store.getBounded(key, deltaBytesMax);
    if (found.kind === "absent") return;
    const rows = found.kind === "found" ? rowsOf(found.body, { key, delta }) : null;
    const ours = rows?.filter(({ id }) => this.#ids.has(id)) ?? null;
    if (isRead) for (const row of ours ?? []) this.#see({ ...row, isDelete: row.vector === null });
    const ids =
      ours === null ? [...this.#ids] : ours.filter((row) => row.vector !== null).map(({ id }) => id);
    if (ids.length === 0) return;
    this.#traces.push({
      key,
      ids: [...new Set(ids)],
      heldBy: rows === null ? [...heldBy, "it cannot be read"] : heldBy,
      goneByMs: isRead && rows !== null ? whenErased : null,
    });
  }

  /** Vectors without ids, of rows that died since one of the ids was deleted at the latest. */
  #lookForVectors({ segments }: Manifest): void {
    for (const { id: segment, slots, rows, stale } of segments) {
      const sinceMs = stale?.sinceMs ?? ulidTimeMs(segment);
      const isOld = (id: string): boolean =>
        sinceMs <= this.#deletedMs(id) + mergeLimits.uncountedMsMax + dayMs;
      const ids = [...this.#ids].filter(isOld);
      if (slots === rows || ids.length === 0) continue;
      this.#traces.push({
        key: `${segmentPrefix(this.#ref)}${segment}/`,
        ids,
        heldBy: [`perhaps among ${slots - rows} vectors without ids of the current version`],
        goneByMs: Math.min(
          this.#erasedByMs(ids),
          sinceMs + mergeLimits.staleMsMax + versionGoneMs + surveyedMs,
        ),
      });
    }
  }

  #see(write: Write): void {
    const known = this.#newest.get(write.id);
    if (known === undefined || compareOrder(write, known) > 0) this.#newest.set(write.id, write);
  }
}

/** Null when it cannot be read. */
function rowsOf(
  body: Buffer,
  name: { readonly key: string; readonly delta: DeltaId },
): readonly Row[] | null {
  try {
    return decodeDelta(body, name).rows;
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return null;
  }
}
