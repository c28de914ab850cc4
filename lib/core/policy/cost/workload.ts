/** What a store is used for, and how large that makes it. */
import { settings } from "../../../contract/settings.ts";
import { segmentRowsMax } from "../merge-plan.ts";

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

/** Segment files that the largest query function keeps: half of its disk, since new ones lie beside old ones (docs/lab/performance.md). */
const functionCacheBytesMax = settings["query.cacheMiB"].max * 1024 * 1024;

/** Bytes of a row: its vector as given, the graph's copy with its links (M 16), and its record with indexes. */
export const rowBytes = ({ dims, recordBytes }: Workload): number => dims * 8 + 148 + recordBytes * 1.3 + 150;

/** Bytes that a query function holds of a row: the graph and the record. */
export const residentRowBytes = (workload: Workload): number => rowBytes(workload) - workload.dims * 4;

/** Bytes of a row in clusters.bin: a byte for each component, the record once more, and its place. */
export const clusterBytes = ({ dims, recordBytes }: Workload): number => dims + recordBytes + 80;

/** The fewest shards of one full segment each (merge-plan.ts): a query then meets one large graph in each. */
export const shardsOf = ({ vectors, dims }: Workload): number =>
  Math.max(1, Math.ceil(vectors / segmentRowsMax(dims)));

/** The fewest functions that the index fits into; more of them start faster and cost as much. */
export const queryGroups = (workload: Workload): number =>
  Math.max(1, Math.ceil((workload.vectors * rowBytes(workload)) / functionCacheBytesMax));
