/** What a store does in a month, by what it is charged for. */
import { settings } from "../../../contract/settings.ts";
import { surveyMs, sweepMs } from "../time-bounds.ts";
import { measured } from "./measured.ts";
import {
  clusterBytes,
  queryGroups,
  residentRowBytes,
  rowBytes,
  shardsOf,
  type Workload,
} from "./workload.ts";

/** Memory of the functions as they are deployed by default. */
const gbOf = (setting: "query.memoryMiB" | "compaction.memoryMiB" | "producer.memoryMiB"): number =>
  settings[setting].default / 1024;
const queryFunctionGb = gbOf("query.memoryMiB");
export const compactorGb = gbOf("compaction.memoryMiB");
export const producerGb = gbOf("producer.memoryMiB");
/** The function before query groups: one whole processor. */
const frontGb = 1769 / 1024;
/** What a query function holds of segment files is a quarter larger in memory, beside itself. */
const indexFactor = 1.25;
const runtimeGb = 0.25;
const partBytes = 8 * 1024 * 1024;
const secondsOfMonth = 30 * 86_400;
const upkeepSeconds = settings["compaction.upkeepIntervalMinutes"].default * 60;
/** The bucket is listed, and an idle shard is looked at, this often, its pointer too; it is surveyed for garbage this often (lib/engine/compact/sweep.ts). */
const sweepSeconds = sweepMs / 1000;
const surveySeconds = surveyMs / 1000;
const gigabyte = 1e9;

export function monthlyUse(workload: Workload) {
  const { vectors, writes, queries, ingestSeconds } = workload;
  const stored = vectors * (rowBytes(workload) + clusterBytes(workload));
  const shards = shardsOf(workload);
  const calls = writes / workload.rowsPerWrite;
  // A call writes a delta to each shard that its rows are of.
  const deltas = calls * Math.min(shards, workload.rowsPerWrite);
  const runs = secondsOfMonth / ingestSeconds;
  const upkeepRuns = secondsOfMonth / upkeepSeconds;
  const busyRuns = Math.min(runs * shards, deltas);
  const busyUpkeeps = Math.min(upkeepRuns * shards, deltas);
  // Runs that are rarer than turns look at everything; what was written to is looked at with what it brought.
  const sweepsMax = secondsOfMonth / sweepSeconds;
  const [sweeps, upkeepSweeps] = [Math.min(runs, sweepsMax), Math.min(upkeepRuns, sweepsMax)];
  const looks = Math.min(runs * shards - busyRuns, sweeps * shards);
  const upkeepLooks = Math.min(upkeepRuns * shards - busyUpkeeps, upkeepSweeps * shards);
  const surveys = Math.max(0, (secondsOfMonth / surveySeconds) * shards - busyUpkeeps);
  const merged = writes * rowBytes(workload) * measured.writeAmplification;
  const coldBytes = vectors * residentRowBytes(workload);
  const groups = queryGroups(workload);
  // Memory of all groups together; the function that asks them and waits comes on top.
  const groupsGb = Math.max(
    groups * queryFunctionGb,
    (coldBytes * indexFactor) / gigabyte + groups * runtimeGb,
  );
  const coldStarts = Math.min(workload.coldStarts, queries);
  const queryGb = groupsGb + (groups > 1 ? frontGb : 0);
  const pointerReads = (Math.min(queries, secondsOfMonth / 10) + queries * workload.strongShare) * shards;
  const puts = deltas * measured.producePuts + busyRuns * measured.ingestPuts + merged / partBytes;
  const lists =
    queries * workload.strongShare * shards +
    busyRuns * measured.ingestLists +
    busyUpkeeps * measured.upkeepPutsAndLists +
    (sweeps + upkeepSweeps) * measured.sweepLists +
    looks * measured.lookLists +
    surveys * measured.surveyLists;
  const gets =
    calls * measured.produceGets +
    deltas +
    busyRuns * measured.ingestGets +
    (sweeps + secondsOfMonth / surveySeconds) * measured.sweepGets +
    (secondsOfMonth / surveySeconds) * shards * measured.watermarkGets +
    busyUpkeeps * measured.upkeepGets +
    upkeepLooks * measured.upkeepLookGets +
    surveys * measured.surveyGets +
    merged / partBytes +
    pointerReads +
    coldStarts * (coldBytes / partBytes + 3 * shards);
  const insertSeconds =
    ((writes * measured.insertionsPerRow) / measured.insertRowsPerSecond) * (workload.dims / 384);
  return {
    ...{ stored, calls, deltas, runs, upkeepRuns, busyRuns, busyUpkeeps, surveys },
    ...{ looks: sweeps + upkeepSweeps },
    ...{ coldBytes, coldStarts, groups, queryGb, puts, lists, gets, insertSeconds },
  };
}
