/** Files of graphs that lie: every field of the head, of a node at level 0, and of the upper layers. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import hnswlib from "#hnswlib";
import type { Metric } from "../../../lib/core/model/collection.ts";
import { bytesFrom, everyone, type Forgery, type Reading } from "./forgery.ts";
import { bytesOf, dims, type Forged, index, type Scene, segmentOf } from "./world.ts";

const headBytes = 96;
const { M } = index;
const levelBytes = 4 + M * 4;
const deletedMark = 1;
const copyMark = 2;
const strayMark = 4;

/** The file, with its parts by name (docs/format.md). */
class GraphBytes {
  readonly bytes: Buffer;
  readonly count: number;
  readonly #nodeBytes: number;
  readonly #vectorAt: number;
  readonly #labelAt: number;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    const word = (at: number) => Number(bytes.readBigUInt64LE(at));
    this.count = word(16);
    this.#nodeBytes = word(24);
    this.#labelAt = word(32);
    this.#vectorAt = word(40);
  }

  get entry(): number {
    return this.bytes.readUInt32LE(52);
  }
  node = (place: number): number => headBytes + place * this.#nodeBytes;
  links = (place: number): number => this.bytes.readUInt16LE(this.node(place));
  setLinks(place: number, links: readonly number[], mark = 0): void {
    this.bytes.writeUInt16LE(links.length, this.node(place));
    this.bytes[this.node(place) + 2] = mark;
    for (const [i, link] of links.entries()) this.bytes.writeUInt32LE(link, this.node(place) + 4 + i * 4);
  }
  value = (place: number, component: number): number => this.node(place) + this.#vectorAt + component * 4;
  label = (place: number): number => this.node(place) + this.#labelAt;

  /** Where the number of bytes of each node's upper layers is. */
  upper(): { place: number; at: number; levels: number }[] {
    const found: { place: number; at: number; levels: number }[] = [];
    let at = this.node(this.count);
    for (let place = 0; place < this.count; place++) {
      const bytes = this.bytes.readUInt32LE(at);
      found.push({ place, at, levels: bytes / levelBytes });
      at += 4 + bytes;
    }
    return found;
  }
  firstWithLevel = () => this.upper().find(({ levels }) => levels > 0)!;
  firstWithout = () => this.upper().find(({ levels }) => levels === 0)!;
}

/** Changes the bytes, or answers others. */
type Edit = (graph: GraphBytes) => unknown;
const graph = (name: string, edit: Edit, refusedBy: readonly Reading[] = everyone): Forgery => ({
  name: `index.hnsw: ${name}`,
  refusedBy,
  forge: (scene: Scene) => {
    const parts = new GraphBytes(bytesOf(scene, "hnsw", "index.hnsw"));
    return [{ kind: "hnsw", file: "index.hnsw", bytes: bytesFrom(edit(parts), () => parts.bytes) }];
  },
});
const noReading: readonly Reading[] = [];

const words: readonly [field: string, at: number][] = [
  ["offset of level 0", 0],
  ["capacity", 8],
  ["nodes", 16],
  ["bytes of a node", 24],
  ["offset of the label", 32],
  ["offset of the vector", 40],
  ["maxM", 56],
  ["maxM0", 64],
  ["M", 72],
  ["efConstruction", 88],
];
const otherValues: readonly [how: string, change: (value: bigint) => bigint][] = [
  ["one more", (value) => value + 1n],
  ["nothing", (value) => (value === 0n ? 8n : 0n)],
  ["all ones", () => 0xffff_ffff_ffff_ffffn],
];
/** More capacity than nodes is what hnswlib may write. */
const isHarmless = (field: string, how: string) => field === "capacity" && how !== "nothing";

