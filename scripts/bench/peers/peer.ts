/**
 * What is measured beside Siltstone: anything that stores vectors with an integer `bucket` beside each, answers the
 * nearest k, all or those with bucket < limit, and can be tuned by one number.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Vectors } from "../data.ts";

export interface Peer {
  readonly name: string;
  /** How its users ask it: only peers of one path are beside each other. */
  readonly path: "in process" | "over HTTP";
  /** Values of the tuning number, cheapest first; one value where there is nothing to tune. */
  readonly efforts: readonly number[];
  /** What it searches by when nobody tunes it. Indexes are built by their own defaults. */
  readonly effortDefault: number;
  /** Whether it filters at all. */
  readonly filters: boolean;
  /** Writes and indexes everything below `folder`. */
  build(folder: string, vectors: Vectors): Promise<void>;
  open(folder: string, dims: number): Promise<OpenPeer>;
}

export interface OpenPeer {
  tune(effort: number): Promise<void> | void;
  /** Rows, nearest first, with what a user would want of them: here their bucket is fetched too, where there is one. */
  query(vector: Float32Array, k: number, bucketBelow: number | null): Promise<number[]> | number[];
  /** Ends whatever was started. */
  close(): Promise<void> | void;
  /** Memory of other processes that answer for it, in bytes. */
  otherRss?(): number;
}

/** The peers' packages, installed in this folder alone; untyped, since they are not installed where types are checked. */
export const requirePeer = createRequire(join(import.meta.dirname, "package.json"));

/** Rows are given to a peer in batches of so many. */
export const batchRows = 1000;

/** A fine grid, by steps of about a fifth. */
export const effortsFrom = (least: number, most = 800): number[] => {
  const efforts = [];
  for (let effort = least; effort <= most; effort = Math.max(effort + 1, Math.round(effort * 1.2)))
    efforts.push(effort);
  return efforts;
};
