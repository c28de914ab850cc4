/**
 * Planted faults: one small change each to the product's sources, each a mistake that a person could make. All of them
 * must be caught (test/mutants/main.ts). The search text must occur exactly once: a mutant that no longer fits is an error.
 */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly edits: readonly { readonly search: string; readonly replace: string; readonly file?: string }[];
  /** A Jest path that catches it, where it is not the business of the crash points and the simulator. */
  readonly test?: string;
}

const mutant = (name: string, file: string, search: string, replace: string, test?: string): Mutant => ({
  name,
  file,
  edits: [{ search, replace }],
  ...(test === undefined ? {} : { test }),
});

const forgedRecords = "test/corruption/forged/forged-records.test.ts";
const jobSimulation = "test/jobs/simulation.test.ts";
const hostileJobs = "test/hostile/jobs.test.ts";
const importSizes = "test/hostile/import-sizes.test.ts";
const forgedGraphs = "test/corruption/forged/forged-graphs.test.ts";

export const mutants: readonly Mutant[] = [
  mutant("pointer moved without If-Match", "lib/engine/shard/publish.ts", ", { ifMatch: head.etag });", ");"),
  mutant(
    "ambiguous commit taken for won",
    "lib/engine/shard/publish.ts",
    `if (isKind(error, "uncertain")) return null;`,
    `if (isKind(error, "uncertain")) return head.etag;`,
  ),
  mutant(
    "ambiguous commit retried blindly",
    "lib/engine/shard/publish.ts",
    "const change = propose(current);",
    "const change = propose(head);",
  ),
  mutant(
    "a refused manifest is pointed to",
    "lib/engine/shard/publish.ts",
    `  if (put.kind === "preconditionFailed") return null;\n`,
    "",
  ),
  mutant(
    "no check against the collector's floor",
    "lib/engine/shard/publish.ts",
    "successionFault(manifest, next) ?? belowFloor(head, next)",
    "successionFault(manifest, next)",
  ),
  {
    name: "deltas deleted before the commit",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      {
        search: "    const { head } = await publish(world, collection, batch.head, (head) =>",
        replace:
          "    await world.store.delete(deltas.map((delta) => deltaKey(shard, delta)));\n    const { head } = await publish(world, collection, batch.head, (head) =>",
      },
    ],
  },
  {
    // One of the two alone is covered by the other.
    name: "deltas never deleted, neither by their run nor by the next",
    file: "lib/engine/compact/listing.ts",
    edits: [
      {
        file: "lib/engine/compact/ingest-batch.ts",
        search: "    await world.store.delete(deltas.map((delta) => deltaKey(shard, delta)));\n",
        replace: "",
      },
      { search: "if (keys.length > 0) await world.store.delete(keys);", replace: "void keys;" },
    ],
  },
  mutant(
    "messages deleted before the commit",
    "lib/engine/compact/compact.ts",
    "if (isSeen && !pending.includes(notice.delta))",
    "if (isSeen || pending)",
  ),
  mutant(
    "messages of what lies behind the LIST's end are deleted",
    "lib/engine/compact/compact.ts",
    "const isSeen = unseenAfter === null || notice.delta <= unseenAfter;",
    "const isSeen = unseenAfter !== notice.delta;",
  ),
  {
    name: "what waits where the first pointer has just come counts as ingested",
    file: "lib/engine/compact/ingest.ts",
    edits: [
      {
        search: "return readHead(world.store, collection, ref.shard);",
        replace: "return readHead(world.store, collection, ref.shard).then(() => null);",
      },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  {
    name: "a shard that no message names is never looked at",
    file: "lib/core/policy/turns.ts",
    edits: [
      {
        search: "...resting.slice(0, share).map(({ name }) => name)",
        replace: "...resting.slice(0, 0).map(({ name }) => name)",
      },
    ],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "what skipped runs left out is not due",
    file: "lib/core/policy/turns.ts",
    edits: [{ search: "Math.max(Math.floor(owed), late)", replace: "Math.min(Math.floor(owed), 1)" }],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "the collections are listed once, and never anew",
    file: "lib/engine/compact/sweep.ts",
    edits: [{ search: "isRecent(world, this.#names.atMs, sweepMs)", replace: "this.#names.all.length > 0" }],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "a collection that a message named is forgotten after the run",
    file: "lib/engine/compact/sweep.ts",
    edits: [{ search: "[...this.#names!.all, ...this.#known.keys()]", replace: "[...this.#names!.all]" }],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "what is less than a whole share is looked at in every run",
    file: "lib/core/policy/turns.ts",
    edits: [{ search: "Math.floor(owed)", replace: "Math.ceil(owed)" }],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "a shard where something was found rests",
    file: "lib/core/policy/turns.ts",
    edits: [
      {
        search: "this.#seen.set(name, { atMs: nowMs, isRestless });",
        replace: "this.#seen.set(name, { atMs: nowMs, isRestless: isRestless && false });",
      },
    ],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "shards rest although the queue does not answer",
    file: "lib/engine/compact/compact.ts",
    edits: [{ search: "this.#faults.has(receiving) ?", replace: 'this.#faults.has("none") ?' }],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "a collection that was made again is what it was",
    file: "lib/engine/compact/run-shards.ts",
    edits: [
      { search: "if (now?.id === collection.id) throw error;", replace: "if (now !== null) throw error;" },
    ],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "a message of a collection that is gone is a dead letter",
    file: "lib/engine/compact/compact.ts",
    edits: [{ search: "if (this.#shards.isGone(notice)) return", replace: "if (notice.shard < 0) return" }],
    test: "test/engine/compact/compact.test.ts",
  },
  {
    name: "a message of a shard that never was is settled",
    file: "lib/engine/compact/run-shards.ts",
    edits: [{ search: "this.#collections.get(collection)?.id !== collectionId", replace: "true" }],
    test: "test/engine/compact/compact.test.ts",
  },
  {
    name: "a collection that goes while a run is at work is not known to be gone",
    file: "lib/engine/compact/run-shards.ts",
    edits: [{ search: "this.#gone.add(collection.id);", replace: "" }],
    test: "test/engine/compact/compact.test.ts",
  },
  {
    name: "upkeep does not see that a pointer moved",
    file: "lib/engine/compact/sweep.ts",
    edits: [
      {
        search: "if (read !== null) return read.etag;",
        replace: "if (read !== null && known === undefined) return read.etag;",
      },
    ],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "a message is settled by what an earlier round found",
    file: "lib/engine/compact/compact.ts",
    edits: [{ search: "if (ingested.has(name)) {", replace: "if (this.#reports.of(notice).ingest) {" }],
    test: "test/engine/compact/sweep.test.ts",
  },
  {
    name: "an object that is not the segment's, in its folder, is deleted with it as garbage",
    file: "lib/core/format/keys.ts",
    edits: [
      {
        search: "for (const file of segmentFiles) {",
        replace: `for (const file of [...segmentFiles, key.split("/").at(-1)!]) {`,
      },
    ],
    test: "test/engine/strangers.test.ts",
  },
  {
    name: "a status takes a file that was cut off for whole",
    file: "lib/engine/operate/status.ts",
    edits: [{ search: "else if (found !== bytes)", replace: "else if (found > bytes)" }],
    test: "test/engine/strangers.test.ts",
  },
  {
    name: "one damaged configuration stops every collection",
    file: "lib/engine/catalog/collections.ts",
    edits: [{ search: "outcome.reason instanceof SiltstoneError", replace: "outcome.reason === null" }],
    test: "test/engine/compact/contained.test.ts",
  },
  {
    name: "a queue that fails stops every shard",
    file: "lib/engine/faults.ts",
    edits: [{ search: "      this.note(part, error);\n      return null;", replace: "      throw error;" }],
    test: "test/engine/compact/contained.test.ts",
  },
  {
    // Each alone is covered by the others (docs/model.md).
    name: "epochs are not checked, nor whether others ingested",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      { search: "if (manifest.epoch > run.epoch) {", replace: "if (manifest.epoch < 0) {" },
      {
        search: "if (!equalSums(manifest.ledger.ingested, run.batch.head.manifest.ledger.ingested)) {",
        replace: "if (manifest.version < 0) {",
      },
      {
        file: "lib/core/format/manifest.ts",
        search: "if (next.epoch < head.epoch)",
        replace: "if (next.epoch < 0)",
      },
    ],
  },
  mutant(
    "ingested deltas count as waiting",
    "lib/engine/shard/deltas.ts",
    "delta > manifest.watermark && !applied.has(delta)",
    "delta > manifest.watermark && applied !== null",
  ),
  mutant(
    "applied deltas are not recorded",
    "lib/engine/compact/ingest-batch.ts",
    "    applied: next,\n",
    "    applied: next.slice(0, 0),\n",
  ),
  mutant(
    "applied never forgets",
    "lib/engine/compact/ingest-batch.ts",
    "manifest.applied.filter(mayBeThere)",
    "manifest.applied",
  ),
  {
    name: "applied forgets what lies behind the LIST's end",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      {
        search: "listed.has(delta) || (end !== null && delta > end)",
        replace: "listed.has(delta) || end === delta",
      },
    ],
    test: "test/engine/cut-list.test.ts",
  },
  mutant(
    "watermark without lag",
    "lib/engine/compact/ingest-batch.ts",
    "listedAtMs - watermarkLagMs",
    "listedAtMs",
  ),
  mutant(
    "watermark past what may still lie there",
    "lib/engine/compact/ingest-batch.ts",
    "const oldest = listed[0]?.delta;",
    "const oldest = listed.find(() => false)?.delta;",
  ),
  mutant(
    "watermark from the time of the commit",
    "lib/engine/compact/ingest-batch.ts",
    "nextWatermark(manifest.watermark, run.batch)",
    "nextWatermark(manifest.watermark, { ...run.batch, listed: [], listedAtMs: run.nowMs })",
  ),
  {
    name: "watermark from a clock that was set back",
    file: "lib/engine/compact/listing.ts",
    edits: [
      {
        search: "if (world.clock.nowMs() >= atMs) return",
        replace: "if (world.clock.nowMs() >= 0) return",
      },
    ],
    test: "test/engine/clock.test.ts",
  },
  {
    name: "requests are signed with S3's time, whatever the clock says",
    file: "lib/aws/s3-client.ts",
    edits: [{ search: "disableClockSkewCorrection: true", replace: "disableClockSkewCorrection: false" }],
    test: "test/aws/clock.test.ts",
  },
  mutant(
    "S3 takes the requests of any clock",
    "test/sim/sim-world.ts",
    "if (Math.abs(clock.aheadMs) <= clockSkewMaxMs) return;",
    "if (clock.aheadMs > -1e12) return;",
  ),
  mutant(
    "a run that slept goes on",
    "lib/engine/compact/ingest-batch.ts",
    "if (run.nowMs - run.batch.listedAtMs > batchMsMax) {",
    "if (run.nowMs < 0) {",
  ),
  mutant(
    "a slow PUT is acknowledged",
    "lib/engine/shard/put-delta.ts",
    "return passedMs > deltaPutMaxMs || ",
    "return ",
  ),
  {
    name: "a delta from the future is acknowledged",
    file: "lib/engine/shard/put-delta.ts",
    edits: [
      {
        search: " || passedMs < -clockSetBackMaxMs",
        replace: "",
      },
    ],
    test: "test/engine/clock.test.ts",
  },
  mutant(
    "a refused delta is acknowledged",
    "lib/engine/shard/put-delta.ts",
    "if (!(await putNew(world.store, key, body))) {",
    `if (!(await putNew(world.store, key, body)) && key === "") {`,
  ),
  {
    name: "a lost answer to a PUT is acknowledged",
    file: "lib/engine/shard/put-delta.ts",
    edits: [
      {
        search: "await putNew(world.store, key, body)",
        replace: "await putNew(world.store, key, body).catch(() => true)",
      },
    ],
  },
  mutant(
    "what is written once may be written over",
    "lib/constructs/storage.ts",
    `refusing("WrittenOnce", put, { notResources: [...replaced, quarantine] }, absent("s3:if-none-match")),`,
    "",
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "a pointer may be written over by who does not know it",
    "lib/constructs/storage.ts",
    `{ resources: [...replaced, reasons] },`,
    "{ resources: [reasons] },",
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "the compactor may delete a pointer",
    "lib/constructs/compaction.ts",
    `below("deltas", "segments", "manifests"));`,
    `[bucket.arnForObjects("*")]);`,
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "the compactor may write any object that is not there",
    "lib/constructs/compaction.ts",
    `bucket.arnForObjects("*/*/pointer.json"),`,
    `bucket.arnForObjects("*"),`,
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "a multipart upload's end needs no condition",
    "lib/constructs/storage.ts",
    `BoolIfExists: { "s3:ObjectCreationOperation": "true" }`,
    `BoolIfExists: { "s3:ObjectCreationOperation": "false" }`,
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "a segment's file is put over what is there",
    "lib/aws/s3-object-store.ts",
    `, IfNoneMatch: "*" },`,
    " },",
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "a segment's file that is there is taken for one's own, whatever its size",
    "lib/aws/s3-object-store.ts",
    "(await this.head(key))?.bytes === size",
    "(await this.head(key)) !== null",
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "a grant of some collections gives all",
    "lib/constructs/ingestion.ts",
    `(collections ?? []).map(checkCollectionName), ...sides]`,
    `"*", ...sides]`,
    "test/hostile/overwriting.test.ts",
  ),
  mutant(
    "a producer that may not list takes absent for a failure",
    "lib/aws/s3-object-store.ts",
    " || (!this.#mayList && isDenied(error))",
    "",
    "test/hostile/overwriting.test.ts",
  ),
  {
    name: "a call that is half written says that nothing happened",
    file: "lib/engine/write/produce.ts",
    edits: [
      {
        search: "if (deltas.length === 1 || written.length + unsure.length === 0) return error;",
        replace: "if (deltas.length === 1 || unsure.length === 0) return error;",
      },
    ],
    test: "test/engine/write/produce.test.ts",
  },
  {
    name: "a call is read after the caller may have changed it",
    file: "lib/clients/producer.ts",
    edits: [
      {
        search: "produce(world, ownCopy(call) as ProduceCall)",
        replace: "(void ownCopy, produce(world, call))",
      },
    ],
    test: "test/engine/write/produce.test.ts",
  },
  {
    name: "deltas are bounded by rows alone",
    file: "lib/core/format/delta-parts.ts",
    edits: [{ search: "bytes + more <= bytesTarget", replace: "bytes + more >= bytesTarget * 0" }],
    test: "test/engine/write/produce.test.ts",
  },
  {
    name: "strong read: pointer before the LIST",
    file: "lib/engine/read/overlays.ts",
    edits: [
      {
        search:
          "const listed = await listDeltas(this.#world.store, this.#ref, watermark);\n      const view = await this.#newest.refreshed();",
        replace:
          "const view = await this.#newest.refreshed();\n      const listed = await listDeltas(this.#world.store, this.#ref, watermark);",
      },
    ],
  },
  {
    name: "strong read forgives a vanished delta",
    file: "lib/engine/read/overlays.ts",
    edits: [
      { search: "    if (!deltas.every((delta) => known.has(delta))) return null;\n", replace: "" },
      { search: "known.get(delta)!.rows", replace: "known.get(delta)?.rows ?? []" },
    ],
  },
  {
    name: "a view goes back",
    file: "lib/engine/read/newest-version.ts",
    edits: [
      { search: "if (read.pointer.version < this.#newest) {", replace: "if (read.pointer.version < 0) {" },
    ],
    test: "test/corruption",
  },
  mutant(
    "a bounded read trusts its cache",
    "lib/engine/read/aged-views.ts",
    "if (current !== null && this.#isWithin(sinceMs, maxAgeMs)) return current;",
    "if (current !== null) return current;",
  ),
  {
    name: "a failed check renews the view of a bounded read",
    file: "lib/engine/read/aged-views.ts",
    edits: [{ search: "tolerant ? this.#triedAtMs : this.#newest.checkedAtMs", replace: "this.#triedAtMs" }],
    test: "test/engine/read/freshness.test.ts",
  },
  {
    name: "a bounded read whose token is ingested takes a view of any age",
    file: "lib/engine/read/shard-reader.ts",
    edits: [
      {
        search: "() => this.aged.fresh(maxAgeMs, tolerant)",
        replace: "() => this.aged.fresh(maxAgeMs, true)",
      },
    ],
    test: "test/engine/read/freshness.test.ts",
  },
  {
    name: "a bounded read takes the version before a damaged one",
    file: "lib/engine/read/aged-views.ts",
    edits: [{ search: "if (tolerant) return current", replace: "if (maxAgeMs >= 0) return current" }],
    test: "test/engine/read/freshness.test.ts",
  },
  {
    name: "a version that was never published serves while the newest is damaged",
    file: "lib/engine/read/fallback.ts",
    edits: [{ search: "if (manifests.length === 1 && only)", replace: "if (only)" }],
    test: "test/engine/read/fallback.test.ts",
  },
  {
    name: "a version below the floor serves while the newest is damaged",
    file: "lib/engine/read/fallback.ts",
    edits: [
      {
        search: "Math.max(above + 1, pointer.floor.version, pointer",
        replace: "Math.max(above + 1, pointer",
      },
    ],
    test: "test/engine/read/fallback.test.ts",
  },
  {
    name: "a bound counts from a cold answer whose version is damaged",
    file: "lib/engine/read/newest-version.ts",
    edits: [{ search: "      this.#checkedAtMs = Number.NEGATIVE_INFINITY;\n", replace: "" }],
    test: "test/engine/read/fallback.test.ts",
  },
  {
    name: "a lost pointer behind version 0 is nothing published",
    file: "lib/engine/read/aged-views.ts",
    edits: [
      { search: "older.manifest.version > 0 && (await this.#isOurs())", replace: "await this.#isOurs()" },
    ],
    test: "test/engine/read/fallback.test.ts",
  },
  {
    name: "an older version serves although a newer one was found meanwhile",
    file: "lib/engine/read/aged-views.ts",
    edits: [{ search: "const current = this.#newest.current ?? older;", replace: "const current = older;" }],
    test: "test/engine/read/fallback.test.ts",
  },
  {
    name: "a view of any age answers while the next one is on its way",
    file: "lib/engine/read/aged-views.ts",
    edits: [
      {
        search: "!this.#isWithin(checkedAtMs, boundMs)",
        replace: "!(refreshing !== null || this.#isWithin(checkedAtMs, boundMs))",
      },
    ],
    test: "test/engine/read/behind.test.ts",
  },
  {
    name: "what a refresh behind an answer met is not reported",
    file: "lib/engine/read/aged-views.ts",
    edits: [{ search: "        this.#isRefused = true;\n", replace: "" }],
    test: "test/engine/read/behind.test.ts",
  },
  {
    name: "a refresh holds up an answer for as long as it takes",
    file: "lib/engine/read/aged-views.ts",
    edits: [
      {
        search: "current === null ? this.#newestOrOlder() :",
        replace: "tolerant ? this.#newestOrOlder() :",
      },
    ],
    test: "test/engine/read/silent-store.test.ts",
  },
  {
    name: "a frozen process takes what arrived meanwhile for late",
    file: "lib/aws/system-clock.ts",
    edits: [{ search: "const ticks = 8;", replace: "const ticks = 1;" }],
    test: "test/aws/system-clock.test.ts",
  },
  {
    name: "what a read in progress uses is not counted",
    file: "lib/engine/read/shard-cache.ts",
    edits: [
      {
        search: "others.filter(({ isIdle }) => isIdle)",
        replace: "others.filter(({ isIdle }) => isIdle || true)",
      },
    ],
    test: "test/engine/read/cache-bound.test.ts",
  },
  {
    name: "old views beside new ones are not counted",
    file: "lib/engine/read/shard-cache.ts",
    edits: [{ search: "if (open + addedBytes <= openMax) return null;", replace: "return null;" }],
    test: "test/engine/read/cache-bound.test.ts",
  },
  {
    name: "a search of a graph looks at no more than is asked for",
    file: "lib/segment/search-cost.ts",
    edits: [
      {
        search: "Math.max(efSearch, 2 * wanted)",
        replace: "Math.max(8, wanted)",
      },
    ],
    test: "test/recall/weak-sides.test.ts",
  },
  mutant(
    "a graph that has more of the answer than its share is not searched again",
    "lib/segment/search-cost.ts",
    "ef < ofAll && found",
    "ef < 0 && found",
    "test/recall/effort.test.ts",
  ),
  mutant(
    "a recall target is taken for reached by the second search",
    "lib/engine/read/recall-target.ts",
    "estimated >= target || ef === most",
    "true",
    "test/recall/effort.test.ts",
  ),
  {
    name: "files on their way are counted twice",
    file: "lib/engine/read/open-segments.ts",
    edits: [
      {
        search: "!this.#open.has(id) && !this.#arriving.has(id)",
        replace: "!this.#open.has(id)",
      },
    ],
    test: "test/engine/read/cache-bound.test.ts",
  },
  {
    name: "space is taken after others were asked for it",
    file: "lib/engine/read/shard-views.ts",
    edits: [
      {
        search: "if (leaving === null) return take();",
        replace: "if (leaving === null) return Promise.resolve().then(take);",
      },
    ],
    test: "test/engine/read/cache-bound.test.ts",
  },
  {
    name: "what is laid over a view is not counted",
    file: "lib/engine/read/laid-over.ts",
    edits: [
      {
        search: "await this.#views.takeSpace({ viewBytes, addedBytes }, () => {",
        replace: "await this.#views.takeSpace({ viewBytes: viewBytes - addedBytes, addedBytes: 0 }, () => {",
      },
    ],
    test: "test/engine/read/cache-bound.test.ts",
  },
  mutant(
    "of the records that a reader has open none are closed for others",
    "lib/segment/open-records.ts",
    "this.#open.size >= this.#max",
    "this.#open.size === Number.POSITIVE_INFINITY",
    "test/engine/read/cache-bound.test.ts",
  ),
  mutant(
    "of what a reader without a view fails at only damage is reported",
    "lib/engine/read/newest-version.ts",
    `error.kind === "corrupt" || this.#current === null`,
    `error.kind === "corrupt"`,
    "test/engine/read/cache-bound.test.ts",
  ),
  mutant(
    "a call is refused by the configuration of a former collection",
    "lib/engine/read/reading.ts",
    "if (!mayBeRight || !(await this.#cache.isMadeAgain(request.collection))) throw error;",
    "if (mayBeRight || error !== null) throw error;",
    "test/engine/read/made-again.test.ts",
  ),
  mutant(
    "a token of a former collection counts as ingested",
    "lib/engine/read/read-request.ts",
    "token.collectionId !== null && token.collectionId !== collection.id",
    "token.collectionId === null && token.collectionId === collection.id",
    "test/engine/read/made-again.test.ts",
  ),
  mutant(
    "a process that is frozen between calls goes on answering from clusters",
    "lib/engine/read/cold-start.ts",
    "if (this.offer === null) return false;",
    "if (this.offer === null || nowMs > 0) return false;",
    "test/engine/read/cold-view.test.ts",
  ),
  mutant(
    "a query waits for late graphs for as long as they take",
    "lib/engine/read/aged-views.ts",
    "const found = await this.#world.clock.atMost(graphsHoldMs, coming);",
    "const found = { value: await coming };\n    if (graphsHoldMs < 0) return null;",
    "test/engine/read/cold-view.test.ts",
  ),
  mutant(
    "a deleted collection stays open when it is not asked for",
    "lib/engine/read/shard-cache.ts",
    "    this.#lookAgain();\n",
    "",
    "test/engine/catalog/collections.test.ts",
  ),
  {
    name: "segments are closed while they are read",
    file: "lib/engine/read/shard-reader.ts",
    edits: [{ search: "    if (this.#readers > 0) return;\n", replace: "" }],
    test: "test/engine/read/swap.test.ts",
  },
  {
    name: "a segment that came back shares the folder of its former self",
    file: "lib/engine/read/open-segments.ts",
    edits: [{ search: "{++OpenSegments.#opened}", replace: "{0}" }],
    test: "test/engine/read/swap.test.ts",
  },
  {
    name: "a deleted collection's cached views go on serving",
    file: "lib/engine/read/aged-views.ts",
    edits: [
      {
        search: "older.manifest.version > 0 && (await this.#isOurs())",
        replace: "older.manifest.version > 0",
      },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  mutant(
    "metadata takes numbers that were rounded",
    "lib/core/model/metadata.ts",
    "(isInexact(value[key]) && !isKept() ? inexactReason : null)",
    "null",
    "test/hostile/numbers.test.ts",
  ),
  mutant(
    "filters compare with numbers that were rounded",
    "lib/core/model/filter.ts",
    "  if (isInexact(value)) throw bad(path, inexactReason);\n",
    "",
    "test/hostile/numbers.test.ts",
  ),
  mutant(
    "any text of a delta's metadata passes for an earlier producer's",
    "lib/core/model/metadata.ts",
    "encodeMetadata(value as Metadata) === text",
    "text.length > 0",
    "test/hostile/numbers.test.ts",
  ),
  mutant(
    "a token is not looked at",
    "lib/engine/read/reader.ts",
    "return token ? reader.including(token, maxAgeMs, tolerant) :",
    "return token === null ? reader.including(token, maxAgeMs, tolerant) :",
  ),
  {
    name: "token read: pointer before the deltas",
    file: "lib/engine/read/overlays.ts",
    edits: [
      {
        search:
          "      const there = await this.#locate(missing, read);\n      const view = await this.#newest.refreshed();\n",
        replace:
          "      const view = await this.#newest.refreshed();\n      const there = await this.#locate(missing, read);\n",
      },
    ],
    test: "test/engine/read/token.test.ts",
  },
  {
    name: "token read: a delta that was put aside is passed over",
    file: "lib/engine/read/overlays.ts",
    edits: [
      {
        search: "limit(() => whereabouts(this.#world.store, this.#ref, delta))",
        replace: "limit(() => whereabouts(this.#world.store, this.#ref, delta).catch(() => null))",
      },
    ],
    test: "test/engine/read/token.test.ts",
  },
  {
    name: "token read: a delta that was put back is taken for ingested",
    file: "lib/engine/read/overlays.ts",
    edits: [
      {
        search: "limit(() => whereabouts(this.#world.store, this.#ref, delta))",
        replace: "limit(() => whereabouts(this.#world.store, this.#ref, delta).then(() => null))",
      },
    ],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "a retry leaves no trace",
    file: "lib/engine/shard/quarantine.ts",
    edits: [
      {
        search: "  await store.delete([copyKey]);\n  return retriedAs;",
        replace: "  await store.delete([copyKey, quarantineReasonKey(shard, delta)]);\n  return retriedAs;",
      },
    ],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "the trace of a retry is not proved",
    file: "lib/engine/shard/quarantine.ts",
    edits: [{ search: "    decodeSealed(found.body, key, reasonFormat);\n", replace: "" }],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "a run that slept overwrites the trace of a retry",
    file: "lib/engine/shard/quarantine.ts",
    edits: [{ search: "store.put(key, body, { ifAbsent: true })", replace: "store.put(key, body)" }],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "a delta is put again with the bit that flipped in its GET",
    file: "lib/engine/shard/put-again.ts",
    edits: [
      {
        search: 'if (first.kind !== "found" || decoded(first.body, delta)) return first;',
        replace: 'if (first.kind !== "found" || first.body) return first;',
      },
    ],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "a delta is put again as it was read the second time, whatever that gave",
    file: "lib/engine/shard/put-again.ts",
    edits: [
      {
        search: "|| second.body.equals(first.body)) return second;",
        replace: "|| first.body) return second;",
      },
    ],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "rows that are put again take a new place in the order of writes",
    file: "lib/engine/shard/put-again.ts",
    edits: [{ search: "return writtenAs < again ?", replace: 'return again === "" ?' }],
    test: "test/engine/operate/retry.test.ts",
  },
  {
    name: "a strong read leaves out what is too much",
    file: "lib/engine/read/overlays.ts",
    edits: [
      {
        search: "        throw this.#tooMuch(pending.length, bytes);",
        replace: "        pending.length = bounds.overlaidDeltas;",
      },
    ],
    test: "test/engine/read/token.test.ts",
  },
  ...(
    [
      [
        "a vector's base64 is matched before its length is looked at",
        "lib/core/model/vector.ts",
        "if (text.length > vectorBase64Bytes(dims) || given !== bytes)",
        'if (text.replace(/=+$/, "").length < 0 || given !== bytes)',
      ],
      [
        "a token is decoded however long it is",
        "lib/core/format/token.ts",
        "  if (text.length > tokenCharsMax) throw tooManyNamed();\n",
        "",
      ],
      [
        "the tokens of a call are not counted together",
        "lib/engine/read/read-request.ts",
        "    if (named > namedDeltasMax) throw tooManyNamed();\n",
        "",
      ],
      [
        "a list of a call has any length",
        "lib/aws/parse-event.ts",
        "z.array(entry).check(z.maxLength(max))",
        "max > 0 ? z.array(entry) : z.array(entry)",
      ],
      [
        "JSON is parsed before its bounds are looked at",
        "lib/aws/json-text.ts",
        "  if (mistake === null) return parseExactly(text);\n",
        "  if (mistake === null || mistake.isJson) return parseExactly(text);\n",
      ],
      [
        "a question has as many bytes as records",
        "lib/aws/lambda-handler.ts",
        "urlCall(event, options.bodyBytesMax ?? bodyBytesMax)",
        "urlCall(event, bodyBytesMax)",
      ],
      [
        "values that Lambda has parsed have no bounds",
        "lib/aws/json-text.ts",
        "    if (value.length > jsonEntriesMax) throw refusal(tooManyEntries);\n",
        "",
      ],
      [
        "a filter runs whatever it costs",
        "lib/core/model/filter-cost.ts",
        "if (total > limit) throw tooCostly",
        "if (total < 0) throw tooCostly",
      ],
      [
        "what a filter reads of lists costs nothing",
        "lib/core/model/filter-cost.ts",
        "const cost = count(condition.field, value) * perEntry;",
        "const cost = count(condition.field, value) * 0;",
      ],
      [
        "the entries of a value are counted for each condition that names it",
        "lib/core/model/filter-cost.ts",
        "count = (one) => counted.get(one) ?? counted.set(one, counter(one)).get(one)!;",
        "count = (one) => counted.set(one, counter(one)).get(one)!;",
      ],
      [
        "a text of any length is embedded",
        "lib/embedding/lexical-embedder.ts",
        "if (bytes > textBytesMax)",
        "if (bytes < 0)",
      ],
      [
        "any number of marks is put in order",
        "lib/embedding/lexical-embedder.ts",
        `.replace(excessMarksPattern, "$1")`,
        "",
      ],
    ] as const
  ).map(([name, file, search, replace]) => ({
    ...mutant(name, file, search, replace),
    test: "test/hostile/query-limits.test.ts",
  })),
  {
    name: "a fence alone before chunks are put, the high-water after it",
    file: "lib/jobs/transitions.ts",
    edits: [
      {
        search:
          "isHeld(item, claim) ? { ...item, stamp, highWater: Math.max(item.highWater, chunks) } : null;",
        replace: "isHeld(item, claim) ? { ...item, stamp } : null;",
      },
      {
        search: "chunks, attempts: item.attempts + 1 }",
        replace: "chunks, attempts: item.attempts + 1, highWater: Math.max(item.highWater, chunks) }",
      },
    ],
    test: jobSimulation,
  },
  mutant(
    "whoever could not record puts all the same",
    "lib/jobs/work.ts",
    "return after === null ? null : { item: after, chunks, vectors };",
    "return { item: after ?? item, chunks, vectors };",
    jobSimulation,
  ),
  mutant(
    "an item is forgotten while it has chunks",
    "lib/jobs/item.ts",
    "return isGone || item.highWater === 0 ?",
    "return isGone || item.highWater >= 0 ?",
    jobSimulation,
  ),
  mutant(
    "tombstones for the chunks of the revision before alone",
    "lib/jobs/chunk-rows.ts",
    "Math.max(0, item.highWater - chunks)",
    "Math.max(0, (item.chunks ?? 0) - chunks)",
    jobSimulation,
  ),
  mutant(
    "a newer save may have an older version",
    "lib/jobs/transitions.ts",
    "Math.max(Math.floor(nowMs), (before?.version ?? 0) + 1)",
    "Math.floor(nowMs)",
    jobSimulation,
  ),
  mutant(
    "whether a save is embedded in the call is asked before its items are written alone",
    "lib/jobs/save.ts",
    "await embedsInCall(world.table, collection)",
    "settings.inCall.includes(collection.id)",
    "test/jobs/embed-all.test.ts",
  ),
  mutant(
    "a bulk run makes a revision once more whatever has been saved since",
    "lib/jobs/transitions.ts",
    "before.revision !== save.again || isActive(before)",
    "isActive(before)",
    "test/jobs/embed-all.test.ts",
  ),
  mutant(
    "a bulk run that goes on queues again what it has queued",
    "lib/jobs/embed-all/bulk-run.ts",
    "item.operationId === run.id && item.status",
    "item.operationId === run.collectionId && item.status",
    "test/jobs/embed-all.test.ts",
  ),
  mutant(
    "items stand by their jobs and not by what is stored",
    "lib/jobs/embed-all/judge.ts",
    "  if (isSo) return judged",
    '  if (isSo || item.status === "completed") return judged',
    "test/jobs/embed-all.test.ts",
  ),
  mutant(
    "chunks are put after any time",
    "lib/jobs/work.ts",
    "if (sleptMs > deltaPutMaxMs)",
    "if (sleptMs < 0)",
    "test/jobs/life-of-a-job.test.ts",
  ),
  {
    ...mutant(
      "a secret's ARN may be of any type",
      "lib/embedding/provider-access.ts",
      'typeof value === "string" && /^arn:aws[\\w-]*:secretsmanager:\\S{1,1800}$/.test(value)',
      "/^arn:aws[\\w-]*:secretsmanager:\\S{1,1800}$/.test(String(value))",
    ),
    test: "test/embedding/provider-access.test.ts",
  },
  {
    ...mutant(
      "a function's name in the environment may be any text",
      "lib/aws/environment.ts",
      "!names.every((name) => functionNamePattern.test(name)) || ",
      "",
    ),
    test: "test/aws/environment.test.ts",
  },
  ...(
    [
      [
        "a path that is none is read at a local port",
        "scripts/local/request-guard.ts",
        'if (!URL.canParse(url ?? "/", "http://127.0.0.1")) return "the path is not one";',
        "",
      ],
      [
        "a form of the local SQS may be of any depth",
        "scripts/local/sqs/query-protocol.ts",
        "if (path.length > namePartsMax) return null;",
        "",
      ],
      [
        "what is no call of DynamoDB is handed on",
        "scripts/local/dynamodb.ts",
        'if (call === null) return { __type: "com.amazon.coral.service#SerializationException" };',
        "if (call === null) return null;",
      ],
    ] as const
  ).map(([name, file, search, replace]) => ({
    ...mutant(name, file, search, replace),
    test: "test/hostile/local-ports.test.ts",
  })),
  {
    ...mutant(
      "a manifest's time may be a number",
      "lib/core/format/manifest.ts",
      'typeof manifest.createdAt !== "string" || ',
      "",
    ),
    test: "test/hostile/forged-descriptors.test.ts",
  },
  {
    ...mutant(
      "what is said of a damaged object commands the terminal",
      "lib/core/model/errors.ts",
      "reason.replace(commandPattern, codePoint)",
      "reason",
    ),
    test: "test/hostile/forged-descriptors.test.ts",
  },
  mutant(
    "what a Parquet run says is believed",
    "lib/import/sources/parquet-bounds.ts",
    "values - wanted > 7 && !(width > 0 && half * width <= room)\n      : values > wanted",
    "false\n      : false",
    importSizes,
  ),
  mutant(
    "what a Parquet page says is believed",
    "lib/import/sources/parquet-bounds.ts",
    "values > pageValuesMax || bytes > pageBytesMax",
    "false",
    importSizes,
  ),
  mutant(
    "rows that a Parquet file does not have are made up",
    "lib/import/sources/parquet-pages.ts",
    "if (next < rows.limit)",
    "if (next < 0)",
    importSizes,
  ),
  mutant(
    "an item's damaged record stops its neighbours",
    "lib/jobs/held-jobs.ts",
    'if (!isKind(error, "corrupt")) throw error;\n      // The others',
    "throw error;\n      // The others",
    hostileJobs,
  ),
  mutant(
    "an item's damaged record stops the sweep",
    "lib/jobs/sweep.ts",
    'if (!isKind(error, "corrupt")) throw error;\n      damaged',
    "throw error;\n      damaged",
    hostileJobs,
  ),
  mutant(
    "an item's record is believed",
    "lib/jobs/item.ts",
    ".find(([name, is]) => !is(value[name]))",
    ".find(() => false)",
    hostileJobs,
  ),
  mutant(
    "an item's record is taken from another's key",
    "lib/jobs/item.ts",
    "item.collectionId !== key.collectionId || item.item !== key.item",
    "false",
    hostileJobs,
  ),
  mutant(
    "blank lines are found by a pattern that steps back",
    "lib/embedding/chunks.ts",
    "  blankLineEnds,\n",
    "  (text) => ends(text, /(?:\\r?\\n[ \\t]*){2,}/g),\n",
    hostileJobs,
  ),
  mutant(
    "an event's failure is made text as it likes",
    "scripts/cli/event-commands.ts",
    'typeof said === "string" ? said : jsonOf(said)',
    "String(said)",
    "test/hostile/held-messages.test.ts",
  ),
  {
    ...mutant(
      "the columns of a file are compared each with all others",
      "lib/import/sources/csv.ts",
      "header.find((name) => seen.size === seen.add(name).size)",
      "header.find((name, i) => header!.indexOf(name) < i)",
    ),
    test: "test/hostile/imports.test.ts",
  },
  {
    ...mutant(
      "a key that may be another object's is taken as it is read",
      "lib/core/model/exact-json.ts",
      'return text.includes("\\\\") && hasMistakableKey(value) ? withKeysApart(text, revive) : value;',
      "return value;",
    ),
    test: "test/hostile/escaped-keys.test.ts",
  },
  {
    ...mutant(
      "what Lambda has read is taken with keys that may be others'",
      "lib/aws/json-text.ts",
      "    if (isMistakable(key)) throw refusal(mistakable);\n",
      "",
    ),
    test: "test/hostile/escaped-keys.test.ts",
  },
  {
    ...mutant(
      "what was counted of a level is forgotten at each of its lists and objects",
      "lib/aws/json-scan.ts",
      "      parts = counts[level]!;\n",
      "      parts = 0;\n",
    ),
    test: "test/aws/json-text.test.ts",
  },
  {
    ...mutant(
      "records of an answer are not counted while they are built",
      "lib/core/model/answer-size.ts",
      "if (this.#bytes > answerBytesMax) {",
      "if (this.#bytes < 0) {",
    ),
    test: "test/hostile/answer-size.test.ts",
  },
  {
    ...mutant(
      "an answer is made whole before it is measured",
      "lib/aws/lambda-handler.ts",
      "    if (bytes > answerBytesMax) throw tooLarge();\n",
      "",
    ),
    test: "test/hostile/answer-size.test.ts",
  },
  {
    ...mutant(
      "a read of another embedding space is answered",
      "lib/core/model/collection.ts",
      "  if (isOfSpace(collection, asked)) return;\n",
      '  if (asked !== "") return;\n',
    ),
    test: "test/lambdas/embedding-version.test.ts",
  },
  ...(
    [
      [
        "an error's message has any length",
        "lib/core/model/errors.ts",
        "super(cutText(message, errorTextBytesMax), cause);",
        "super(message, cause);",
      ],
      [
        "a problem's reason has any length",
        "lib/core/model/errors.ts",
        "reason: cutText(reason, problemTextBytesMax),",
        "reason,",
      ],
      [
        "a log line has any length",
        "lib/aws/telemetry.ts",
        "if (bytes > factsBytesMax) return",
        "if (bytes < 0) return",
      ],
      [
        "quoted values are logged",
        "lib/aws/telemetry.ts",
        "cutText(withoutQuoted(value), factTextBytesMax)",
        "cutText(value, factTextBytesMax)",
      ],
      [
        "a defect's message is logged",
        "lib/aws/telemetry.ts",
        "...(error instanceof SiltstoneError ? { said",
        "...(error instanceof Error ? { said",
      ],
      [
        "Lambda's runtime logs the message that a caller gets",
        "lib/aws/lambda-handler.ts",
        "    return { errorType: this.name };\n",
        "    return { ...this, message: this.message };\n",
      ],
      [
        "a refusal is logged as it is said",
        "lib/aws/lambda-handler.ts",
        "fields: fieldsOf(error), problems",
        "fields: error.message, problems",
      ],
      [
        "fields are logged as the caller wrote them",
        "lib/aws/lambda-handler.ts",
        '(callFields.has(head) ? head : "other")',
        "(callFields.has(head) ? head : head)",
      ],
      // biome-ignore-start lint/suspicious/noTemplateCurlyInString: it is in the sources
      [
        "a row's fault is logged with its value",
        "lib/engine/shard/deltas.ts",
        "its ${part}`, [problem]);",
        "its ${part}, ${problem.reason}`, [problem]);",
      ],
      // biome-ignore-end lint/suspicious/noTemplateCurlyInString: it is in the sources
    ] as const
  ).map(([name, file, search, replace]) => ({
    ...mutant(name, file, search, replace),
    test: "test/hostile/logs.test.ts",
  })),
  {
    ...mutant(
      "new ids may hold invisible characters",
      "lib/core/model/check-records.ts",
      'add("id", newIdProblem(id));',
      'add("id", idProblem(id));',
    ),
    test: "test/hostile/ids.test.ts",
  },
  {
    ...mutant(
      "ids of an older version cannot be deleted",
      "lib/core/model/check-records.ts",
      "const idReason = idProblem(fields.id);",
      "const idReason = newIdProblem(fields.id);",
    ),
    test: "test/hostile/ids.test.ts",
  },
  {
    ...mutant(
      "health names every collection",
      "lib/engine/read/health.ts",
      "if (collection === undefined) return summaryOf(all);",
      "if (collection === undefined) return { ...summaryOf(all), shards: all };",
    ),
    test: "test/hostile/knowledge.test.ts",
  },
  {
    ...mutant(
      "health names collections whose name begins alike",
      "lib/engine/read/health.ts",
      'shard.split("/")[0] === name',
      "shard.startsWith(name)",
    ),
    test: "test/hostile/knowledge.test.ts",
  },
  mutant(
    "a strong read takes a cut LIST for the whole backlog",
    "lib/engine/read/overlays.ts",
    "if (isCut(listed)) continue;",
    "",
    "test/engine/read/growing-overlay.test.ts",
  ),
  mutant(
    "a read lays over what was ingested, forgotten and taken back meanwhile",
    "lib/engine/read/overlays.ts",
    "const outrunVersions = 3;",
    "const outrunVersions = 3_000;",
  ),
  mutant(
    "a piece of a backlog is kept for one of its deltas",
    "lib/engine/read/laid-over.ts",
    "deltas.every(isWanted)",
    "deltas.some(isWanted)",
  ),
  {
    name: "a strong read shares a round that has begun",
    file: "lib/engine/read/overlays.ts",
    edits: [
      {
        search: "        this.#waiting = null;\n        return this.#strong();",
        replace: "        return this.#strong().finally(() => (this.#waiting = null));",
      },
    ],
    test: "test/engine/read/growing-overlay.test.ts",
  },
  {
    name: "what was read of a backlog is good for ever",
    file: "lib/engine/read/overlays.ts",
    edits: [
      { search: " && nowMs <= (this.#backlog.get(delta)?.goodUntilMs ?? nowMs)", replace: " && nowMs >= 0" },
    ],
    test: "test/engine/read/growing-overlay.test.ts",
  },
  {
    name: "rows of a backlog that are kept are not counted",
    file: "lib/engine/read/overlays.ts",
    edits: [
      { search: "this.#backlogBytes += laidOverBytes(read.rows);", replace: "this.#backlogBytes += 0;" },
    ],
    test: "test/engine/read/growing-overlay.test.ts",
  },
  mutant(
    "a strong read shows what came too late to be acknowledged",
    "lib/engine/shard/deltas.ts",
    "delta > manifest.watermark && !applied.has(delta)",
    "manifest !== null && !applied.has(delta)",
    "test/engine/shard/backlog.test.ts",
  ),
  mutant(
    "the first page of a LIST is taken for all",
    "lib/engine/shard/deltas.ts",
    "      else yield { delta, bytes, modifiedMs };\n    }\n",
    "      else yield { delta, bytes, modifiedMs };\n    }\n    return;\n",
  ),
  {
    name: "a delta of another collection or embedding space is ingested",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: "      misfit(collection, shard, header) ??\n", replace: "" }],
    test: "test/engine/compact/compact.test.ts",
  },
  mutant(
    "deltas are put aside before their horizon",
    "lib/engine/shard/deltas.ts",
    "return nowMs - createdAtMs <= beyondMs",
    "return nowMs - createdAtMs <= beyondMs / 4",
  ),
  mutant(
    "epochs start again when the lease table is lost",
    "lib/engine/compact/ingest.ts",
    "ingestLease(shardName(ref)), first.pointer.epoch)",
    "ingestLease(shardName(ref)))",
  ),
  mutant(
    "a slow process takes a manifest that was deleted as garbage for damage",
    "lib/engine/shard/head.ts",
    "if ((await readPointer(store, collection, shard, etag)) === null) throw error;",
    "throw error;",
  ),
  mutant(
    "a flat segment is merged with itself, again and again",
    "lib/core/policy/merge-plan.ts",
    "const isGain = (segment: Segment): boolean => segment.rows > flatRowsMax;",
    "const isGain = (): boolean => true;",
  ),
  mutant(
    "tie broken the wrong way",
    "lib/core/model/row.ts",
    "a.delta < b.delta ? -1 : 1",
    "a.delta < b.delta ? 1 : -1",
  ),
  mutant(
    "older writes win",
    "lib/core/model/fold.ts",
    "compareOrder(row, known) > 0",
    "compareOrder(row, known) < 0",
  ),
  {
    name: "a row dropped by the fold, and no conservation check",
    file: "lib/core/model/fold.ts",
    edits: [
      {
        search: "return { kept: [...last.values()], superseded };",
        replace: "return { kept: [...last.values()].slice(0, 3), superseded };",
      },
      {
        file: "lib/engine/compact/conservation.ts",
        search: "if (equalSums(sums.cameIn, accounted)) return;",
        replace: "if (accounted) return;",
      },
    ],
  },
  mutant(
    "a row dropped by the fold (the conservation check must stop it)",
    "lib/core/model/fold.ts",
    "return { kept: [...last.values()], superseded };",
    "return { kept: [...last.values()].slice(0, 3), superseded };",
  ),
  mutant(
    "shadows computed from one side only",
    "lib/segment/shadowed-rows.ts",
    "if (smallDies && labelSmall !== null) inSmall.push(labelSmall);",
    "if (smallDies && labelSmall !== null && small === null) inSmall.push(labelSmall);",
  ),
  mutant(
    "a row without a field meets no negated condition",
    "lib/segment/filter-labels.ts",
    "const answers = new Uint8Array(sizeOf(values) + 1).fill(1 - positive);",
    "const answers = new Uint8Array(sizeOf(values) + 1).fill(1 - positive, 1);",
    "test/core/model/filter.test.ts",
  ),
  mutant(
    "slots without a row meet conditions",
    "lib/segment/filter-labels.ts",
    "if (held !== null) for",
    "if (held === null) for",
    "test/segment/field-index.test.ts",
  ),
  mutant(
    "what a thread compared is remembered of the other segment",
    "lib/engine/read/view.ts",
    "remember(first, second, await work.shadowed(first, second));",
    "remember(second, first, await work.shadowed(first, second));",
    "test/segment",
  ),
  mutant(
    "a delete does not shadow",
    "lib/segment/shadowed-rows.ts",
    `      ["rows", "tombstones"],\n      ["tombstones", "rows"],\n`,
    "",
  ),
  {
    name: "equally near rows are cut by their places in a segment",
    file: "lib/segment/vector-search.ts",
    edits: [
      {
        search: "if (this.#ranks === null && hits[wanted]?.distance === hits[wanted - 1]!.distance) {",
        replace: "if (this.#ranks === null && wanted < 0) {",
      },
    ],
    test: "test/engine/read/ties.test.ts",
  },
  {
    name: "ids in the order of UTF-16",
    file: "lib/core/model/top-k.ts",
    edits: [{ search: "  if (isSurrogate(ofA) && ofB > 0xdfff) return 1;\n", replace: "" }],
    test: "test/engine/read/ties.test.ts",
  },
  {
    name: "a cold view ranks by residual codes alone what it does not look at",
    file: "lib/engine/read/cold-view.ts",
    edits: [
      {
        search: "left = promising(left.slice(wanted), looked, best, topK);",
        replace: "left = best.length < topK ? left.slice(wanted) : [];",
      },
    ],
    test: "test/engine/read/ties.test.ts",
  },
  {
    name: "rows of one vector in clusters.bin in the order of labels",
    file: "lib/segment/write-clusters.ts",
    edits: [{ search: "partition(clusterOf, count, this.#byId())", replace: "partition(clusterOf, count)" }],
    test: "test/engine/read/ties.test.ts",
  },
  {
    name: "a cosine score of the same direction is just below 1",
    file: "lib/engine/read/read-request.ts",
    edits: [{ search: "Math.fround(1 - distance) : 1 - distance", replace: "1 - distance : 1 - distance" }],
    test: "test/engine/read/scores.test.ts",
  },
  {
    // The balance of the ledger alone would stop it.
    name: "merge does not revalidate its inputs, and no ledger is balanced",
    file: "lib/engine/compact/merge-step.ts",
    edits: [
      {
        search: "return [...inputs, ...against].every((id) => there.has(id));",
        replace: "return [...inputs, ...against].every((id) => there.has(id) || id !== null);",
      },
      {
        file: "lib/core/format/manifest.ts",
        search: "if (!equalSums(kept, ledger.ingested)) {",
        replace: "if (kept.rows < 0) {",
      },
    ],
  },
  {
    name: "a merge that leaves no row uploads its files",
    file: "lib/engine/compact/merge-step.ts",
    edits: [
      { search: "if (merged.segment.sum.rows > 0) await uploadSegment", replace: "await uploadSegment" },
    ],
    test: "test/engine/compact/merge.test.ts",
  },
  {
    name: "a merge that was undercut is given up, again and again",
    file: "lib/engine/compact/merge-step.ts",
    edits: [{ search: "of [dropBeforeMs, 0]) {", replace: "of [dropBeforeMs, dropBeforeMs]) {" }],
    test: "test/engine/compact/merge.test.ts",
  },
  mutant(
    "a merge forgets tombstones that something newer undercuts",
    "lib/engine/compact/merge-step.ts",
    `joined.every((segment) => segment.minVersion > merged.droppedVersionMax) ? "merged" : "undercut"`,
    `joined.length >= 0 ? "merged" : "undercut"`,
    "test/engine/compact/merge.test.ts",
  ),
  mutant(
    "what superseded a row that was left out need not be part of the version",
    "lib/engine/compact/merge-step.ts",
    "return [...inputs, ...against].every((id) => there.has(id));",
    "return [...inputs, ...against.slice(0, 0)].every((id) => there.has(id));",
  ),
  mutant(
    "rows are left out that a neighbour holds older writes of",
    "lib/segment/merge-inputs.ts",
    "if (compareOrder(place, order) > 0) {",
    "if (compareOrder(place, order) > 0 && id === null) {",
    "test/engine/compact/churn.test.ts",
  ),
  mutant(
    "merge of a part drops tombstones, though a neighbour holds what they beat",
    "lib/segment/merge-inputs.ts",
    "if (segment.minVersion <= version && mayHold(i)) droppable.delete(i);",
    "if (segment.minVersion < 0 && mayHold(i)) droppable.delete(i);",
  ),
  mutant(
    "a tombstone is dropped beside a graph whose records it was compared with, and which holds what it beats",
    "lib/segment/merge-inputs.ts",
    "if (place.label === null) deleted.add(id);",
    "if (place.label === null && id === null) deleted.add(id);",
    "test/segment/merge-segments.test.ts",
  ),
  mutant(
    "ingestion leaves flat segments to pile up",
    "lib/core/policy/merge-plan.ts",
    "if (flats.length <= bounds.piledFlats) return null;",
    "if (flats.length <= bounds.piledFlats * 100) return null;",
    "test/engine/compact/many-segments.test.ts",
  ),
  mutant(
    "a damaged segment keeps the others that have piled up from being merged",
    "lib/engine/compact/fold-piled.ts",
    'if (!isKind(error, "corrupt")) throw error;',
    "if (error !== null) throw error;",
    "test/engine/compact/many-segments.test.ts",
  ),
  mutant(
    "a write that a roll back took back is missing from its token's answer without a word",
    "lib/engine/operate/rollback.ts",
    "        takenBack: takenBackBy(manifest, target),\n",
    "",
    "test/engine/operate/restore.test.ts",
  ),
  mutant(
    "a second roll back forgets what the first one took back",
    "lib/core/format/manifest.ts",
    "lacking !== undefined && lacking.from < target.watermark ? lacking.from : target.watermark",
    "target.watermark",
    "test/engine/operate/restore.test.ts",
  ),
  mutant(
    "a strong read LISTs from the very beginning, over the delete markers of all that was ingested",
    "lib/engine/read/overlays.ts",
    "const listed = await listDeltas(this.#world.store, this.#ref, watermark);",
    'const listed = await listDeltas(this.#world.store, this.#ref, "0".repeat(26) as typeof watermark);',
    "test/engine/compact/late-deltas.test.ts",
  ),
  mutant(
    "a version may have any number of segments",
    "lib/engine/shard/publish.ts",
    "if (next.segments.length > bounds.segments) throw",
    "if (next.segments.length > bounds.segments * 100) throw",
    "test/engine/compact/many-segments.test.ts",
  ),
  mutant(
    "the ingest lease runs out while ingestion merges what has piled up",
    "lib/engine/compact/fold-piled.ts",
    "      await run.lease.check();\n",
    "",
    "test/engine/compact/many-segments.test.ts",
  ),
  mutant(
    "of three flat segments the newest write of an id is not what the others die of",
    "lib/segment/newest-writes.ts",
    "WHERE (excluded.version, excluded.delta, excluded.row) > (newest.version, newest.delta, newest.row)",
    "WHERE (excluded.version, excluded.delta, excluded.row) < (newest.version, newest.delta, newest.row)",
  ),
  mutant(
    "a view does not compare its flat segments with its graphs",
    "lib/engine/read/view.ts",
    "for (const graph of graphs) newest.compare(graph);",
    "for (const graph of graphs.slice(0, 0)) newest.compare(graph);",
  ),
  mutant(
    "a view takes over what died of segments that it has no more",
    "lib/engine/read/view.ts",
    "if (added.length > addedMost || segments.length - added.length < this.segments.length) return null;",
    "if (added.length > addedMost) return null;",
  ),
  mutant(
    "what other segments supersede is not counted",
    "lib/core/policy/merge-plan.ts",
    "return Math.min(rows + tombstones, counted);",
    "return Math.min(0, rows + tombstones + counted);",
    "test/engine/compact/churn.test.ts",
  ),
  mutant(
    "a little that is stale stays for ever",
    "lib/core/policy/merge-plan.ts",
    "nowMs - since > limits.staleMsMax &&",
    "nowMs - since > Number.MAX_VALUE &&",
    "test/engine/compact/churn.test.ts",
  ),
  mutant(
    "segments that lie still are never compared",
    "lib/core/policy/merge-plan.ts",
    "if (due === undefined) return null;",
    "if (due === undefined || old.length < 99) return null;",
    "test/engine/compact/churn.test.ts",
  ),
  mutant(
    "what is compared is what fits, not what is due: again and again",
    "lib/core/policy/merge-plan.ts",
    "takeWhile([due, ...beside], segmentRowsMax(manifest.dims, limits))",
    'takeWhile(due.kind === "flat" ? bySize.filter(({ kind }) => kind === "flat") : [due, ...beside], segmentRowsMax(manifest.dims, limits))',
    "test/engine/compact/merge.test.ts",
  ),
  mutant(
    "flat segments that do not fit into one are compared every day, and never known",
    "lib/core/policy/merge-plan.ts",
    'isSmallGraph(one) || (one.kind === "flat" && old.includes(one))',
    "isSmallGraph(one)",
    "test/engine/compact/merge.test.ts",
  ),
  mutant(
    "a full flat segment waits for its graph while there is a smaller one",
    "lib/core/policy/merge-plan.ts",
    "flats.filter(isGain).slice(0, 1)",
    "fitting.filter(isGain)",
    "test/core/policy/merge-plan.test.ts",
  ),
  mutant(
    "a deleted document's text stays in free pages of records.db",
    "lib/segment/records-db.ts",
    "PRAGMA secure_delete = ON",
    "PRAGMA secure_delete = OFF",
    "test/segment",
  ),
  mutant(
    "merge drops tombstones at once",
    "lib/engine/compact/merge-step.ts",
    "step.dropsTombstones ? world.clock.nowMs() - tombstoneKeepMsOf(collection) : 0",
    "step.dropsTombstones ? world.clock.nowMs() : 0",
  ),
  {
    name: "deltas grow old by a clock that was set",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: "Math.min(askedMs, world.clock.nowMs())", replace: "world.clock.nowMs()" }],
    test: "test/engine/clock.test.ts",
  },
  mutant(
    "a collection that never forgets its deletes forgets them after a month",
    "lib/engine/shard/deltas.ts",
    'return retention === "never" ? Number.POSITIVE_INFINITY : retention',
    'return retention === "never" ? horizonMs + 3_600_000 : retention',
    "test/engine/compact/tombstone-retention.test.ts",
  ),
  mutant(
    "deltas are ingested that are older than what a collection remembers of its deletes",
    "lib/engine/shard/deltas.ts",
    "Math.min(horizonMs, retention * dayMs)",
    "Math.max(horizonMs, retention * dayMs)",
    "test/engine/compact/tombstone-retention.test.ts",
  ),
  mutant(
    "tombstones are kept no hour longer than deltas are ingested",
    "lib/engine/shard/deltas.ts",
    "retention * dayMs + 3_600_000;",
    "retention * dayMs;",
  ),
  mutant(
    "deltas beyond the horizon are ingested",
    "lib/engine/shard/deltas.ts",
    "return nowMs - createdAtMs <= beyondMs",
    "return nowMs - createdAtMs <= beyondMs * 100",
  ),
  mutant(
    "a merge that landed unnoticed is taken for overtaken, its output for an orphan",
    "lib/core/policy/stale-rows.ts",
    "const kept = manifest.segments.filter(({ id }) => !plan.inputs.includes(id));",
    "const kept = manifest.segments.filter(({ id }) => plan.inputs.includes(id));",
  ),
  mutant(
    "garbage collection without raising the floor",
    "lib/engine/compact/collect-garbage.ts",
    "const raised = await raiseOnNewest(world, collection, head, kept);",
    "const raised: Head | null = { ...head };",
  ),
  {
    name: "garbage below a newer head is judged by the older survey",
    file: "lib/engine/compact/collect-garbage.ts",
    edits: [{ search: "await readHistory(world, raised, known, onStranger)", replace: "history" }],
    test: "test/engine/compact/collect-garbage.test.ts",
  },
  mutant(
    "garbage collection ignores pins",
    "lib/engine/compact/collect-garbage.ts",
    "    pinned.has(nameOf(name)) ||\n",
    "    pinned.has(nameOf(name).slice(99)) ||\n",
  ),
  mutant(
    "pins are not listed again after the floor rose",
    "lib/engine/compact/collect-garbage.ts",
    "const garbage = await findGarbage(world, now, kept, known, new Set(expected.keys));",
    "const garbage = expected;",
  ),
  mutant(
    "garbage collection keeps only the newest version",
    "lib/engine/shard/retention.ts",
    "chain[0]!.version - retention.versionsKept;",
    "chain[0]!.version - 1;",
  ),
  mutant(
    "garbage collection does not look at a version's age",
    "lib/engine/shard/retention.ts",
    "const young = last(retention.keptMs);",
    "const young = chain[0]!.version;",
  ),
  mutant(
    "erasure does not look into what was put aside",
    "lib/engine/operate/erasure.ts",
    "for (const { delta } of await listQuarantine(this.#world.store, this.#ref)) {",
    "for (const { delta } of (await listQuarantine(this.#world.store, this.#ref)).slice(0, 0)) {",
    "test/engine/operate/erasure.test.ts",
  ),
  mutant(
    "an idle shard keeps its last versions for ever, and what was deleted since",
    "lib/engine/shard/retention.ts",
    "Math.max(byNumber, last(retention.keptMsMax))",
    "Math.max(byNumber, 0)",
    "test/engine/compact/collect-garbage.test.ts",
  ),
  mutant(
    "repair infers a floor below that of a collector that found the shard idle",
    "lib/engine/shard/retention.ts",
    "return commitTimeMs(chain[i - 1]!);\n    return i === 1",
    "return nowMs + skewMaxMs;\n    return i === 1",
    "test/engine/operate/repair.test.ts",
  ),
  mutant(
    "a version's age counts from its successor's commit, however late that was published",
    "lib/engine/shard/retention.ts",
    "i === 1 ? (isIdle ? pointerMs : nowMs) : commitTimeMs(chain[i - 2]!),",
    "commitTimeMs(chain[i - 1]!),",
    "test/engine/compact/collect-garbage.test.ts",
  ),
  {
    name: "versions grow old by a clock that was set",
    file: "lib/engine/compact/collect-garbage.ts",
    edits: [
      {
        search: "const nowMs = Math.min(startMs, world.clock.nowMs());",
        replace: "const nowMs = world.clock.nowMs();",
      },
    ],
    test: "test/engine/clock.test.ts",
  },
  mutant(
    "garbage collection takes what a kept version names",
    "lib/engine/compact/collect-garbage.ts",
    "!live.has(segment) && (wasPublished",
    "(wasPublished",
  ),
  mutant(
    "orphans are deleted while they are young",
    "lib/engine/compact/collect-garbage.ts",
    "ulidFloor(nowMs - retention.orphanMs)",
    "ulidFloor(nowMs + retention.orphanMs)",
  ),
  mutant(
    "late deltas are left lying",
    "lib/engine/compact/collect-garbage.ts",
    "await quarantineLateDeltas(world, collection, head.manifest, options)",
    "[]",
  ),
  {
    name: "what came very late is never looked for",
    file: "lib/engine/compact/late-deltas.ts",
    edits: [{ search: "thorough || isTurn(collection, manifest, world.clock.nowMs())", replace: "thorough" }],
    test: "test/engine/compact/late-deltas.test.ts",
  },
  mutant(
    "rollback below the floor without copies",
    "lib/engine/operate/rollback.ts",
    "if (target.version >= head.pointer.floor.version) return target.segments;",
    "if (target.version >= 0) return target.segments;",
  ),
  {
    name: "a rollback takes another's version of its epoch for its own",
    file: "lib/engine/operate/rollback.ts",
    edits: [
      {
        search: "      if (manifest.epoch > lease.epoch)\n",
        replace:
          "      if (manifest.epoch === lease.epoch) return null;\n      if (manifest.epoch > lease.epoch)\n",
      },
      { search: "version: own!.version", replace: "version: own?.version ?? head.manifest.version + 1" },
    ],
    test: "test/engine/operate/rollback.test.ts",
  },
  {
    name: "a commit that won unnoticed is not looked for",
    file: "lib/engine/shard/publish.ts",
    edits: [{ search: "if (await isPublished(world, current, next))", replace: "if (next.version < 0)" }],
    test: "test/engine/operate/rollback.test.ts",
  },
  {
    // As above.
    name: "rollback beside a garbage collection run",
    file: "lib/engine/operate/rollback.ts",
    edits: [
      {
        search: "if (pointer.floor.generation !== head.pointer.floor.generation) {",
        replace: "if (pointer.floor.generation < 0) {",
      },
      {
        file: "lib/engine/shard/publish.ts",
        search: "if (current.pointer.floor.generation !== head.pointer.floor.generation) {",
        replace: "if (current.pointer.floor.generation < 0) {",
      },
    ],
  },
  {
    name: "a manifest that lost its race is restored for the version of its number",
    file: "lib/engine/operate/former-versions.ts",
    edits: [
      {
        search: "const next = this.#byVersion.get(snapshotVersion(version + 1)) ?? [];",
        replace:
          "const own = this.#byVersion.get(version) ?? [];\n    if (own.length > 0) return own[own.length - 1]!;\n    const next = this.#byVersion.get(snapshotVersion(version + 1)) ?? [];",
      },
    ],
    test: "test/engine/operate/former-versions.test.ts",
  },
  {
    name: "a version that only the bucket keeps is published without copies of its files",
    file: "lib/engine/operate/rollback.ts",
    edits: [
      { search: "segments.push(isSafe ? segment :", replace: "segments.push(isSafe || segment ? segment :" },
    ],
    test: "test/engine/operate/former-versions.test.ts",
  },
  mutant(
    "a part of an exported snapshot is marked before its records are written",
    "lib/import/take-over.ts",
    "  const body = await readPart(",
    "  await world.store.put(takenKey(path, collection.id, part), Buffer.from('{}'));\n  const body = await readPart(",
    "test/import/migration.test.ts",
  ),
  mutant(
    "an exported snapshot is taken over for a collection that was made again as for the one before it",
    "lib/core/format/exported-snapshot.ts",
    "`${path}run/${collectionId}/`",
    "`${path}run/${collectionId.slice(26)}/`",
    "test/import/migration.test.ts",
  ),
  mutant(
    "a part of an exported snapshot is taken as it lies there",
    "lib/import/take-over.ts",
    "sha256 !== part.sha256 || found.body.length !== part.bytes",
    "sha256 === ''",
    "test/import/migration.test.ts",
  ),
  mutant(
    "an import takes a provider that does not answer for a text that it refuses",
    "lib/import/embed-rows.ts",
    `    if (outcome.kind !== "invalid") throw outcome;\n`,
    "",
    "test/import/re-embed.test.ts",
  ),
  mutant(
    "a row that is promoted is a new write there",
    "lib/engine/operate/promote-rows.ts",
    "await target.add(shard, { ...row, vector: given });",
    "await target.add(shard, { ...row, version: to.world.clock.nowMs(), vector: given });",
    "test/engine/operate/promotion.test.ts",
  ),
  mutant(
    "a promotion leaves deletes behind",
    "lib/engine/operate/promote-rows.ts",
    `if (fate === "same" || fate === "older") continue;`,
    `if (fate === "same" || fate === "older" || write.isDelete) continue;`,
    "test/engine/operate/promotion.test.ts",
  ),
  mutant(
    "a mirrored delete beats what was written since",
    "lib/engine/operate/promote-rows.ts",
    "const { id, version, delta, row } = write;",
    "const { id, version: seen, delta, row } = write;\n      const version = seen + 3_600_000;",
    "test/cli/promote.test.ts",
  ),
  mutant(
    "a delete that may be forgotten in the target is not thought of",
    "lib/engine/operate/promotion-plan.ts",
    `? "returning" : "added"`,
    `? "added" : "added"`,
    "test/cli/promote.test.ts",
  ),
  mutant(
    "copies of segments have the age of the originals",
    "lib/engine/operate/promote-files.ts",
    "const id = ids.get(segment.id)!;",
    "const id = segment.id;",
    "test/engine/operate/promotion.test.ts",
  ),
  mutant(
    "a copy of a segment that is not whole joins",
    "lib/engine/operate/promote-files.ts",
    "if (copied?.bytes !== bytes)",
    "if (copied === null)",
    "test/engine/operate/promotion.test.ts",
  ),
  mutant(
    "segments of another store join without a lease's epoch",
    "lib/engine/operate/join-segments.ts",
    "        epoch: lease.epoch,\n",
    "        epoch: manifest.epoch - 1 as never,\n",
    "test/engine/operate/promotion.test.ts",
  ),
  mutant(
    "rollback forgets what was applied",
    "lib/engine/operate/rollback.ts",
    "        applied: manifest.applied,\n",
    "        applied: target.applied,\n",
  ),
  {
    name: "a cold view answers what other segments have superseded",
    file: "lib/engine/read/cold-view.ts",
    edits: [
      {
        search: "return found.every((other) => other === null || compareOrder(other, own) <= 0);",
        replace: "return found.length >= 0;",
      },
    ],
    test: "test/engine/read/cold-view.test.ts",
  },
  {
    name: "a graph that runs ahead of vectors.f32",
    file: "lib/segment/merge-output.ts",
    test: "test/segment",
    edits: [{ search: "while (this.#added < limit) await this.#moved.promise;", replace: "" }],
  },
  {
    name: "parts of clusters.bin not verified",
    file: "lib/engine/read/clustered-segment.ts",
    edits: [
      { search: `if (!hash("sha256", bytes, "buffer").equals(sha256))`, replace: "if (bytes.length < 0)" },
    ],
    test: "test/corruption/corruption.test.ts",
  },
  {
    name: "repair replaces a pointer that is there again",
    file: "lib/engine/operate/repair.ts",
    edits: [
      {
        search: "if (!(await putNew(world.store, key, body)))",
        replace: 'if ((await world.store.put(key, body)).kind !== "written")',
      },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  mutant(
    "repair takes the newest manifest, published or not",
    "lib/engine/operate/repair-candidates.ts",
    "candidates.filter(({ missingDeltas }) => missingDeltas === 0)",
    "candidates.slice()",
    "test/engine/operate/repair.test.ts",
  ),
  {
    name: "repair goes back to a pinned version",
    file: "lib/engine/operate/repair-candidates.ts",
    edits: [{ search: "b.manifest.version - a.manifest.version || Number", replace: "Number" }],
    test: "test/engine/operate/repair.test.ts",
  },
  {
    name: "repair does not look whether files are there",
    file: "lib/engine/operate/repair-candidates.ts",
    edits: [
      {
        search: "lossless.find(({ missingFiles }) => missingFiles === 0) ?? lossless[0]",
        replace: "lossless[0]",
      },
    ],
    test: "test/engine/operate/repair.test.ts",
  },
  {
    name: "repair gives up every older version",
    file: "lib/engine/operate/repair.ts",
    edits: [
      {
        search: "Math.min(best.manifest.version, highestFloor(chain, retention, nowMs))",
        replace: "best.manifest.version + highestFloor(chain, retention, nowMs) * 0",
      },
    ],
    test: "test/engine/operate/repair.test.ts",
  },
  {
    name: "a LIST below deltas/ goes on however many strangers it meets",
    file: "lib/engine/shard/strangers.ts",
    edits: [{ search: "met > listedStrangersMax", replace: "met > listedStrangersMax * 1e9" }],
    test: "test/hostile/strangers.test.ts",
  },
  mutant(
    "a pointer's floor may be of any time to come",
    "lib/engine/shard/head.ts",
    "aheadMs <= floorAheadMaxMs",
    "aheadMs <= floorAheadMaxMs * 1e9",
    "test/hostile/state.test.ts",
  ),
  mutant(
    "a pointer's epoch is another than its manifest's",
    "lib/engine/shard/head.ts",
    "manifest.epoch !== pointer.epoch",
    "manifest.epoch > pointer.epoch * 1e9",
    "test/hostile/state.test.ts",
  ),
  {
    name: "repair reads an object of any size in a delta's place",
    file: "lib/engine/shard/put-again.ts",
    edits: [
      {
        search: "const first = await store.getBounded(key, deltaBytesMax);",
        replace: "const first = await store.getBounded(key, deltaBytesMax * 99);",
      },
    ],
    test: "test/engine/operate/repair.test.ts",
  },
  mutant(
    "repair lowers the floor below what a sleeping collector deletes",
    "lib/engine/operate/repair.ts",
    "Math.min(best.manifest.version, highestFloor(chain, retention, nowMs))",
    "highestFloor(chain, retention, nowMs) * 0",
  ),
  mutant(
    "repair forgets which orphans may be gone",
    "lib/engine/operate/repair.ts",
    "ulidFloor(nowMs + skewMaxMs - retention.orphanMs)",
    "ulidFloor(0)",
  ),
  mutant(
    "repair begins to count garbage collection runs anew",
    "lib/engine/operate/repair.ts",
    "generation: nowMs,",
    "generation: 0,",
  ),
  {
    name: "repair makes current what a sleeping collector takes for an orphan",
    file: "lib/engine/operate/repair.ts",
    edits: [
      { search: "isProven(best, candidates) || best.missingFiles > 0", replace: "best.missingFiles >= 0" },
    ],
    test: "test/engine/operate/repair.test.ts",
  },
  {
    name: "repair leaves to a sleeping ingestion the deltas that it passed over",
    file: "lib/engine/operate/repair.ts",
    edits: [{ search: "leftOut(best, candidates, waiting)", replace: "[]" }],
    test: "test/engine/operate/repair.test.ts",
  },
  mutant(
    "quarantine deletes before it copies",
    "lib/engine/shard/quarantine.ts",
    "  const copied = await store.copy(key, copyKey);\n",
    '  const read = await store.get(key);\n  await store.delete([key]);\n  if (read.kind === "found") await store.put(copyKey, read.body);\n  const copied = there;\n',
  ),
  {
    name: "quarantine deletes the original though its copy is not proved",
    file: "lib/engine/shard/quarantine.ts",
    edits: [{ search: "?.bytes !== copied.bytes)", replace: "?.bytes === -1)" }],
    test: "test/engine/shard/quarantine.test.ts",
  },
  {
    name: "one delta that cannot be put aside stops the shard",
    file: "lib/engine/shard/quarantine.ts",
    edits: [
      {
        search: `if (!isKind(failure, "unavailable") && !isKind(failure, "uncertain")) throw failure;`,
        replace: `if (!isKind(failure, "invalid")) throw failure;`,
      },
    ],
    test: "test/engine/shard/quarantine.test.ts",
  },
  {
    name: "a batch that makes no segment stops its shard",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      {
        search: "if (made instanceof Error) return { ...nothing, fault: { deltas, error: made } };",
        replace: "if (made instanceof Error) throw made;",
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "a delta is blamed for what no delta could do",
    file: "lib/engine/compact/ingest.ts",
    edits: [
      {
        search: "if (!(await canMakeSegments(this.#world, this.#collection, this.#ref))) throw error;",
        replace: "void canMakeSegments;",
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "a full disk is a defect",
    file: "lib/segment/files.ts",
    edits: [{ search: '    case "ENOSPC":\n', replace: "" }],
    test: "test/engine/full-disk.test.ts",
  },
  {
    name: "a delta is blamed for what the machine lacks",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      {
        search: "if (!(error instanceof Error) || isOfMachine(error)) throw error;",
        replace: "if (!(error instanceof Error)) throw error;\n  void isOfMachine;",
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "what a delete says beside its id must be stored",
    file: "lib/core/format/delta.ts",
    edits: [
      {
        search: 'op === "upsert" ? [document, metadata] : [null, null]',
        replace: "[document, metadata]",
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "no run finds out what kills runs",
    file: "lib/engine/compact/ingest.ts",
    edits: [
      {
        search: "if (attempts.culprit !== null) {",
        replace: "if (attempts.culprit === shardName(this.#ref)) {",
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "suspects are taken together with what came since",
    file: "lib/engine/compact/attempts.ts",
    edits: [
      {
        search: "return ready.slice(0, limit < 0 ? most : Math.min(most, limit));",
        replace: "return ready.slice(0, limit === -2 ? limit : most);",
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "what runs died of is ingested beside other shards",
    file: "lib/engine/compact/ingest.ts",
    edits: [{ search: "{ alone: attempts.isDeadly(first!.delta) }", replace: "{ alone: false }" }],
    test: "test/engine/compact/side-by-side.test.ts",
  },
  {
    name: "a busy shard waits for the next run",
    file: "lib/engine/compact/compact.ts",
    edits: [{ search: "const busyShare = 1 / 4;", replace: "const busyShare = 1e9;" }],
    test: "test/engine/compact/busy-shard.test.ts",
  },
  {
    name: "what comes within seconds of the run before counts as a minute's",
    file: "lib/engine/compact/compact.ts",
    edits: [
      { search: "busyShare * (passedMs / busyRunMs);", replace: "busyShare * (passedMs > 0 ? 1 : 0);" },
    ],
    test: "test/engine/compact/busy-shard.test.ts",
  },
  {
    name: "each shard of a run has its whole memory",
    file: "lib/engine/compact/shared-budget.ts",
    edits: [{ search: "memoryBytes: memoryBytes - this.#memoryBytes", replace: "memoryBytes" }],
    test: "test/engine/compact/side-by-side.test.ts",
  },
  mutant(
    "a delta of which one run died is put aside",
    "lib/engine/compact/attempts.ts",
    "isAlone && before.isDeadly && before.deltas.has(only!) ? only! : null",
    "isAlone ? only! : null",
  ),
  {
    name: "a delta that the store refuses to give stops its shard",
    file: "lib/engine/shard/deltas.ts",
    edits: [
      {
        search: 'if (found.kind === "refused") return { kind: "left", delta, error: found.error };',
        replace: 'if (found.kind === "refused") throw found.error;',
      },
    ],
    test: "test/engine/compact/bad-deltas.test.ts",
  },
  {
    name: "a delta of a newer format is put aside",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: 'isNewerFormat(error) ? "left" : "unreadable"', replace: '"unreadable"' }],
    test: "test/engine/newer-format.test.ts",
  },
  {
    name: "a newer format is damage",
    file: "lib/core/format/sealed-json.ts",
    edits: [{ search: "(rest.format as number) > format)", replace: "(rest.format as number) < -format)" }],
    test: "test/engine/newer-format.test.ts",
  },
  {
    name: "a clusters.bin of a newer format stops every merge",
    file: "lib/engine/compact/merge-step.ts",
    edits: [
      {
        search: "if (!isUnreadable(error)) throw error;",
        replace: 'if (!isKind(error, "corrupt")) throw error;',
      },
    ],
    test: "test/engine/newer-format.test.ts",
  },
  {
    name: "a flipped bit takes the former name of a delta",
    file: "lib/core/format/delta.ts",
    edits: [
      {
        search: "if (header.writtenAs === undefined && holdsFormerName(",
        replace: "if (sha256 === null && holdsFormerName(",
      },
    ],
    test: "test/core/format/delta.test.ts",
  },
  {
    name: "a flipped byte makes a newer format",
    file: "lib/core/format/delta.ts",
    edits: [
      {
        search: "return corrupt(key, `${problem}, and its content is of format ${deltaFormat}`);",
        replace: "return newerFormat(key, Number(format), deltaFormat);",
      },
    ],
    test: "test/core/format/delta.test.ts",
  },
  {
    name: "the watermark hides a delta that is the first of its millisecond",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [{ search: "ulidFloor(ulidTimeMs(oldest) - 1)", replace: "ulidFloor(ulidTimeMs(oldest))" }],
    test: "test/engine/newer-format.test.ts",
  },
  {
    name: "cached views serve a name that newer code has given to another collection",
    file: "lib/engine/read/aged-views.ts",
    edits: [
      {
        search: 'return !isKind(error, "notFound") && !isNewerFormat(error);',
        replace: 'return !isKind(error, "notFound");',
      },
    ],
    test: "test/engine/newer-format.test.ts",
  },
  {
    name: "a delta is judged by one reading",
    file: "lib/engine/shard/deltas.ts",
    edits: [
      { search: "if (before === null) continue;", replace: "" },
      { search: "!before.equals(", replace: "before?.equals(Buffer.alloc(0)) && !before.equals(" },
    ],
    test: "test/engine/shard/quarantine.test.ts",
  },
  {
    name: "a delta that reads differently each time is put aside",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: "if (!before.equals(unproven))", replace: "if (before.length === 0)" }],
    test: "test/engine/shard/quarantine.test.ts",
  },
  {
    name: "a text in a delta's metadata may be named any number of times",
    file: "lib/core/format/arrow-bounds.ts",
    edits: [{ search: "  textBytes > textBytesMax\n", replace: "  textBytes < 0\n" }],
    test: "test/hostile/deltas.test.ts",
  },
  {
    name: "the bytes of a delta's batches may be named any number of times",
    file: "lib/core/format/arrow-bounds.ts",
    edits: [{ search: "totals.bodyBytes > file.length", replace: "totals.bodyBytes < 0" }],
    test: "test/hostile/deltas.test.ts",
  },
  {
    name: "a manifest may be its own parent",
    file: "lib/core/format/manifest.ts",
    edits: [{ search: "parent.version !== version - 1 || ", replace: "" }],
    test: "test/hostile/state.test.ts",
  },
  {
    name: "a slow reader takes a pointer that was placed meanwhile for a lost one",
    file: "lib/engine/shard/head.ts",
    edits: [
      { search: "if (manifests > 0 && (await store.head(key)) !== null)", replace: "if (manifests < 0)" },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  {
    name: "a pointer of any size is read",
    file: "lib/engine/shard/head.ts",
    edits: [{ search: "    bytesMax: sealedBytesMax,\n", replace: "" }],
    test: "test/hostile/state.test.ts",
  },
  {
    name: "a message of any length is parsed, and held while the run works",
    file: "lib/core/format/notification.ts",
    edits: [{ search: "if (body.length > notificationCharsMax)", replace: "if (body.length < 0)" }],
    test: "test/hostile/messages.test.ts",
  },
  {
    name: "a delta's own count of nulls is believed",
    file: "lib/core/format/delta-columns.ts",
    edits: [
      {
        search: "if (data.getValid(row)) throw bad(name);",
        replace: "if (data.nullCount < rows) throw bad(name);",
      },
    ],
    test: "test/hostile/deltas.test.ts",
  },
  {
    name: "a version from the future wins for ever",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: 'if (ordering !== "arrival") return null;', replace: "if (ordering) return null;" }],
    test: "test/hostile/time.test.ts",
  },
  {
    name: "a version is judged by S3's time alone",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: "Math.min(madeMs, found.modifiedMs)", replace: "found.modifiedMs" }],
    test: "test/hostile/time.test.ts",
  },
  {
    name: "a version is judged by the delta's own name alone",
    file: "lib/engine/shard/deltas.ts",
    edits: [{ search: "Math.min(madeMs, found.modifiedMs)", replace: "madeMs" }],
    test: "test/hostile/time.test.ts",
  },
  {
    name: "a delta's name may be of any time to come",
    file: "lib/engine/shard/deltas.ts",
    edits: [
      {
        search: "const aheadMs = ulidTimeMs(delta) - modifiedMs;",
        replace: "const aheadMs = Math.min(0, ulidTimeMs(delta) - modifiedMs);",
      },
    ],
    test: "test/hostile/time.test.ts",
  },
  {
    name: "a delta's size is not judged before it is read",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      {
        search: "problems.get(delta) === null)",
        replace: "problems.has(delta))",
      },
    ],
    test: "test/engine/shard/quarantine.test.ts",
  },
  {
    name: "a delta is read whatever its size is by now",
    file: "lib/engine/shard/deltas.ts",
    edits: [
      {
        search: "world.store.getBounded(key, deltaBytesMax)",
        replace: "world.store.getBounded(key, Number.POSITIVE_INFINITY)",
      },
    ],
    test: "test/engine/shard/quarantine.test.ts",
  },
  {
    name: "a restoration leaves no trace",
    file: "lib/engine/shard/quarantine.ts",
    edits: [
      {
        search: "  await leaveTrace(world, shard, { delta, retriedAs, reason });\n",
        replace: "  void reason;\n",
      },
    ],
    test: "test/engine/operate/restore.test.ts",
  },
  {
    name: "a restoration takes what is in quarantine, too",
    file: "lib/engine/operate/restore.ts",
    edits: [
      {
        search: "if (delta === null || aside.has(quarantinedDeltaKey(shard, delta)))",
        replace: "if (delta === null)",
      },
    ],
    test: "test/engine/operate/restore.test.ts",
  },
  {
    name: "a restoration takes a key that is there again for a deleted one",
    file: "lib/aws/s3-deleted-objects.ts",
    edits: [{ search: "if (Key !== last && IsLatest !== true)", replace: "if (IsLatest !== true)" }],
    test: "test/contract/deleted-objects.test.ts",
  },
  {
    name: "quarantine retry keeps the delta's name",
    file: "lib/engine/shard/put-again.ts",
    edits: [{ search: "const again = deltaId(world.clock.ulid());", replace: "const again = delta;" }],
    test: "test/engine/operate/retry.test.ts",
  },
  mutant(
    "a pin is not checked against the floor",
    "lib/engine/shard/history.ts",
    "const isAbove = now.pointer.floor.version <= pin.version;",
    "const isAbove = pin.version > 0;",
  ),
  {
    name: "a pin holds although a repair has put another manifest in its version's place",
    file: "lib/engine/shard/history.ts",
    edits: [{ search: "|| (await isOnChain(world, now, pin)));", replace: "|| isOnChain.length > 0);" }],
    test: "test/engine/operate/repair.test.ts",
  },
  {
    name: "creating again replaces a lost pointer by an empty one",
    file: "lib/engine/catalog/collections.ts",
    edits: [
      {
        search: "(await countManifests(store, collection, ref)) === 0",
        replace: "(await countManifests(store, collection, ref)) >= 0",
      },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  {
    name: "manifests of a former collection keep another of its name from being made",
    file: "lib/engine/shard/head.ts",
    edits: [
      {
        search: "return (await readManifest(store, shard, name)).collectionId === id;",
        replace: 'return (await readManifest(store, shard, name)).collectionId !== "";',
      },
    ],
    test: "test/engine/catalog/recreation.test.ts",
  },
  {
    name: "who slept puts aside what another collection of the name was given",
    file: "lib/engine/compact/ingest-batch.ts",
    edits: [
      { search: "  await readPointer(world.store, collection, shard.shard, head.etag);\n", replace: "" },
    ],
    test: "test/engine/catalog/recreation.test.ts",
  },
  {
    name: "creating replaces a pointer that is there",
    file: "lib/engine/catalog/collections.ts",
    edits: [
      {
        search: "store.put(pointerKey(ref), pointer, { ifAbsent: true });",
        replace: "store.put(pointerKey(ref), pointer);",
      },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  {
    name: "an alias takes a name that a collection has, and the other way round",
    file: "lib/engine/catalog/names.ts",
    edits: [
      { search: "encodeName({ name, kind }), { ifAbsent: true });", replace: "encodeName({ name, kind }));" },
    ],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "an alias is written over whatever it is by now",
    file: "lib/engine/catalog/aliases.ts",
    edits: [{ search: "encodeAlias(to), { ifMatch: from.etag });", replace: "encodeAlias(to));" }],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "an alias is written without the revision",
    file: "lib/core/model/alias.ts",
    edits: [
      {
        search: "const revision = alias.revision + 1;",
        replace: "const revision = Math.max(1, alias.revision);",
      },
    ],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "a lower revision of a migration changes an alias",
    file: "lib/core/model/alias.ts",
    edits: [
      { search: "if (migrationRevision < alias.migrationRevision)", replace: "if (migrationRevision < 0)" },
    ],
    test: "test/core/model/alias.test.ts",
  },
  {
    name: "a larger share gives keys back",
    file: "lib/core/model/alias.ts",
    edits: [
      {
        search: "placeOf(alias.name, key) < alias.readShare ?",
        replace: "(placeOf(alias.name, key) + alias.readShare) % readShareMax < alias.readShare ?",
      },
    ],
    test: "test/core/model/alias.test.ts",
  },
  {
    name: "a collection is deleted without a second look for aliases",
    file: "lib/engine/catalog/collections.ts",
    edits: [
      {
        search: "  await store.delete([key]);\n  await refuseLedTo(store, name);\n",
        replace: "  await store.delete([key]);\n",
      },
    ],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "a deletion that sees an alias leaves the collection without its configuration",
    file: "lib/engine/catalog/collections.ts",
    edits: [{ search: 'if (kept.kind === "found") {', replace: 'if (kept.kind === "notModified") {' }],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "an alias leads to a collection that was deleted meanwhile",
    file: "lib/engine/catalog/aliases.ts",
    edits: [
      {
        search: "  if (fault === null) return known;\n",
        replace: "  if (fault !== undefined) return known;\n",
      },
    ],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "a new alias leads to a collection that was deleted meanwhile",
    file: "lib/engine/catalog/aliases.ts",
    edits: [
      {
        search: "    const fault = await goneFault(store, side);\n    //",
        replace: "    const fault = null;\n    //",
      },
    ],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "a write by an alias is answered without the second look",
    file: "lib/engine/write/produce-through.ts",
    edits: [{ search: "    known = await lookAgain(world, known, waiting);\n", replace: "" }],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "a write by an alias is answered while a barrier stands",
    file: "lib/engine/write/produce-through.ts",
    edits: [
      {
        search: "while (current.alias.barrier !== null) {",
        replace: "while (current.alias.barrier === undefined) {",
      },
    ],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "an alias moves by a barrier without the drain",
    file: "lib/engine/catalog/move-writing.ts",
    edits: [{ search: "drain(from, next));", replace: "Promise.resolve());" }],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "an alias moves although its barrier was lifted",
    file: "lib/engine/catalog/move-writing.ts",
    edits: [
      {
        search: "return write(world, barred, withWriting(barred.alias, to,",
        replace:
          "const now = await readToChange(world, call);\n  return write(world, now, withWriting(now.alias, to,",
      },
    ],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "an alias moves after the barrier's deadline",
    file: "lib/engine/catalog/move-writing.ts",
    edits: [
      {
        search: "isDrained === null || world.clock.nowMs() >= deadlineMs",
        replace: "isDrained === null && deadlineMs < 0",
      },
    ],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "rows that follow an alias to the new side are written there as later ones",
    file: "lib/engine/write/produce-through.ts",
    edits: [{ search: 'call.producer ?? "",\n      place,', replace: 'call.producer ?? "",' }],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "vectors of another space follow an alias to the new side",
    file: "lib/engine/write/produce-through.ts",
    edits: [
      {
        search: "if (hasVectors && collection.embeddingVersion !==",
        replace: "if (hasVectors && collection.id === collection.embeddingVersion &&",
      },
    ],
    test: "test/engine/write/produce-through.test.ts",
  },
  {
    name: "a strong read by an alias goes by a held one",
    file: "lib/engine/read/through-alias.ts",
    edits: [
      { search: "(isShared ? this.#readHeld(name) : this.#readNow(name))", replace: "this.#readHeld(name)" },
    ],
    test: "test/engine/read/through-alias.test.ts",
  },
  {
    name: "an alias is held for as long as the process lives",
    file: "lib/engine/read/through-alias.ts",
    edits: [{ search: "ageMs < aliasHeldMs", replace: "ageMs < Number.POSITIVE_INFINITY" }],
    test: "test/engine/read/through-alias.test.ts",
  },
  {
    name: "a token of the side that an alias has left is no reason for a strong read",
    file: "lib/engine/read/through-alias.ts",
    edits: [{ search: "token.collection !== collection);", replace: "token.collection === undefined);" }],
    test: "test/engine/read/through-alias.test.ts",
  },
  {
    name: "a barrier whose driver died stands for ever",
    file: "lib/engine/compact/sweep.ts",
    edits: [
      {
        search: "await liftOverdue(world, known,",
        replace: "await liftOverdue({ ...world, clock: { ...world.clock, nowMs: () => 0 } }, known,",
      },
    ],
    test: "test/engine/catalog/aliases.test.ts",
  },
  {
    name: "a name that is taken is taken again",
    file: "lib/engine/catalog/collections.ts",
    edits: [
      {
        search: "encodeCollection(wanted), { ifAbsent: true });",
        replace: "encodeCollection(wanted));",
      },
    ],
    test: "test/engine/catalog/collections.test.ts",
  },
  mutant(
    "the schema of a records.db is whatever it says",
    "lib/segment/check-records.ts",
    `if (textOf(stored) !== expectedText(fields)) throw new Error("its schema is not that of the collection");`,
    "",
    forgedRecords,
  ),
  mutant(
    "pages of a records.db lead where they like",
    "lib/segment/check-records.ts",
    "for (const [, root] of stored) pages.walk(root);",
    "",
    forgedRecords,
  ),
  mutant(
    "rows of a records.db hold more than the file",
    "lib/segment/sqlite-pages.ts",
    "this.#bytesLeft -= this.#contentBytes[page]!;",
    "",
    forgedRecords,
  ),
  mutant(
    "rows of a records.db are not counted",
    "lib/segment/check-records.ts",
    "    if (segment !== null) checkCounts(db, segment);\n",
    "",
    forgedRecords,
  ),
  mutant(
    "what is no row is read from a records.db",
    "lib/segment/records-db.ts",
    `if (typeof row.id !== "string" || !isOrder(row as never))`,
    `if (row.id === "")`,
    forgedRecords,
  ),
  mutant(
    "what no table takes ends a merge",
    "lib/segment/merge-output.ts",
    `throw damageOf(join(this.#inputs[damaged]!.folder, "records.db"), error);`,
    "throw damaged === -1 ? null : error;",
    forgedRecords,
  ),
  mutant(
    "vectors of a flat segment are searched as they come",
    "lib/segment/segment-work.ts",
    "if (problem !== null) throw corrupt(path, `row ${start / dims} ${problem}`);",
    "",
    forgedRecords,
  ),
  mutant(
    "stored metadata are answered as they come",
    "lib/engine/read/answer-records.ts",
    `if (typeof object !== "object" || object === null || Array.isArray(object))`,
    "if (object === undefined)",
    forgedRecords,
  ),
  mutant(
    "counts of clusters.bin are not the segment's",
    "lib/segment/clusters.ts",
    "if (fault !== null) throw corrupt(key, fault);",
    "",
    forgedRecords,
  ),
  mutant(
    "records of clusters.bin are whatever they say",
    "lib/segment/cluster-buckets.ts",
    "entries.length !== records || !entries.every(isEntry)",
    "entries.length < 0",
    forgedRecords,
  ),
  mutant(
    "numbers of clusters.bin are whatever they say",
    "lib/segment/inverted-list.ts",
    "if (!allFinite(scales) || !allFinite(squaredDistances))",
    "if (rows < 0)",
    forgedRecords,
  ),
  mutant(
    "verify does not look into clusters.bin",
    "lib/engine/operate/verify.ts",
    `if (segment.files["clusters.bin"] !== undefined)`,
    "if (segment.slots < 0)",
    forgedRecords,
  ),
  mutant(
    "a graph's file is loaded whatever the number of its nodes",
    "lib/segment/graph.ts",
    "if (count !== slots) throw corrupt(",
    "if (count < 0) throw corrupt(",
    forgedGraphs,
  ),
  {
    name: "hash of a segment file not verified",
    file: "lib/engine/shard/segment-transfer.ts",
    edits: [
      {
        search: "if ((await sha256.digest()) !== entry.sha256)",
        replace: `if ((await sha256.digest()) === "")`,
      },
    ],
    test: "test/corruption",
  },
  mutant(
    "a thread hashes the first bytes of a file again and again",
    "lib/segment/segment-thread.ts",
    "start: added, limit: added + length",
    "start: 0, limit: length",
    "test/segment",
  ),
  {
    name: "hash of the manifest not verified",
    file: "lib/engine/shard/head.ts",
    edits: [{ search: "if (sha256 !== pointer.manifestSha256)", replace: `if (sha256 === "")` }],
    test: "test/corruption",
  },
  {
    name: "seal of a JSON object not verified",
    file: "lib/core/format/sealed-json.ts",
    edits: [
      {
        search: `.digest("hex") === found`,
        replace: `.digest("hex") !== ""`,
      },
    ],
    test: "test/corruption",
  },
  {
    name: "sealed JSON of any depth and of any number of parts is parsed",
    file: "lib/core/format/sealed-json.ts",
    edits: [{ search: "  refuseParts(bytes, key);\n", replace: "" }],
    test: "test/hostile/sealed-json.test.ts",
  },
  {
    name: "a lease is swapped by its epoch alone",
    file: "lib/aws/dynamodb-lease-table.ts",
    edits: [
      {
        search: 'ConditionExpression: "epoch = :seenEpoch AND expiresAtMs = :seenExpires",',
        replace: 'ConditionExpression: "epoch = :seenEpoch AND :seenExpires = :seenExpires",',
      },
    ],
    test: "test/contract/ports/aws.test.ts",
  },
  {
    name: "a lease is swapped by its expiry alone",
    file: "lib/aws/dynamodb-lease-table.ts",
    edits: [
      {
        search: 'ConditionExpression: "epoch = :seenEpoch AND expiresAtMs = :seenExpires",',
        replace: 'ConditionExpression: "expiresAtMs = :seenExpires AND :seenEpoch = :seenEpoch",',
      },
    ],
    test: "test/contract/ports/aws.test.ts",
  },
  {
    name: "an error of the server is taken for a refusal of the write",
    file: "lib/aws/failure.ts",
    edits: [{ search: "status >= 400 && status < 500 &&", replace: "status >= 400 &&" }],
    test: "test/aws/answers.test.ts",
  },
  {
    name: "a write without an answer is taken for one that did not happen",
    file: "lib/aws/failure.ts",
    edits: [
      {
        search: "const refused = status !== null && status >= 400",
        replace: "const refused = status === null || status >= 400",
      },
    ],
    test: "test/aws/answers.test.ts",
  },
  {
    name: "heartbeat not owner-conditional",
    file: "lib/aws/dynamodb-lease-table.ts",
    edits: [
      {
        search: `ConditionExpression: "#owner = :owner AND epoch = :epoch",`,
        replace: `ConditionExpression: "#owner <> :owner OR epoch <> :epoch OR epoch = :epoch",`,
      },
    ],
    test: "test/contract/ports/aws.test.ts",
  },
  {
    name: "a lost lease is not noticed",
    file: "lib/engine/shard/lease.ts",
    edits: [
      { search: "if (extended === null) {", replace: "if (extended === null && leftMs === 0.5) {" },
      { search: "this.#lease = extended;", replace: "this.#lease = extended ?? this.#lease;" },
    ],
    test: "test/engine/shard/lease.test.ts",
  },
];
