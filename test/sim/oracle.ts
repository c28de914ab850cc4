/**
 * The oracle sees every effect on the store, knows every write, and says at once when a promise is broken.
 *
 * For each shard it keeps, per published version, the set of deltas that the version includes and those that a rollback
 * took back. From these follows what the version must hold, without asking the engine. Checked here, after every effect:
 * - a pointer only moves forward: version, epoch, floor; one commit per version (I2);
 * - the manifest it names is there, and so is every file, with the right bytes (I3), and the rows in these files are
 *   exactly the model's (I5);
 * - a delta object goes only when the current version includes it, or a quarantined copy is there (I4);
 * - nothing that a current, kept or pinned version names is deleted (I8);
 * - a message goes only when its delta is not waiting any more.
 * Reads are judged in test/sim/reads.ts.
 */
import { createHash } from "node:crypto";
import { decodeCollection } from "../../lib/core/format/collection-json.ts";
import { decodeDelta } from "../../lib/core/format/delta.ts";
import type { Manifest } from "../../lib/core/format/manifest.ts";
import { decodeNotification } from "../../lib/core/format/notification.ts";
import type { Pointer } from "../../lib/core/format/pointer.ts";
import { bounds } from "../../lib/core/model/bounds.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { ulidTimeMs } from "../../lib/core/model/ulid.ts";
import { clockAllowanceMs } from "../../lib/core/policy/time-bounds.ts";
import type { Retention } from "../../lib/engine/shard/retention.ts";
import type { MemoryClock } from "../support/memory/clock.ts";
import type { MemoryObjectStore } from "../support/memory/object-store.ts";
import { Generation, type KnownDelta, noTruth, type ShardTruth } from "./generation.ts";
import {
  contentOf,
  filesOf,
  inferredChain,
  moveFault,
  newest,
  noVersion,
  type Published,
  parseKey,
} from "./published.ts";
import { SegmentContents } from "./segment-content.ts";
import { differenceOf, foldWrites, liveDocuments, type Write } from "./writes.ts";

const manySegments = 12;
const dayMs = 86_400_000;
const hourMs = 3_600_000;
/** Clocks differ from the true time by less. */
export const skewMaxMs = 15 * 60_000;
/**
 * By true time: a clock is less than a quarter of an hour off, and so is the one that a delta was named by. Deltas older
 * than the one may be put aside, tombstones older than the other may be dropped.
 */
export const horizonLeastMs = 30 * dayMs - 2 * skewMaxMs;
const tombstoneLeastMs = 30 * dayMs + hourMs - 2 * skewMaxMs;

const isConfiguration = (key: string): boolean => key.endsWith("/collection.json");

interface ReasonWritten {
  readonly delta: string;
  readonly reason: string;
  readonly retriedAs?: string;
}

const contents = new WeakMap<Buffer, string>();
/** Equal for deltas with the same rows, whatever their names and layout; by bytes for what cannot be read. */
function contentOfDelta(body: Buffer): string {
  const known = contents.get(body) ?? describeDelta(body);
  contents.set(body, known);
  return known;
}
function describeDelta(body: Buffer): string {
  try {
    const { header, rows } = decodeDelta(body, { key: "", delta: deltaId("7".padEnd(26, "Z")) });
    const { writtenAs: _writtenAs, ...rest } = header;
    return JSON.stringify([
      rest,
      rows.map(({ delta: _delta, ...row }) => ({ ...row, vector: row.vector && [...row.vector] })),
    ]);
  } catch {
    return body.toString("latin1");
  }
}

export class Oracle {
  #generation = new Generation(null);
  /** Collections that had the name before, oldest first. */
  readonly #former: Generation[] = [];
  readonly events = new Map<string, number>();
  violation: string | null = null;
  /** What collectors were told to keep; null where that is not looked at. */
  retention: Retention | null = null;
  /** Whether the collection keeps its tombstones for ever. */
  forgetsNoDeletes = false;
  readonly #store: MemoryObjectStore;
  readonly #clock: MemoryClock;
  readonly #flips = new Map<string, number>();
  readonly #fullDisks = new Map<string, number>();
  #contents = new SegmentContents();
  readonly #trueHash = new WeakMap<Buffer, string>();
  /** Manifests written for each newest segment: more than one means that the publication was rebased. */
  readonly #proposals = new Map<string, number>();
  #now = 0;