const head: readonly Forgery[] = [
  ...words.flatMap(([field, at]) =>
    otherValues.map(([how, change]) =>
      graph(
        `${field}: ${how}`,
        ({ bytes }) => bytes.writeBigUInt64LE(change(bytes.readBigUInt64LE(at)), at),
        isHarmless(field, how) ? noReading : everyone,
      ),
    ),
  ),
  ...[-1, 0, 1, 2, 63, 2 ** 31 - 1, -(2 ** 31)].map((level) =>
    graph(`highest level ${level} of another`, ({ bytes }) => {
      const own = bytes.readInt32LE(48);
      bytes.writeInt32LE(level === own ? own + 1 : level, 48);
    }),
  ),
  graph("entry node: one above the last", ({ bytes, count }) => bytes.writeUInt32LE(count, 52)),
  graph("entry node: all ones", ({ bytes }) => bytes.writeUInt32LE(2 ** 32 - 1, 52)),
  graph("entry node: one of level 0", (one) => one.bytes.writeUInt32LE(one.firstWithout().place, 52)),
  ...[Number.NaN, 0, -1e300, Number.POSITIVE_INFINITY].map((value) =>
    graph(`level multiplier: ${value}`, ({ bytes }) => bytes.writeDoubleLE(value, 80), noReading),
  ),
];

const level0: readonly Forgery[] = [
  graph("a link one above the last node", (one) => one.bytes.writeUInt32LE(one.count, one.node(7) + 4)),
  graph("a link of all ones", (one) => one.bytes.writeUInt32LE(2 ** 32 - 1, one.node(7) + 4)),
  graph("the last link of the last node one too high", (one) => {
    const last = one.count - 1;
    one.bytes.writeUInt32LE(one.count, one.node(last) + one.links(last) * 4);
  }),
  graph("one link too many", (one) => one.bytes.writeUInt16LE(2 * M + 1, one.node(3))),
  graph("65,535 links", (one) => one.bytes.writeUInt16LE(0xffff, one.node(3))),
  graph("unknown marks", (one) => one.bytes.writeUInt16LE(0x0180, one.node(3) + 2)),
  graph("a label one above the last", (one) => {
    one.bytes.writeBigUInt64LE(BigInt(one.count), one.label(5));
  }),
  graph("a label of all ones", (one) => one.bytes.fill(0xff, one.label(5), one.label(5) + 8)),
  graph("a label above 2^32", (one) => one.bytes.writeUInt32LE(1, one.label(5) + 4)),
  graph("a label twice", (one) => {
    one.bytes.copy(one.bytes, one.label(5), one.label(6), one.label(6) + 8);
  }),
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38].flatMap((value) =>
    [0, dims - 1].map((component) =>
      graph(`${value} as component ${component}`, (one) => {
        one.bytes.writeFloatLE(value, one.value(11, component));
      }),
    ),
  ),
];

const upper: readonly Forgery[] = [
  graph("an upper link one above the last node", (one) => {
    one.bytes.writeUInt32LE(one.count, one.firstWithLevel().at + 8);
  }),
  graph("an upper link to a node of level 0", (one) => {
    one.bytes.writeUInt32LE(one.firstWithout().place, one.firstWithLevel().at + 8);
  }),
  graph("one upper link too many", (one) => one.bytes.writeUInt32LE(M + 1, one.firstWithLevel().at + 4)),
  graph("2^16 + 1 upper links", (one) => one.bytes.writeUInt32LE(0x10001, one.firstWithLevel().at + 4)),
  graph("torn upper links", (one) => one.bytes.writeUInt32LE(levelBytes - 4, one.firstWithLevel().at)),
  graph("upper links of 4 GB", (one) => one.bytes.writeUInt32LE(2 ** 32 - 4, one.upper().at(-1)!.at)),
  graph("an upper level that is said to have no links", (one) => {
    one.bytes.writeUInt32LE(0, one.firstWithLevel().at);
  }),
  graph("70 layers", (one) => {
    const { at, place } = one.firstWithLevel();
    const layers = Buffer.alloc(4 + 70 * levelBytes);
    layers.writeUInt32LE(70 * levelBytes);
    one.bytes.writeInt32LE(70, 48);
    one.bytes.writeUInt32LE(place, 52);
    const after = at + 4 + one.bytes.readUInt32LE(at);
    return Buffer.concat([one.bytes.subarray(0, at), layers, one.bytes.subarray(after)]);
  }),
  graph("no upper links at all", (one) => one.bytes.subarray(0, one.node(one.count))),
  graph("its last byte missing", (one) => one.bytes.subarray(0, -1)),
  graph("a byte more", (one) => Buffer.concat([one.bytes, Buffer.alloc(1)])),
  graph("its head alone", (one) => one.bytes.subarray(0, headBytes)),
  graph("half of its head", (one) => one.bytes.subarray(0, headBytes / 2)),
  { ...graph("a node more, all of it whole", () => null), forge: wholeOfMore },
  graph("nothing", () => Buffer.alloc(0)),
  graph("zeros", (one) => Buffer.alloc(one.bytes.length)),
  graph("ones", (one) => Buffer.alloc(one.bytes.length, 0xff)),
];

