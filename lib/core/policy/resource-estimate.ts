/**
 * What an ingestion or a merge takes of memory and of local disk, estimated before anything of it is fetched. The constants
 * are fitted to the bench `memory`, which prints estimate and reality side by side (docs/lab/performance.md, "Memory"): a merge's
 * estimate is never the smaller one, and at most half as much again; a batch's is higher where vectors are short, since
 * it is not known how many rows there are.
 */
import { deltaRowsMax } from "../format/delta-header.ts";
import type { SegmentFile } from "../format/keys.ts";
import type { Manifest, Segment } from "../format/manifest.ts";
import type { MergePlan } from "./merge-plan.ts";

/** Memory and disk: what a merge or a batch needs, or what a function has. */
export interface ResourceBudget {
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

/** The files of its inputs that a merge reads: clusters.bin it makes anew, and so it does the graph of what it reclaims. */
export const mergedFiles = ({ reason }: Pick<MergePlan, "reason">): SegmentFile[] => [
  ...(reason === "stale" ? [] : (["index.hnsw"] as const)),
  "vectors.f32",
  "records.db",
];

/** Node, the code, parts of files under way, and what Node has not freed yet. */
const processBytes = 290e6;
/** A row while inputs are folded: its id, where it is, and the tables of both. */
const placeBytes = 1_100;
/** A node beside its vector and links: its label, its lock, its entries in the tables that insertion needs. */
const nodeBytes = 140;
const labelBytes = 8;
/** The share of the inputs' files that may lie in memory before Node frees it. */
const fetchedShare = 0.75;
/** The output's records.db, written in another order than its inputs', is packed less tightly. */
const recordsSlack = 1.1;

/** Memory of a batch by its Arrow bytes, all of which are held at once. */
const batchShare = 1.7;
/** A row of a batch beside its bytes. How many rows there are is not known before they are read: as many as fit. */
const batchRowBytes = 1_700;
/** Fewest bytes of a row in Arrow, beside its vector. */
const rowBytesLeast = 40;
/** The segment that a batch becomes, beside its Arrow bytes. */
const batchDiskShare = 1.5;

/** The estimate for a batch of so many deltas with so many bytes in all. */
export function ingestEstimate(
  deltas: number,
  deltaBytes: number,
  { dims }: Pick<Manifest, "dims">,
): ResourceBudget {
  const rows = Math.min(deltaBytes / (dims * 4 + rowBytesLeast), deltas * deltaRowsMax);
  return {
    memoryBytes: Math.ceil(processBytes + deltaBytes * batchShare + rows * batchRowBytes),
    diskBytes: Math.ceil(deltaBytes * batchDiskShare),
  };
}

export function mergeEstimate(manifest: Manifest, plan: MergePlan): ResourceBudget {
  const inputs = manifest.segments.filter(({ id }) => plan.inputs.includes(id));
  const against = manifest.segments.filter(({ id }) => plan.against.includes(id));
  const total = (of: (segment: Segment) => number) => inputs.reduce((sum, segment) => sum + of(segment), 0);
  const { M } = manifest.index;
  const slots = total((segment) => segment.slots);
  const vectorBytes = slots * manifest.dims * 4;
  const linkBytes = slots * (8 * M + 4 + (4 * M + 4) / (M - 1));
  const bytesOf = (name: SegmentFile) => total(({ files }) => files[name]?.bytes ?? 0);
  const inputBytes = mergedFiles(plan).reduce((sum, name) => sum + bytesOf(name), 0);
  // Read once, row by row: what is kept of them in memory is what the inputs' rows have already.
  const againstBytes = against.reduce((sum, { files }) => sum + files["records.db"]!.bytes, 0);
  const rows = total((segment) => segment.rows + segment.tombstones);
  const graphBytes = vectorBytes + linkBytes + slots * nodeBytes;
  const clustersBytes = slots * manifest.dims + bytesOf("records.db");
  const outputBytes =
    vectorBytes * 2 + linkBytes + slots * labelBytes + bytesOf("records.db") * recordsSlack + clustersBytes;
  return {
    memoryBytes: Math.ceil(processBytes + rows * placeBytes + graphBytes + inputBytes * fetchedShare),
    diskBytes: Math.ceil(inputBytes + againstBytes + outputBytes),
  };
}

/** What is missing, for people; null when it fits. */
export function shortageOf(need: ResourceBudget, has: ResourceBudget): string | null {
  const missing = [
    ["memory", need.memoryBytes, has.memoryBytes],
    ["local disk", need.diskBytes, has.diskBytes],
  ] as const;
  const short = missing.filter(([, needed, there]) => needed > there);
  if (short.length === 0) return null;
  return short
    .map(([what, needed, there]) => `${mb(needed)} of ${what} (there are ${mb(there)})`)
    .join(" and ");
}

const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