  constructor(store: MemoryObjectStore, clock: MemoryClock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** The same knowledge about a copy of the store; this one must outlive it. */
  copyFor(store: MemoryObjectStore, clock: MemoryClock): Oracle {
    const copy = new Oracle(store, clock);
    copy.#contents.close();
    copy.#contents = this.#contents;
    copy.#now = this.#now;
    copy.#generation = this.#generation.copy();
    return copy;
  }

  /** The collection that has the name, or had it last. What follows is of that. */
  get generation(): Generation {
    return this.#generation;
  }
  /** That and those before it, newest first. */
  get generations(): readonly Generation[] {
    return [this.#generation, ...[...this.#former].reverse()];
  }
  get collection(): Collection {
    return this.#generation.collection!;
  }
  get deltas(): Map<string, KnownDelta> {
    return this.#generation.deltas;
  }
  get shards(): Map<string, ShardTruth> {
    return this.#generation.shards;
  }
  get pins(): Map<string, { shard: string; version: number }> {
    return this.#generation.pins;
  }
  /** Whether its configuration is gone. */
  get isDeleted(): boolean {
    return this.#generation.endedAt !== null;
  }
  /** Whether a shard's first pointer is yet to come. */
  get isHalfMade(): boolean {
    const { name, shards } = this.collection;
    const isMissing = (shard: number) => {
      const { pointer, isLost } = this.shard(`${name}/${shard}`);
      return pointer === null && !isLost;
    };
    return !this.isDeleted && Array.from({ length: shards }, (_, shard) => shard).some(isMissing);
  }
  /** Whether a collection was deleted or made since then, or is being deleted. */
  isChangedSince(at: number): boolean {
    return this.isDeleted || this.isHalfMade || this.#generation.madeAt > at;
  }
  /** All that `work` asks is asked of that collection. */
  of<T>(generation: Generation, work: () => T): T {
    const now = this.#generation;
    this.#generation = generation;
    try {
      return work();
    } finally {
      this.#generation = now;
    }
  }

  /** A number that grows with everything that happens: to say what was before what. */
  tick(): number {
    return ++this.#now;
  }
  nowMs(): number {
    return this.#clock.nowMs();
  }
  violate(what: string): void {
    this.violation ??= what;
  }
  count(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1);
  }
  close(): void {
    this.#contents.close();
  }

  /** A bit was flipped in an answer to this process. */
  flipped(process: string): void {
    this.#flips.set(process, this.tick());
  }

  /** The local disk of this process is full for a moment. */
  diskFilled(process: string): void {
    this.#fullDisks.set(process, this.tick());
  }
  mayLackSpace(process: string, beganAt: number): boolean {
    return (this.#fullDisks.get(process) ?? 0) > beganAt;
  }

  /** Whether what a process calls damage, in a call that began then, may be: a flipped bit, or a lost pointer, by name. */
  mayMeetDamage(process: string, beganAt: number, message: string): boolean {
    return this.isFlipped(process, beganAt) || this.isPointerLost(beganAt, message);
  }
  isFlipped(process: string, beganAt: number): boolean {
    return (this.#flips.get(process) ?? 0) > beganAt;
  }
  isPointerLost(beganAt: number, message: string): boolean {
    const isLost = ({ isLost, restoredAt }: ShardTruth) => isLost || restoredAt > beganAt;
    return message.includes("pointer.json") && [...this.shards.values()].some(isLost);
  }

  shard(name: string): ShardTruth {
    const known = this.shards.get(name) ?? noTruth();
    this.shards.set(name, known);
    return known;
  }
  /** What was ever published as this version: one, unless a repair took another in its place. */
  allOf(shard: string, version: number): Published[] {
    return [...this.shard(shard).byCommit.values()].filter((one) => one.version === version);
  }
  current(shard: string): Published {
    return this.shard(shard).current ?? noVersion;
  }

  acked(deltas: readonly { readonly delta: string }[]): void {
    for (const { delta } of deltas) {
      // Perhaps of a collection that was deleted since, which owes nothing any more; in the others it is a stranger.
      const everywhere = this.generations.map(({ deltas }) => deltas.get(delta));
      const known =
        everywhere.find((one) => one?.writes != null) ?? everywhere.find((one) => one !== undefined);
      if (!known) this.violate(`delta ${delta} was acknowledged and never written (I1)`);
      else if (ulidTimeMs(delta) > this.nowMs() + clockAllowanceMs)
        this.violate(`delta ${delta} is from the future, and was acknowledged (I1)`);
      else known.ackedAt = this.tick();
    }
  }

  written(key: string, body: Buffer): void {
    this.tick();
    if (isConfiguration(key)) {
      this.#created(key, body);
      return;
    }
    const { shard, kind, name } = parseKey(key);
    if (kind === "deltas") this.#deltaWritten(shard, name.replace(".arrow", ""), body);
    // What is written of a collection that is gone serves only processes that have not noticed.
    if (this.isDeleted) return;
    if (kind === "pointer.json") this.#pointerWritten(shard, body);
    if (kind === "manifests") {
      const { version, commit, parent, ...manifest } = JSON.parse(body.toString("utf8")) as Manifest;
      const segment = newest(manifest);
      this.#proposals.set(segment, (this.#proposals.get(segment) ?? 0) + 1);
      const { collection } = this.#generation;
      if (collection === null || manifest.collectionId === collection.id)
        this.shard(shard).manifests.push({ version, commit, parent: parent?.commit ?? null, goneAt: null });
    }
    if (kind === "quarantine" && name.endsWith(".arrow"))
      this.#quarantined(shard, name.replace(".arrow", ""));
    if (kind === "quarantine" && name.endsWith(".json"))
      this.#reasonWritten(shard, JSON.parse(body.toString("utf8")) as ReasonWritten);
  }

  /** What a compactor notes before it takes a batch. */
  noted(name: string, { batch }: { readonly batch?: readonly string[] }): void {
    if (!name.startsWith("attempt/")) return;
    for (const delta of batch ?? []) {
      const known = this.deltas.get(delta);
      if (known) known.attempts += 1;
    }
  }

  /** A pointer that was lost before its collection was deleted is not deleted with it: it is gone from then on. */
  #pointersThatAreGone(): void {
    const { collection, pointersGone } = this.#generation;
    for (let i = 0; i < (collection?.shards ?? 0); i++) {
      const shard = `${collection!.name}/${i}`;
      if (this.shard(shard).pointer === null) pointersGone.set(shard, { at: this.#now, atMs: this.nowMs() });
    }
  }

  deleting(key: string): void {
    this.tick();
    if (this.#store.bytes(key) === null) return;
    if (isConfiguration(key)) {
      this.#generation.endedAt = this.#now;
      this.#pointersThatAreGone();
      this.count("collection deleted");
      return;
    }
    const { shard, kind, name } = parseKey(key);
    if (this.isDeleted) {
      this.#deletedWith(shard, kind);
      return;
    }
    if (kind === "deltas") this.#deltaDeleted(shard, name.replace(".arrow", ""));
    if (kind === "segments" || kind === "manifests") this.#versionFileDeleted(shard, key);
    if (kind === "manifests") this.#manifestDeleted(shard, name);
    if (kind === "quarantine" && name.endsWith(".arrow")) this.#quarantineDeleted(shard, key);
    if (kind === "pointer.json") {
      const truth = this.shard(shard);
      truth.lostFloor = truth.pointer?.floor.version ?? truth.lostFloor;
      truth.pointer = null;
      truth.isLost = true;
      truth.lostAt = this.tick();
    }
  }

  /** A collection begins with its configuration. What lies there already is not its own. */
  #created(key: string, body: Buffer): void {
    const isAgain = this.#generation.collection !== null;
    if (isAgain) {
      if (!this.isDeleted) this.violate(`${key} was overwritten`);
      this.#former.push(this.#generation);
      this.count("collection made again");
    }
    this.#generation = new Generation(decodeCollection(body, key));
    if (isAgain) this.#generation.madeAt = this.#now;
    for (const other of this.#store.keys()) {
      const { shard, kind, name } = parseKey(other);
      if (kind === "deltas") this.#deltaWritten(shard, name.replace(".arrow", ""), this.#store.bytes(other)!);
    }
  }

  #deletedWith(shard: string, kind: string): void {
    if (kind === "pointer.json")
      this.#generation.pointersGone.set(shard, { at: this.#now, atMs: this.nowMs() });
  }

  messageDeleted(body: string): void {
    if (this.isDeleted) return;
    const notice = decodeNotification(body);
    if ("reason" in notice) return;
    const known = this.deltas.get(notice.delta);
    const waiting =
      this.#store.bytes(`${notice.collection}/${notice.shard}/deltas/${notice.delta}.arrow`) !== null;
    if (known && waiting && known.ackedAt !== null && !this.#includes(known.shard, notice.delta)) {
      this.violate(`the message of delta ${notice.delta} was deleted while the delta was waiting`);
    }
  }

  /** When the deltas that wait were made, and the tombstones that are kept: what the horizon decides about. */
  timesJudgedByHorizon(): number[] {
    const times: number[] = [];
    for (const known of this.deltas.values())
      if (this.#store.bytes(`${known.shard}/deltas/${known.delta}.arrow`) !== null)
        times.push(known.createdAtMs);
    for (const { current } of this.shards.values())
      for (const { document, delta } of current?.state.values() ?? [])
        if (document === null) times.push(ulidTimeMs(delta));
    return times;
  }

  /** Objects that nothing live names; and what of the live ones is missing. For the end of a run. */
  orphans(): string[] {
    const live = new Set<string>();
    const pinned = new Set<string>();
    for (const key of this.#store.keys()) {
      const { shard, kind } = parseKey(key);
      if (kind === "pins")
        pinned.add(`${shard} ${JSON.parse(this.#store.bytes(key)!.toString("utf8")).commit}`);
    }
    for (const [name, truth] of this.shards) {
      for (const published of truth.versions.values()) {
        // Also by a pin that no caller was told of: it is there, and people see it.
        if (!this.#isKept(name, published) && !pinned.has(`${name} ${published.commit}`)) continue;
        for (const key of filesOf(name, published)) live.add(key);
      }
    }
    return this.#store.keys().filter((key) => {
      const { kind } = parseKey(key);
      return kind === "deltas" || ((kind === "segments" || kind === "manifests") && !live.has(key));
    });
  }

  /** Acknowledged deltas that are neither ingested, taken back, put aside, nor waiting. */
  lost(): string[] {
    if (this.isDeleted) return [];
    const lost: string[] = [];
    for (const known of this.deltas.values()) {
      if (known.ackedAt === null || known.quarantinedAt !== null) continue;
      const waiting = this.#store.bytes(`${known.shard}/deltas/${known.delta}.arrow`) !== null;
      // A repair puts a delta again under a new name.
      const isElsewhere = () => this.#isElsewhere(known.shard, known.body, "");
      if (!waiting && !this.#includes(known.shard, known.delta) && !isElsewhere()) lost.push(known.delta);
    }
    return lost;
  }

  #includes(shard: string, delta: string): boolean {
    const { included, takenBack } = this.current(shard);
    return included.has(delta) || takenBack.has(delta);
  }

  #deltaWritten(shard: string, delta: string, body: Buffer): void {
    const known = this.deltas.get(delta);
    if (known !== undefined) {
      if (!known.body.equals(body)) this.violate(`delta ${delta} was overwritten with other bytes`);
      return;
    }
    let writes: Write[] | null = null;
    let createdAtMs = ulidTimeMs(delta);
    try {
      const { header, rows } = decodeDelta(body, { key: delta, delta: deltaId(delta) });
      const isOwn = ({ collection }: Generation) => collection?.id === header.collectionId;
      const owner = isOwn(this.#generation) ? undefined : this.#former.find(isOwn);
      if (owner !== undefined) {
        this.count("late delta of a former collection");
        this.of(owner, () => this.#deltaWritten(shard, delta, body));
      }
      createdAtMs = Math.min(createdAtMs, header.createdAtMs);
      // One that a clock from the future has named, or whose rows it has versioned, is as good as damaged.
      const namedMs = ulidTimeMs(delta);
      const latestMs = Math.min(namedMs, this.nowMs()) + clockAllowanceMs;
      if (owner === undefined && namedMs <= latestMs && rows.every(({ version }) => version <= latestMs))
        writes = rows.map((row) => ({ ...row, vector: row.vector && Array.from(row.vector) }));
    } catch {
      // A foreign writer's damaged delta: no read has to see it.
    }
    this.deltas.set(delta, {
      delta,
      shard,
      body,
      writes,
      createdAtMs,
      writtenAt: this.#now,
      ackedAt: null,
      quarantinedAt: null,
      attempts: 0,
      retriedAs: null,
      goneAt: null,
    });
  }

  #deltaDeleted(shard: string, delta: string): void {
    const known = this.deltas.get(delta);
    if (known) known.goneAt = this.#now;
    if (this.#includes(shard, delta)) return;
    const body = this.deltas.get(delta)?.body;
    if (body && this.#isElsewhere(shard, body, `${shard}/deltas/${delta}.arrow`)) return;
    this.violate(`delta ${delta} of ${shard} was deleted and is in no published version (I4)`);
  }

  #quarantined(shard: string, delta: string): void {
    const known = this.deltas.get(delta);
    if (known) known.quarantinedAt ??= this.#now;
    this.count("quarantine");
    if (known?.writes && this.isLate(shard, delta)) this.count("late delta put aside");
  }

  #reasonWritten(shard: string, written: ReasonWritten): void {
    const { delta, retriedAs } = written;
    // A trace repeats the reason as far as that could be read.
    if (retriedAs === undefined) this.#quarantinedFor(shard, written);
    const known = this.deltas.get(delta);
    if (retriedAs === undefined) {
      if (known?.retriedAs != null)
        this.violate(`the new name of ${delta}, ${known.retriedAs}, was forgotten`);
      return;
    }
    if (!this.deltas.has(retriedAs))
      this.violate(`delta ${delta} was retried as ${retriedAs}, which is nowhere`);
    if (known) known.retriedAs = retriedAs;
  }

  /** The delta that holds the writes of this one by now: itself, or what it was put back as. */
  followed(delta: string): KnownDelta {
    let known = this.deltas.get(delta)!;
    while (known.retriedAs !== null) known = this.deltas.get(known.retriedAs)!;
    return known;
  }

  /** A readable delta is put aside when it is too old, came too late, or has killed two runs. */
  #quarantinedFor(shard: string, { delta, reason }: ReasonWritten): void {
    const known = this.deltas.get(delta);
    if (!known?.writes || this.#store.bytes(`${shard}/deltas/${delta}.arrow`) === null) return;
    const ageMs = this.nowMs() - known.createdAtMs;
    const killed = reason.includes("two runs of the compactor died") && known.attempts >= 2;
    if (killed) this.count("delta that killed runs put aside");
    if (ageMs >= horizonLeastMs) this.count("delta beyond the horizon put aside");
    if (killed || this.isLate(shard, delta) || ageMs >= horizonLeastMs) return;
    this.violate(
      `delta ${delta} of ${shard} is readable, ${ageMs / dayMs} days old and was taken ${known.attempts} times, and was put aside: ${reason}`,
    );
  }

  /** Below the low watermark, and never acknowledged. */
  isLate(shard: string, delta: string): boolean {
    return (
      this.deltas.get(delta)!.ackedAt === null && delta <= (this.current(shard).manifest?.watermark ?? "")
    );
  }

  /** A quarantined copy may go when the same bytes are waiting again, or were ingested. */
  #quarantineDeleted(shard: string, key: string): void {
    if (!this.#isElsewhere(shard, this.#store.bytes(key)!, key))
      this.violate(`${key} was deleted, and its delta is nowhere else`);
  }

  /** Whether a delta's bytes were ingested, or lie under another key: waiting or put aside, perhaps by a retry's new name. */
  #isElsewhere(shard: string, body: Buffer, key: string): boolean {
    const content = contentOfDelta(body);
    const isThere = (other: string) => {
      const there = other === key ? null : this.#store.bytes(other);
      return there !== null && contentOfDelta(there) === content;
    };
    return [...this.deltas.values()].some(
      (known) =>
        known.shard === shard &&
        contentOfDelta(known.body) === content &&
        (this.#includes(shard, known.delta) ||
          isThere(`${shard}/deltas/${known.delta}.arrow`) ||
          isThere(`${shard}/quarantine/${known.delta}.arrow`)),
    );
  }

  #pointerWritten(shard: string, body: Buffer): void {
    const truth = this.shard(shard);
    const pointer = JSON.parse(body.toString("utf8")) as Pointer;
    const before = truth.pointer;
    truth.pointer = pointer;
    if (before === null && !truth.isLost && this.#former.length > 0) this.#generation.madeAt = this.#now;
    if (truth.isLost) {
      truth.isLost = false;
      truth.restoredAt = this.#now;
      if (pointer.version < this.current(shard).version)
        this.violate(`the pointer of ${shard} was repaired to version ${pointer.version}, which is older`);
    }
    if (pointer.version === 0) {
      truth.current = noVersion;
      return;
    }
    const known = truth.byCommit.get(pointer.commit);
    const fault = before && moveFault(before, pointer, known !== undefined);
    if (fault) this.violate(`the pointer of ${shard} ${fault} (I2)`);
    if (before === null) this.#checkRepairedFloor(shard, truth, pointer);
    else if (pointer.floor.version > before.floor.version) this.#checkFloor(shard, pointer);
    const next = known ?? this.#publish(shard, pointer);
    if (next === null) return;
    truth.current = next;
    truth.versions.set(next.version, next);
    this.#checkFiles(shard, next);
    if (before === null)
      for (const delta of this.lost()) this.violate(`the repaired pointer loses delta ${delta}`);
  }

  /** The floor rises over no version that retention keeps: the last ones, and what was current not long ago. */
  #checkFloor(shard: string, { version, floor }: Pointer): void {
    const fault = this.#keptFault(shard, floor.version - 1, version);
    if (fault !== null)
      this.violate(`${shard}: the floor rose to ${floor.version} at version ${version}${fault} (I8)`);
  }

  /** Why a version may not be given up yet by who sees that one as the current; null when it may. Version 0 is nothing. */
  #keptFault(shard: string, given: number, current: number): string | null {
    if (this.retention === null || given < 1) return null;
    const { versionsKept, keptMs, keptMsMax } = this.retention;
    // A repair may have published the successor anew, and never goes back behind it.
    const [superseding] = this.allOf(shard, given + 1);
    const ageMs = superseding === undefined ? 0 : this.nowMs() - superseding.atMs;
    if (ageMs < keptMs - 2 * skewMaxMs) return `, and version ${given} was current ${ageMs} ms ago`;
    const isOld = ageMs >= keptMsMax - 2 * skewMaxMs;
    return current - given < Math.min(current, versionsKept) && !isOld ? `, and keeps too few` : null;
  }

