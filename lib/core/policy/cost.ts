/**
 * What a month costs: pure arithmetic from a workload, a price table with its date, and the request counts that the
 * benchmarks measured for one shard (docs/cost.md says how). US dollars, us-east-1, list prices, without free tiers and tax.
 */
import { segmentRowsMax } from "./merge-plan.ts";

export const pricesAsOf = "2026-11";

/** AWS list prices; docs/cost.md has the sources. */
export const prices = {
  lambdaGbSecondX86: 0.0000166667,
  lambdaGbSecondArm: 0.0000133334,
  lambdaPerMillion: 0.2,
  s3GbMonth: 0.023,
  s3PutPerMillion: 5,
  s3GetPerMillion: 0.4,
  sqsPerMillion: 0.4,
  dynamoWritePerMillion: 0.625,
  dynamoReadPerMillion: 0.125,
  schedulerPerMillion: 1,
  metricMonth: 0.3,
  logsGb: 0.5,
} as const;

export interface Workload {
  readonly vectors: number;
  readonly dims: number;
  /** Bytes of document and metadata a record. */
  readonly recordBytes: number;
  /** Rows written in a month, and how many of them come in one producer call. */
  readonly writes: number;
  readonly rowsPerWrite: number;
  /** Queries in a month, and the share of them that are strong (a LIST and a pointer read each). */
  readonly queries: number;
  readonly strongShare: number;
  /** Seconds between runs of the ingesting compactor. */
  readonly ingestSeconds: number;
  /** Cold starts in a month, of which there are none without queries; of query groups, all start together. */
  readonly coldStarts: number;
  readonly architecture: "x86" | "arm";
}

export interface CostLine {
  readonly service:
    | "S3 storage"
    | "S3 requests"
    | "Lambda"
    | "SQS"
    | "DynamoDB"
    | "EventBridge"
    | "CloudWatch";
  readonly what: string;
  readonly dollars: number;
}

const secondsOfMonth = 30 * 86_400;
const upkeepSeconds = 300;
/** An idle shard is looked at this often, its pointer too, and surveyed for garbage this often (lib/engine/compact/sweep.ts). */
const sweepSeconds = 600;
const surveySeconds = 3_600;
const gigabyte = 1e9;

/**
 * Measured by the benches trickle, import and warm-query (docs/lab/performance.md), for one shard; those of runs that find nothing, by
 * test/e2e/idle-requests.test.ts over the local stack.
 */
export const measured = {
  /** A producer call: one PUT, and one GET of the configuration. */
  producePuts: 1,
  produceGets: 1,
  /** A compactor run that finds deltas: files, manifest, pointer; lists; head, configuration. The deltas' GETs are apart. */
  ingestPuts: 4,
  ingestLists: 5,
  ingestGets: 8,
  /** An upkeep run of a shard that is written to. It reads the manifests of the last hour. */
  upkeepPutsAndLists: 13,
  upkeepGets: 110,
  /** Every run: the bucket's folders; one that ingests, a configuration, and the queue twice, whose second answer is empty. */
  runLists: 1,
  runGets: 1,
  runReceives: 2,
  runNotes: 1,
  /** A look at an idle shard: its deltas; by upkeep: its pointer. With every one of the latter a configuration. */
  lookLists: 1,
  upkeepLookGets: 2,
  /** A survey of an idle shard: head, kept manifests; manifests, pins, segments, late deltas. */
  surveyGets: 10,
  surveyLists: 4,
  /** Milliseconds of a warm query in a function, its overhead included. */
  queryMs: 5,
  produceMs: 30,
  ingestMs: 1_500,
  /** A run that finds nothing, and the survey of a shard. */
  idleMs: 150,
  /** Metrics that runs emit when nothing happens; what writing, and what asking, adds for one collection. */
  idleMetrics: 7,
  writeMetrics: 14,
  queryMetrics: 8,
  /** Bytes of log of a run that finds nothing, and of a call of the producer or the query function. */
  idleLogBytes: 2_000,
  callLogBytes: 1_500,
  /** Rows of 384 dims inserted into a graph in a second on one processor. */
  insertRowsPerSecond: 1_000,
  /** How often a row is inserted into some graph before it comes to rest (a trickle's merges). */
  insertionsPerRow: 4,
  /** Bytes written to S3 in the end by each byte of a trickle's deltas. */
  writeAmplification: 4.2,
  /** Bytes a second that a cold start fetches and opens. */
  coldBytesPerSecond: 200e6,
} as const;

