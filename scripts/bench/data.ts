/**
 * Vectors to measure with: real embeddings where they are beside the checkout (test/support/datasets.ts), else a seeded
 * Gaussian mixture of low intrinsic dimension, as embeddings are. Never uniform noise: it has no neighbourhoods, and
 * says nothing about recall.
 */
import hnswlib from "#hnswlib";
import type { Metric } from "../../lib/core/model/collection.ts";
import { normalised } from "../../lib/core/model/vector.ts";

export interface Vectors {
  readonly dims: number;
  readonly rows: number;
  /** Packed. */
  readonly base: Float32Array;
  readonly queries: readonly Float32Array[];
}

const latentDims = 24;
/** A point's spread around its cluster's centre, in every latent direction; centres have 1. */
const spread = 0.6;
/** What every dimension adds of its own. */
const noise = 0.15;

/** The queries are drawn as the rows are, and are not among them. */
export function gaussianMixture(options: {
  rows: number;
  dims: number;
  queries: number;
  seed?: number;
}): Vectors {
  const { rows, dims, queries } = options;
  const normal = gaussian(options.seed ?? 1);
  const clusters = Math.max(4, Math.round(Math.sqrt(rows)));
  const centres = Float32Array.from({ length: clusters * latentDims }, normal);
  const mix = Float32Array.from({ length: dims * latentDims }, () => normal() / Math.sqrt(latentDims));
  const latent = new Float32Array(latentDims);
  const draw = (out: Float32Array) => {
    const centre = Math.floor(Math.abs(normal()) * 7919) % clusters;
    for (let i = 0; i < latentDims; i++) latent[i] = centres[centre * latentDims + i]! + spread * normal();
    for (let d = 0; d < dims; d++) {
      let sum = noise * normal();
      for (let i = 0; i < latentDims; i++) sum += mix[d * latentDims + i]! * latent[i]!;
      out[d] = sum;
    }
  };
  const base = new Float32Array(rows * dims);
  for (let row = 0; row < rows; row++) draw(base.subarray(row * dims, (row + 1) * dims));
  const held = Array.from({ length: queries }, () => {
    const query = new Float32Array(dims);
    draw(query);
    return query;
  });
  return { dims, rows, base, queries: held };
}

export const rowOf = ({ base, dims }: Vectors, row: number): Float32Array =>
  base.subarray(row * dims, (row + 1) * dims);

/** The k nearest rows of every query by exact search; `rows` (ascending) restricts it. */
export function truthOf(vectors: Vectors, metric: Metric, k: number, rows?: Uint32Array): number[][] {
  const { base, dims } = vectors;
  const cosine = metric === "cosine";
  let units = base;
  if (cosine) {
    units = new Float32Array(base.length);
    for (let at = 0; at < base.length; at += dims) units.set(normalised(base.subarray(at, at + dims)), at);
  }
  return vectors.queries.map((query) => {
    const labels = new Uint32Array(k);
    const unit = cosine ? normalised(query) : query;
    const found = hnswlib.exactRows(unit, labels, new Float32Array(k), rows ?? null, units, metric);
    return [...labels.subarray(0, found)];
  });
}

/** Share of the true nearest that an answer has. */
export function recallOf(
  found: readonly (readonly number[])[],
  truth: readonly (readonly number[])[],
): number {
  let good = 0;
  let all = 0;
  for (const [q, wanted] of truth.entries()) {
    const set = new Set(found[q]);
    for (const row of wanted) good += set.has(row) ? 1 : 0;
    all += wanted.length;
  }
  return all === 0 ? 1 : good / all;
}

/** Normally distributed numbers from a seed: Box-Muller over mulberry32. */
export function gaussian(seed: number): () => number {
  const uniform = random(seed);
  let spare: number | null = null;
  return () => {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