/** A graph that hnswlib itself would write, of more rows than the manifest counts. */
function wholeOfMore(scene: Scene): readonly Forged[] {
  const { slots } = segmentOf(scene, "hnsw");
  const folder = mkdtempSync(join(tmpdir(), "forged-"));
  const one = new hnswlib.Graph("l2", dims);
  try {
    one.create(slots + 1, M, index.efConstruction);
    for (let row = 0; row <= slots; row++) one.appendSync(scene.vectors[row % scene.vectors.length]!, 1);
    one.writeSync(join(folder, "index.hnsw"));
    return [{ kind: "hnsw", file: "index.hnsw", bytes: readFileSync(join(folder, "index.hnsw")) }];
  } finally {
    one.close();
    rmSync(folder, { recursive: true });
  }
}

/** Whatever links and marks say, as long as they stay inside: no search and no insertion goes on for ever. */
const strange: readonly Forgery[] = [
  graph(
    "each node linked to itself alone",
    (one) => forAll(one, (place) => one.setLinks(place, [place])),
    noReading,
  ),
  graph("no links at level 0", (one) => forAll(one, (place) => one.setLinks(place, [])), noReading),
  graph(
    "all links to one node",
    (one) => forAll(one, (place) => one.setLinks(place, Array(8).fill(9))),
    noReading,
  ),
  graph(
    "each node a copy of the next",
    (one) => {
      forAll(one, (place) => one.setLinks(place, [(place + 1) % one.count], copyMark));
    },
    noReading,
  ),
  graph(
    "each node a stray on the next",
    (one) => {
      forAll(one, (place) => one.setLinks(place, [(place + 1) % one.count], strayMark));
    },
    noReading,
  ),
  graph(
    "each node a copy of itself, a stray, and deleted",
    (one) => {
      forAll(one, (place) => one.setLinks(place, [place], deletedMark | copyMark | strayMark));
    },
    noReading,
  ),
  graph(
    "copies of one vector in a ring",
    (one) => {
      forAll(one, (place) => {
        one.bytes.copy(one.bytes, one.value(place, 0), one.value(0, 0), one.value(0, 0) + dims * 4);
        one.setLinks(place, [(place + 1) % one.count], copyMark);
      });
    },
    noReading,
  ),
  graph(
    "marked copies without links",
    (one) => forAll(one, (place) => one.setLinks(place, [], 6)),
    noReading,
  ),
];

function forAll(one: GraphBytes, change: (place: number) => void): void {
  for (let place = 0; place < one.count; place++) change(place);
}

/** Of unit length for cosine: what is no number there is another length. */
const ofCosine: readonly Forgery[] = [
  graph("a vector twice as long as a unit", (one) => {
    for (let i = 0; i < dims; i++)
      one.bytes.writeFloatLE(2 * one.bytes.readFloatLE(one.value(11, i)), one.value(11, i));
  }),
  graph("a vector of zeros", (one) => one.bytes.fill(0, one.value(11, 0), one.value(11, dims))),
];

export const graphForgeries = (metric: Metric): readonly Forgery[] => [
  ...(metric === "l2" ? [...head, ...level0, ...upper] : []),
  ...(metric === "cosine" ? [...level0, ...ofCosine] : []),
  ...strange,
];