/** Memory of the functions as they are deployed by default (lib/contract/settings.ts). */
const produceGb = 512 / 1024;
export const defaultGb = 3008 / 1024;
/** The function before query groups: one whole processor. */
const frontGb = 1769 / 1024;
/** Segment files that the largest query function keeps: half of its disk, since new ones lie beside old ones (docs/lab/performance.md). */
const functionCacheBytesMax = 5_120 * 1024 * 1024;
/** What it holds of them is a quarter larger in memory, beside itself. */
const indexFactor = 1.25;
const runtimeGb = 0.25;
const partBytes = 8 * 1024 * 1024;
/** A shard's graph, records and given vectors; 24 hours of superseded versions come on top. */
const retainedFactor = 1.3;

/** Bytes of a row: its vector as given, the graph's copy with its links (M 16), and its record with indexes. */
export const rowBytes = ({ dims, recordBytes }: Workload): number => dims * 8 + 148 + recordBytes * 1.3 + 150;

/** Bytes that a query function holds of a row: the graph and the record. */
export const residentRowBytes = (workload: Workload): number => rowBytes(workload) - workload.dims * 4;

/** Bytes of a row in clusters.bin: a byte for each component, the record once more, and its place. */
const clusterBytes = ({ dims, recordBytes }: Workload): number => dims + recordBytes + 80;

/** The fewest shards of one full segment each (merge-plan.ts): a query then meets one large graph in each. */
export const shardsOf = ({ vectors, dims }: Workload): number =>
  Math.max(1, Math.ceil(vectors / segmentRowsMax(dims)));

/** The fewest functions that the index fits into; more of them start faster and cost as much. */
export const queryGroups = (workload: Workload): number =>
  Math.max(1, Math.ceil((workload.vectors * rowBytes(workload)) / functionCacheBytesMax));

/** What the store does in a month, by what it is charged for. */
function monthlyUse(workload: Workload) {
  const { vectors, writes, queries, ingestSeconds } = workload;
  const stored = vectors * (rowBytes(workload) + clusterBytes(workload));
  const shards = shardsOf(workload);
  const calls = writes / workload.rowsPerWrite;
  // A call writes a delta to each shard that its rows are of; a run looks at those, and at one other at least.
  const deltas = calls * Math.min(shards, workload.rowsPerWrite);
  const runs = secondsOfMonth / ingestSeconds;
  const upkeepRuns = secondsOfMonth / upkeepSeconds;
  const busyRuns = Math.min(runs * shards, deltas);
  const busyUpkeeps = Math.min(upkeepRuns * shards, deltas);
  const turns = (all: number, busy: number, seconds: number): number =>
    Math.max(0, Math.min(all * shards - busy, Math.max(all, (secondsOfMonth / seconds) * shards)));
  const looks = turns(runs, busyRuns, sweepSeconds);
  const upkeepLooks = turns(upkeepRuns, busyUpkeeps, sweepSeconds);
  const surveys = Math.max(0, (secondsOfMonth / surveySeconds) * shards - busyUpkeeps);
  const merged = writes * rowBytes(workload) * measured.writeAmplification;
  const coldBytes = vectors * residentRowBytes(workload);
  const groups = queryGroups(workload);
  // Memory of all groups together; the function that asks them and waits comes on top.
  const groupsGb = Math.max(groups * defaultGb, (coldBytes * indexFactor) / gigabyte + groups * runtimeGb);
  const coldStarts = Math.min(workload.coldStarts, queries);
  const queryGb = groupsGb + (groups > 1 ? frontGb : 0);
  const pointerReads = (Math.min(queries, secondsOfMonth / 10) + queries * workload.strongShare) * shards;
  const puts = deltas * measured.producePuts + busyRuns * measured.ingestPuts + merged / partBytes;
  const lists =
    queries * workload.strongShare * shards +
    busyRuns * measured.ingestLists +
    busyUpkeeps * measured.upkeepPutsAndLists +
    (runs + upkeepRuns) * measured.runLists +
    looks * measured.lookLists +
    surveys * measured.surveyLists;
  const gets =
    calls * measured.produceGets +
    deltas +
    busyRuns * measured.ingestGets +
    runs * measured.runGets +
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
    ...{ coldBytes, coldStarts, groups, queryGb, puts, lists, gets, insertSeconds },
  };
}

