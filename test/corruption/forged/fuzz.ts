/** Forgeries by chance: a few bytes of one file, here and there, with every hash above them right again. */
import { random } from "../../support/memory/clock.ts";
import { partsOf, sealed } from "./clusters.ts";
import type { Forgery } from "./forgery.ts";
import { bytesOf, type Forged, type Scene } from "./world.ts";

const targets = [
  { kind: "hnsw", file: "index.hnsw" },
  { kind: "hnsw", file: "records.db" },
  { kind: "flat", file: "records.db" },
  { kind: "hnsw", file: "clusters.bin" },
  { kind: "hnsw", file: "vectors.f32" },
  { kind: "flat", file: "vectors.f32" },
] as const;
/** Words that lie at the edges of what is counted. */
const words = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fc0_0000];
const editsMax = 6;

/** It need not be refused: a reading that refuses does it as `corrupt`, one that does not answers numbers, and both soon. */
export const forgeryOfSeed = (seed: number): Forgery => {
  const { kind, file } = targets[seed % targets.length]!;
  return {
    name: `seed ${seed}: ${file} of the ${kind} segment`,
    refusedBy: [],
    forge: (scene) => [{ kind, file, bytes: damaged(scene, seed, { kind, file }) }],
  };
};

function damaged(scene: Scene, seed: number, { kind, file }: Omit<Forged, "bytes">): Buffer {
  const next = random(seed);
  if (file !== "clusters.bin") return edit(bytesOf(scene, kind, file), next);
  const parts = partsOf(scene);
  // The head alone, or some of its parts under right hashes.
  if (next() < 0.4) {
    const { bytes } = parts.clusters;
    edit(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), next);
    return Buffer.concat([bytes, ...parts.lists, ...parts.buckets]);
  }
  for (const bytes of [...parts.lists, ...parts.buckets]) if (next() < 0.3) edit(bytes, next);
  return sealed(parts);
}

/** In place. Half of the edits are near each other, where a head, a page or a node begins. */
function edit(bytes: Buffer, next: () => number): Buffer {
  const near = Math.floor(next() * bytes.length);
  for (let left = 1 + Math.floor(next() * editsMax); left > 0; left--) {
    const first = next() < 0.5 ? near : next() < 0.5 ? 0 : Math.floor(next() * bytes.length);
    const at = Math.min(first + Math.floor(next() * 128), bytes.length - 4);
    if (at < 0) return bytes;
    const word = words[Math.floor(next() * words.length)]!;
    const how = next();
    if (how < 0.4) bytes[at]! ^= 1 << Math.floor(next() * 8);
    else if (how < 0.6) bytes[at] = word & 0xff;
    else if (how < 0.8) bytes.writeUInt32LE(word, at);
    else bytes.writeUInt32BE(word, at);
  }
  return bytes;
}
