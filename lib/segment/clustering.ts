/**
 * k-means over the rows of a large segment: about √n clusters of rows that are alike. It serves two ends: rows are put into
 * a graph cluster by cluster (lib/segment/insertion-order.ts), and each has an inverted list in clusters.bin
 * (lib/segment/write-clusters.ts).
 *
 * Deterministic: a spread sample, evenly chosen first centroids, a fixed number of turns. A centroid that no row is near stays.
 */
import type { Collection, Metric } from "../core/model/collection.ts";
import { normalise } from "../core/model/vector.ts";
import { nearestCentroids } from "./graph.ts";

const sampleRowsPerCluster = 32;
const turns = 5;
const goldenRatio = 0.6180339887;
/** Rows between two checkpoints, so that leases are extended and deadlines seen. */
const checkpointRows = 4096;

export interface Clustering {
  /** Packed; of unit length for cosine. */
  readonly centroids: Float32Array;
  /** The cluster of each row, in the order in which rows were given. */
  readonly clusterOf: Uint32Array;
}

/** `vectorOf(row)` gives a view that may be overwritten by later calls; ascending rows are asked for, twice. */
export async function clusterRows(
  collection: Pick<Collection, "dims" | "metric">,
  rows: number,
  vectorOf: (row: number) => Float32Array,
  checkpoint: () => Promise<void>,
): Promise<Clustering> {
  const { dims } = collection;
  const metric = groupingMetric(collection.metric);
  const clusters = Math.max(1, Math.ceil(Math.sqrt(rows)));
  const sampled = Math.min(rows, clusters * sampleRowsPerCluster);
  const sample = new Float32Array(sampled * dims);
  for (let i = 0; i < sampled; i++) {
    // One of each stretch, not always its first: rows may have a rhythm (ten passages to a document, say).
    sample.set(vectorOf(Math.floor(((i + ((i * goldenRatio) % 1)) * rows) / sampled)), i * dims);
    if (metric === "cosine") normalise(sample.subarray(i * dims, (i + 1) * dims));
  }
  const origin = metric === "l2" ? meanOf(sample, dims) : new Float64Array(dims);
  shift(sample, origin, -1);
  const centroids = new Float32Array(clusters * dims);
  for (let cluster = 0; cluster < Math.min(clusters, sampled); cluster++) {
    const start = Math.floor((cluster * sampled) / clusters) * dims;
    centroids.set(sample.subarray(start, start + dims), cluster * dims);
  }
  for (let turn = 0; turn < turns; turn++) {
    const sums = new Float64Array(centroids.length);
    const counts = new Uint32Array(clusters);
    for (let start = 0; start < sampled; start += checkpointRows) {
      await checkpoint();
      const part = sample.subarray(start * dims, (start + checkpointRows) * dims);
      nearestCentroids(part, centroids, { dims, metric }).forEach((cluster, row) => {
        counts[cluster]! += 1;
        for (let i = 0; i < dims; i++) sums[cluster * dims + i]! += part[row * dims + i]!;
      });
    }
    for (let cluster = 0; cluster < clusters; cluster++) {
      if (counts[cluster] === 0) continue;
      const centroid = centroids.subarray(cluster * dims, (cluster + 1) * dims);
      for (let i = 0; i < dims; i++) centroid[i] = sums[cluster * dims + i]! / counts[cluster]!;
      if (metric === "cosine") normalise(centroid);
    }
  }
  const clusterOf = new Uint32Array(rows);
  for (let start = 0; start < rows; start += checkpointRows) {
    await checkpoint();
    const part = new Float32Array(Math.min(checkpointRows, rows - start) * dims);
    for (let i = 0; i < part.length; i += dims) part.set(vectorOf(start + i / dims), i);
    shift(part, origin, -1);
    clusterOf.set(nearestCentroids(part, centroids, { dims, metric }), start);
  }
  shift(centroids, origin, 1);
  return { centroids, clusterOf };
}

/**
 * Squared distances are found as differences of products, which cancel where vectors lie far from the origin, all on one
 * side of it: for l2 the origin is moved into their midst.
 */
function shift(rows: Float32Array, origin: Float64Array, sign: 1 | -1): void {
  const dims = origin.length;
  for (let at = 0; at < rows.length; at += dims)
    for (let i = 0; i < dims; i++) rows[at + i]! += sign * origin[i]!;
}

function meanOf(rows: Float32Array, dims: number): Float64Array {
  const mean = new Float64Array(dims);
  for (let i = 0; i < rows.length; i++) mean[i % dims]! += (rows[i]! * dims) / rows.length;
  return mean;
}

/** Inner products have no nearest centroid: their rows are grouped by distance. */
const groupingMetric = (metric: Metric): Metric => (metric === "ip" ? "l2" : metric);