export function monthlyCost(workload: Workload): CostLine[] {
  const { stored, calls, deltas, runs, upkeepRuns, busyRuns, busyUpkeeps, surveys, ...use } =
    monthlyUse(workload);
  const { coldBytes, coldStarts, groups, queryGb, puts, lists, gets, insertSeconds } = use;
  const { queries } = workload;
  const perGbSecond = prices[workload.architecture === "arm" ? "lambdaGbSecondArm" : "lambdaGbSecondX86"];
  const lambdaSeconds = (what: string, gb: number, seconds: number, invocations: number): CostLine => ({
    service: "Lambda",
    what,
    dollars: gb * seconds * perGbSecond + millions(invocations) * prices.lambdaPerMillion,
  });
  return [
    {
      service: "S3 storage",
      what: "segments",
      dollars: ((stored * retainedFactor) / gigabyte) * prices.s3GbMonth,
    },
    {
      service: "S3 requests",
      what: "writes and lists",
      dollars: millions(puts + lists) * prices.s3PutPerMillion,
    },
    { service: "S3 requests", what: "reads", dollars: millions(gets) * prices.s3GetPerMillion },
    lambdaSeconds(
      "queries",
      queryGb,
      (queries * measured.queryMs) / 1000,
      queries * (groups > 1 ? groups + 1 : 1),
    ),
    lambdaSeconds(
      "cold starts",
      queryGb,
      coldStarts * (1 + coldBytes / groups / measured.coldBytesPerSecond),
      0,
    ),
    lambdaSeconds("producing", produceGb, (calls * measured.produceMs) / 1000, calls),
    lambdaSeconds(
      "ingesting",
      defaultGb,
      (busyRuns * measured.ingestMs + (runs + upkeepRuns + busyUpkeeps + surveys) * measured.idleMs) / 1000,
      runs + upkeepRuns,
    ),
    lambdaSeconds("merging", defaultGb, insertSeconds, 0),
    {
      service: "SQS",
      what: "send, receive, delete",
      dollars: millions(deltas * 2.2 + runs * measured.runReceives) * prices.sqsPerMillion,
    },
    {
      service: "DynamoDB",
      what: "leases and run notes",
      dollars:
        millions(busyRuns * 6 + (busyUpkeeps + surveys) * 2 + (runs + upkeepRuns) * measured.runNotes) *
          prices.dynamoWritePerMillion +
        millions(busyRuns * 2 + busyUpkeeps + surveys) * prices.dynamoReadPerMillion,
    },
    ...watching(workload, { calls, runs: runs + upkeepRuns }),
  ];
}

/** What sets the runs off, and what they and the calls leave for people to look at. */
function watching(
  { writes, queries }: Workload,
  { calls, runs }: { calls: number; runs: number },
): CostLine[] {
  const metrics =
    measured.idleMetrics +
    (writes > 0 ? measured.writeMetrics : 0) +
    (queries > 0 ? measured.queryMetrics : 0);
  const logBytes = runs * measured.idleLogBytes + (calls + queries) * measured.callLogBytes;
  return [
    { service: "EventBridge", what: "schedules", dollars: millions(runs) * prices.schedulerPerMillion },
    { service: "CloudWatch", what: "metrics", dollars: metrics * prices.metricMonth },
    { service: "CloudWatch", what: "logs", dollars: (logBytes / gigabyte) * prices.logsGb },
  ];
}

