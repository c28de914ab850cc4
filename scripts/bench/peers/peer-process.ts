/** One peer in a process of its own, so that its memory is its own: asked by JSON lines, answers by JSON lines. */
import { createInterface } from "node:readline";
import { gaussianMixture, recallOf } from "../data.ts";
import { timed } from "../measure.ts";
import type { OpenPeer } from "./peer.ts";
import { peers } from "./peers.ts";

export interface PeerSetup {
  readonly peer: string;
  readonly folder: string;
  readonly rows: number;
  readonly dims: number;
  readonly queries: number;
}
export type PeerQuestion =
  | { readonly op: "build" }
  /** Opens the index, from nothing to the first answer. */
  | { readonly op: "open"; readonly effort: number }
  | { readonly op: "tune"; readonly effort: number }
  /** Milliseconds of each query, and recall against `truth`. */
  | {
      readonly op: "queries";
      readonly start: number;
      readonly limit: number;
      readonly bucketBelow: number | null;
      /** Every query has a filter of its own, that none had before. */
      readonly fresh?: boolean;
      readonly truth: readonly (readonly number[])[];
    };
export interface PeerAnswer {
  readonly ms: readonly number[];
  readonly recall: number;
  readonly rss: number;
}

const topK = 10;
const setup = JSON.parse(process.argv[2]!) as PeerSetup;
const peer = peers.find(({ name }) => name === setup.peer)!;
const vectors = gaussianMixture(setup);
const opened: { peer?: OpenPeer } = {};

async function answer(question: PeerQuestion): Promise<{ ms: number[]; recall: number }> {
  switch (question.op) {
    case "build":
      return { ms: [(await timed(() => peer.build(setup.folder, vectors))).ms], recall: 1 };
    case "open": {
      const { ms } = await timed(async () => {
        const made = await peer.open(setup.folder, setup.dims);
        opened.peer = made;
        await made.tune(question.effort);
        await made.query(vectors.queries[0]!, topK, null);
      });
      return { ms: [ms], recall: 1 };
    }
    case "tune":
      await opened.peer!.tune(question.effort);
      return { ms: [], recall: 1 };
    case "queries": {
      const ms: number[] = [];
      const found: number[][] = [];
      for (let i = question.start; i < question.limit; i++) {
        const { bucketBelow: below, fresh = false } = question;
        // Around the same share: below it for every second query, above it for the others.
        const offset = fresh ? Math.ceil((i + 1) / 2) * (i % 2 === 0 ? -1 : 1) : 0;
        const limit = below === null ? null : Math.max(1, below + offset);
        const one = await timed(() => opened.peer!.query(vectors.queries[i]!, topK, limit));
        ms.push(one.ms);
        found.push(one.value);
      }
      return { ms, recall: recallOf(found, question.truth) };
    }
  }
}

// The rows are the builder's alone: a query process should hold what its peer holds.
if (process.argv[3] === "queries-only") {
  (vectors as { base: Float32Array }).base = new Float32Array(0);
  globalThis.gc!();
}
for await (const line of createInterface({ input: process.stdin })) {
  const { ms, recall } = await answer(JSON.parse(line) as PeerQuestion).catch((error: Error) => {
    process.stdout.write(`${JSON.stringify({ failed: error.message })}\n`, () => process.exit(1));
    return new Promise<never>(() => {});
  });
  const rss = process.memoryUsage.rss() + (opened.peer?.otherRss?.() ?? 0);
  process.stdout.write(`${JSON.stringify({ ms, recall, rss } satisfies PeerAnswer)}\n`);
}
await opened.peer?.close();
process.exit(0);