  /**
   * A repair infers the floor (docs/protocol.md, "Repair"): it is no lower than the lost one, and no higher than the rule says
   * of the manifests that it may have found, by a clock that is ahead by as much as clocks may be, and half an hour later.
   */
  #checkRepairedFloor(shard: string, truth: ShardTruth, { version, floor }: Pointer): void {
    const what = `${shard}: the floor was ${truth.lostFloor}, and was repaired to ${floor.version}`;
    if (floor.version < truth.lostFloor) this.violate(`${what} (I2)`);
    // A repair that met damage gives up what lies behind it (lib/engine/operate/repair.ts).
    const metDamage = [...this.#flips.values()].some((at) => at > truth.lostAt);
    if (this.retention === null || metDamage || floor.version <= Math.max(1, truth.lostFloor)) return;
    const { versionsKept, keptMs, keptMsMax } = this.retention;
    const aheadMs = this.nowMs() + 3 * skewMaxMs;
    const chain = inferredChain(truth);
    const at = chain.findIndex((one) => one.version === floor.version);
    const ageMs = (i: number) => (i < 0 ? 0 : aheadMs - ulidTimeMs(chain[i]!.commit));
    // The version below the floor: by the commit of the second after it, or of the first where that is old enough.
    const givenUpMs = at >= 0 && ageMs(at) >= keptMsMax ? ageMs(at) : ageMs(at - 1);
    const isForNumber = floor.version <= (chain[0]?.version ?? 0) - versionsKept;
    if (givenUpMs < (isForNumber ? keptMs : keptMsMax))
      this.violate(`${what}, over a version that was superseded ${givenUpMs} ms ago at most (I8)`);
    // By its rivals' age, more than any collector that saw this history.
    if (this.#keptFault(shard, floor.version - 1, version) !== null)
      this.count("repair gave up a young version");
  }

  #publish(shard: string, pointer: Pointer): Published | null {
    const truth = this.shard(shard);
    const body = this.#store.bytes(pointer.manifest!);
    if (body === null || this.#sha256(body) !== pointer.manifestSha256) {
      this.violate(`${shard} version ${pointer.version}: its manifest is missing or has another hash (I3)`);
      return null;
    }
    const manifest = JSON.parse(body.toString("utf8")) as Manifest;
    const parent =
      truth.byCommit.get(manifest.parent!.commit) ?? (manifest.parent!.version === 0 ? noVersion : null);
    if (parent === null) {
      this.violate(`${shard} version ${pointer.version} has a parent that was never published`);
      return null;
    }
    const next = { ...this.#contentOf(shard, manifest, parent), manifest, atMs: this.nowMs() };
    truth.byCommit.set(manifest.commit, next);
    this.count(`published by ${manifest.cause}`);
    if (manifest.segments.some(({ kind }) => kind === "hnsw")) this.count("graph published");
    if (manifest.segments.length >= manySegments) this.count("version of many segments");
    if (manifest.applied.length > bounds.batchDeltas) this.count("more applied than a batch has");
    if (manifest.applied.length > bounds.appliedDeltas / 2) this.count("half of what may be applied");
    if ((this.#proposals.get(newest(manifest)) ?? 0) > 1) this.count("rebased");
    return next;
  }

  #contentOf(shard: string, manifest: Manifest, parent: Published) {
    const { version, commit, cause } = manifest;
    const base = { version, commit, cause };
    if (cause === "rollback") {
      // By content: below the floor, a rollback copies the segments.
      const all = [...this.shard(shard).byCommit.values()].reverse();
      const wanted = contentOf(manifest);
      const target = all.find((one) => one.manifest !== null && contentOf(one.manifest) === wanted);
      if (!target) this.violate(`${shard} version ${version} rolls back to what was never published`);
      if (target && newest(manifest) !== newest(target.manifest!)) this.count("rollback copied segments");
      const { included, state } = target ?? noVersion;
      const before = [...parent.included, ...parent.takenBack].filter((delta) => !included.has(delta));
      return { ...base, included, state, takenBack: new Set(before) };
    }
    const known = new Set(parent.manifest?.applied);
    const added = manifest.applied.filter((delta) => !known.has(delta));
    if (cause === "ingest" && added.length === 0)
      this.violate(`${shard} version ${version}: an ingest published what its parent had already`);
    if (cause === "merge" && added.length > 0)
      this.violate(`${shard} version ${version}: a merge applied deltas`);
    for (const delta of added) {
      if (!this.deltas.get(delta)?.writes)
        this.violate(`${shard} version ${version} applied ${delta}, which is no readable delta`);
      if (parent.included.has(delta))
        this.violate(`${shard} version ${version} applied ${delta} a second time (conservation)`);
      if (parent.takenBack.has(delta))
        this.violate(`${shard} version ${version} brings back ${delta}, which a rollback took back`);
    }
    const included = new Set([...parent.included, ...added]);
    const state = foldWrites(
      parent.state.values(),
      ...added.map((delta) => this.deltas.get(delta)?.writes ?? []),
    );
    return { ...base, included, takenBack: parent.takenBack, state };
  }

  /** Every file is there, and the rows in them are the model's; an old tombstone may have been dropped. */
  #checkFiles(shard: string, { version, manifest, state }: Published): void {
    if (manifest === null) return;
    const bad = (reason: string) => this.violate(`${shard} version ${version}: ${reason}`);
    const writes: Write[][] = [];
    for (const segment of manifest.segments) {
      for (const [file, entry] of Object.entries(segment.files)) {
        const body = this.#store.bytes(`${shard}/segments/${segment.id}/${file}`);
        if (body === null) {
          bad(`${segment.id}/${file} is missing (I3)`);
          return;
        }
        if (body.length !== entry.bytes || this.#sha256(body) !== entry.sha256) {
          bad(`${segment.id}/${file} has other bytes (I3)`);
          return;
        }
      }
      const read = (file: string) => this.#store.bytes(`${shard}/segments/${segment.id}/${file}`)!;
      const files = { records: read("records.db"), vectors: read("vectors.f32") };
      writes.push(this.#contents.of(segment, files, manifest.dims, bad));
    }
    const found = foldWrites(...writes);
    const difference = differenceOf(liveDocuments(state), liveDocuments(found));
    if (difference !== null) bad(`its rows are not the model's: ${difference} (I5)`);
    for (const write of state.values()) {
      if (write.document !== null || found.has(write.id)) continue;
      const ageMs = this.nowMs() - ulidTimeMs(write.delta);
      if (ageMs < tombstoneLeastMs || this.forgetsNoDeletes)
        bad(`the tombstone of ${write.id} was dropped after ${ageMs / dayMs} days (ENV-3)`);
      this.count("tombstone dropped");
    }
  }

  #isKept(shard: string, { version, commit }: Published): boolean {
    const { pointer, versions, lostFloor } = this.shard(shard);
    if (versions.get(version)?.commit !== commit) return false;
    for (const pin of this.pins.values()) if (pin.shard === shard && pin.version === version) return true;
    return version >= (pointer?.floor.version ?? lostFloor);
  }

  /** By the rule of retention, also where a repair has put the floor higher. */
  #manifestDeleted(shard: string, name: string): void {
    const truth = this.shard(shard);
    const put = truth.manifests.find(({ commit }) => name.includes(commit));
    if (put === undefined) return;
    put.goneAt = this.#now;
    const { version } = put;
    if (truth.versions.get(version)?.commit !== put.commit || truth.current === null) return;
    const fault = this.#keptFault(shard, version, truth.current.version);
    if (fault !== null) this.violate(`${shard}: the manifest of version ${version} was deleted${fault} (I8)`);
  }

  #versionFileDeleted(shard: string, key: string): void {
    const truth = this.shard(shard);
    for (const published of truth.versions.values()) {
      if (published !== truth.current && !this.#isKept(shard, published)) continue;
      if (filesOf(shard, published).includes(key)) {
        this.violate(`${key} was deleted; version ${published.version}, which is kept, names it (I8)`);
      }
    }
    this.count(
      key.includes("/segments/") ? "segment file deleted as garbage" : "manifest deleted as garbage",
    );
  }

  #sha256(body: Buffer): string {
    const known = this.#trueHash.get(body) ?? createHash("sha256").update(body).digest("hex");
    this.#trueHash.set(body, known);
    return known;
  }
}