/** What is asked of a store most often. */
export interface UnitCosts {
  /** A month in which nothing is written or asked: storage, and schedules that look for work. */
  readonly idle: number;
  /** Of so many more in the month; the metrics that the first of them adds are not in it. */
  readonly tenThousandUpdates: number;
  readonly millionQueries: number;
}

export function unitCosts(workload: Workload): UnitCosts {
  const of = (change: Partial<Workload>): number =>
    total(monthlyCost({ ...workload, ...change }).filter(({ what }) => what !== "metrics"));
  return {
    idle: total(monthlyCost({ ...workload, writes: 0, queries: 0 })),
    tenThousandUpdates: of({ writes: workload.writes + 10_000 }) - of({}),
    millionQueries: of({ queries: workload.queries + 1e6 }) - of({}),
  };
}

/** The same of each rival. */
export function rivalUnitCosts(workload: Workload): (UnitCosts & { readonly name: string })[] {
  const of = (change: Partial<Workload>) => rivalCosts({ ...workload, ...change });
  const [idle, now] = [of({ writes: 0, queries: 0 }), of({})];
  const [written, asked] = [
    of({ writes: workload.writes + 10_000 }),
    of({ queries: workload.queries + 1e6 }),
  ];
  return now.map(({ name, dollars }, i) => ({
    name,
    idle: idle[i]!.dollars,
    tenThousandUpdates: written[i]!.dollars - dollars,
    millionQueries: asked[i]!.dollars - dollars,
  }));
}

export const total = (lines: readonly CostLine[]): number =>
  lines.reduce((sum, { dollars }) => sum + dollars, 0);

const millions = (count: number): number => count / 1e6;

export interface Rival {
  readonly name: string;
  readonly dollars: number;
  /** What the number rests on, and how sure it is. */
  readonly basis: string;
}

/** List prices of what people would pick instead. `approximate`: from memory, to be checked before it decides anything. */
export function rivalCosts({ vectors, dims, recordBytes, writes, queries }: Workload): Rival[] {
  const logicalGb = (vectors * (dims * 4 + recordBytes)) / gigabyte;
  const writtenGb = (writes * (dims * 4 + recordBytes)) / gigabyte;
  return [
    {
      name: "Amazon S3 Vectors",
      dollars: logicalGb * 0.06 + writtenGb * 0.2 + millions(queries) * 2.5,
      basis:
        "storage $0.06/GB-month, put $0.20/GB, $2.50/M queries (2026-11); the charge per TB searched is not in it",
    },
    {
      name: "turbopuffer",
      dollars: Math.max(16, logicalGb * 0.33 + writtenGb * 2 + millions(queries) * logicalGb * 1),
      basis:
        "minimum $16/month (2026-11); storage $0.33/GB, writes $2/GB, $1 per M queries and GB: approximate",
    },
    {
      name: "Pinecone serverless",
      dollars: Math.max(
        50,
        logicalGb * 0.33 +
          (writes * Math.ceil((dims * 4 + recordBytes) / 1024) * 4) / 1e6 +
          millions(queries) * Math.max(5, logicalGb) * 16,
      ),
      basis:
        "minimum $50/month, $0.33/GB, $4/M write units of 1 KB, $16/M read units of 1 GB, 5 at least: approximate",
    },
    {
      name: "OpenSearch Serverless",
      dollars: Math.max(1, Math.ceil((logicalGb * 1.5) / 4)) * 2 * 0.24 * 730 + logicalGb * 0.024,
      basis:
        "two half OCUs at least for indexing and two for search, $0.24 an OCU-hour, about 4 GB of graph an OCU: approximate",
    },
  ];
}
