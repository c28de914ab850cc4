/** Bounds on waiting lie within each other: who waits longer is told by who waits less. */
import {
  answerMarginMs,
  barrierMs,
  barrierPollMs,
  barrierWaitMs,
  brokenRequestMs,
  busyPollMs,
  busyRunMs,
  clockAllowanceMs,
  clockSetBackMaxMs,
  clockSkewMaxMs,
  deletedItemKeptMs,
  deltaPutMaxMs,
  embedMarginMs,
  fanOutMarginMs,
  functionTimeoutMs,
  graphsHoldMs,
  horizonMs,
  invocationBounds,
  leaseExtendBelowMs,
  leaseMarginMs,
  leaseMs,
  leaseWaitMs,
  loadBehindMs,
  readMarginMs,
  refreshBehindMs,
  refreshHoldMs,
  requestBounds,
  runMarginMs,
  silentRequestMs,
  surveyMs,
  sweepMs,
  watermarkLagMs,
  watermarkReadMs,
} from "../../../lib/core/policy/time-bounds.ts";
import { defaultSettings } from "../../../lib/jobs/settings.ts";

/** Each is less than the next. */
function expectOrder(bounds: Readonly<Record<string, number>>): void {
  const names = Object.keys(bounds);
  expect(names.toSorted((a, b) => bounds[a]! - bounds[b]!)).toEqual(names);
  expect(new Set(Object.values(bounds)).size).toBe(names.length);
}

test("a write by an alias waits for a barrier until its deadline, and then has time to be put again within the producer's", () => {
  expectOrder({ poll: barrierPollMs, wait: barrierWaitMs, producer: functionTimeoutMs.producer });
  expect(barrierWaitMs).toBeGreaterThanOrEqual(barrierMs);
  expect(barrierWaitMs + 2 * 7_000).toBeLessThan(functionTimeoutMs.producer);
});

test("a query: the hold, a request, a read, the groups, the answer, the function", () => {
  const { query } = functionTimeoutMs;
  expectOrder({
    hold: refreshHoldMs,
    request: silentRequestMs(requestBounds.query),
    brokenRequest: brokenRequestMs(requestBounds.query),
    read: query - readMarginMs,
    groups: query - fanOutMarginMs,
    answer: query - answerMarginMs,
    function: query,
    invocation: invocationBounds.answerMs,
  });
  // Embedding the text leaves time for the reading.
  expectOrder({
    request: silentRequestMs(requestBounds.query),
    embed: query - readMarginMs - embedMarginMs,
    read: query - readMarginMs,
  });
  // The hold is short; a request that fails at its first attempt and succeeds at the second is within a bounded read's patience.
  expect(refreshHoldMs).toBeLessThanOrEqual(2_000);
  // Who waited for graphs in vain is answered from clusters, which takes a second.
  expect(graphsHoldMs + 5_000).toBeLessThanOrEqual(query - readMarginMs);
});

test("an answer that waits for no refresh: not beyond these ages, and none at an interval of 0", () => {
  const ages = [0, 1, 5, 300].map((seconds) => [
    refreshBehindMs(seconds * 1000),
    loadBehindMs(seconds * 1000),
  ]);
  expect(ages).toEqual([
    [0, 0],
    [2_000, 14_000],
    [10_000, 70_000],
    [330_000, 390_000],
  ]);
});

test("a producer, a run of the compactor and its lease", () => {
  expect(brokenRequestMs(requestBounds.producer)).toBeLessThan(functionTimeoutMs.producer - answerMarginMs);
  expectOrder({
    request: silentRequestMs(requestBounds.compactor),
    lease: leaseMs,
    brokenRequest: brokenRequestMs(requestBounds.compactor),
    function: functionTimeoutMs.compactor,
    invocation: invocationBounds.answerMs,
  });
  // A lease that its holder died with has run out before the next sweep; a survey for garbage comes after several.
  expectOrder({ lease: leaseMs, sweep: sweepMs, survey: surveyMs });
  expectOrder({ margin: leaseMarginMs, extend: leaseExtendBelowMs, lease: leaseMs });
  // A busy run asks often, is over when the next one has begun, and has time for what it began.
  expectOrder({
    poll: busyPollMs,
    busy: busyRunMs,
    margin: runMarginMs.compactor,
    lastStep: functionTimeoutMs.compactor - runMarginMs.compactor,
  });
  // Who waits for a shard's lease outwaits a run that holds it, and a lease whose holder died.
  expect(leaseWaitMs).toBeGreaterThanOrEqual(functionTimeoutMs.compactor);
  expect(leaseWaitMs).toBeGreaterThan(leaseMs);
  // A watermark that is remembered is read again before it is much older than the lag.
  expect(watermarkReadMs).toBeLessThanOrEqual(watermarkLagMs);
});

test("a run of the embedder, its jobs' lease, and what a delta's name allows", () => {
  expectOrder({
    margin: runMarginMs.embedder,
    request: silentRequestMs(requestBounds.embedder),
    brokenRequest: brokenRequestMs(requestBounds.embedder),
    lastStep: functionTimeoutMs.embedder - runMarginMs.embedder,
    function: functionTimeoutMs.embedder,
    delta: deltaPutMaxMs,
    lease: defaultSettings.leaseSeconds * 1_000,
  });
});

test("making a collection, a deployment's own resource: one request, and what is left of its function's time", () => {
  expectOrder({
    request: silentRequestMs(requestBounds.producer),
    function: functionTimeoutMs.collections,
    invocation: invocationBounds.answerMs,
  });
});

test("a deleted item is forgotten after the last delta that could bring it back", () => {
  expect(horizonMs + deltaPutMaxMs + 2 * clockSkewMaxMs).toBeLessThan(deletedItemKeptMs);
});

test("every attempt is longer than a slow but healthy answer takes, and ends", () => {
  for (const bounds of Object.values(requestBounds)) {
    for (const ms of [bounds.connectMs, bounds.answerMs, bounds.silenceMs]) {
      expect(ms).toBeGreaterThanOrEqual(1_000);
      expect(ms).toBeLessThanOrEqual(30_000);
    }
    expect(bounds.attempts).toBeGreaterThanOrEqual(3);
  }
});

test("no acknowledged delta can appear below the low watermark: 15 + 15 + 15 < 60", () => {
  // Producer behind S3, its PUT slow, compactor ahead of S3.
  expect(clockSkewMaxMs + deltaPutMaxMs + clockSkewMaxMs).toBeLessThan(watermarkLagMs);
});

test("no acknowledged delta is from the future", () => {
  // Producer ahead of S3, its clock set back since it made the ULID; and S3 tells whole seconds.
  expect(clockSkewMaxMs + clockSetBackMaxMs + 1_000).toBeLessThan(clockAllowanceMs);
});
