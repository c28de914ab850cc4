/**
 * The folder of a Chroma vector segment: an hnswlib index that Chroma writes now and then, in several files.
 *
 *   header.bin             count (u64 at 20), bytes of an element (28), offset of its label (36) and of its vector (44)
 *   data_level0.bin        elements: links, the vector, and the label (u64)
 *   length.bin             a float32 for each element: in cosine space the vector is of unit length, and this was its length; in
 *                          other spaces it was never written to, and is whatever memory held
 *   index_metadata.pickle  id_to_label, and up to which write of the queue all is in here
 */
import { existsSync, readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, join } from "node:path";
import { invalid } from "../../core/model/errors.ts";
import { floats } from "./fixed-rows.ts";
import { readPickle } from "./pickle.ts";

const headerBytesMin = 52;
/** Elements read at a time, as long as they are asked for in order. */
const ahead = 256;
/** In the third byte of an element's links. */
const deletedBit = 1;

interface Layout {
  readonly count: number;
  readonly elementBytes: number;
  readonly labelOffset: number;
  readonly vectorOffset: number;
}

export class ChromaIndex {
  /** Labels by id. */
  readonly labels: ReadonlyMap<string, number>;
  /** The last write of the queue that is in here; null where the file does not say. */
  readonly lastWrite: number | null;
  readonly dims: number;
  readonly #folder: string;
  readonly #layout: Layout;
  readonly #lengths: Buffer;
  #data: FileHandle | null = null;
  /** Elements read last: `#first` and those behind it. */
  #block = Buffer.alloc(0);
  #first = -1;
  /** Where labels are, if they are not in the order in which they were given. */
  #places: Map<number, number> | null = null;

  private constructor(
    folder: string,
    layout: Layout,
    metadata: { labels: Map<string, number>; lastWrite: number | null },
    isCosine: boolean,
  ) {
    this.#folder = folder;
    this.#layout = layout;
    this.labels = metadata.labels;
    this.lastWrite = metadata.lastWrite;
    this.dims = (layout.labelOffset - layout.vectorOffset) / 4;
    const lengths = join(folder, "length.bin");
    this.#lengths = isCosine && existsSync(lengths) ? readFileSync(lengths) : Buffer.alloc(0);
  }

  /** Null where nothing has been written to the folder yet. Throws `invalid` when its files do not fit together. */
  static open(folder: string, { isCosine }: { isCosine: boolean }): ChromaIndex | null {
    const metadata = join(folder, "index_metadata.pickle");
    if (!existsSync(join(folder, "header.bin")) || !existsSync(metadata)) return null;
    return new ChromaIndex(folder, layoutOf(folder), metadataIn(metadata), isCosine);
  }

  /** Null where the index marks it as deleted, or has no element of the label. */
  async vector(label: number): Promise<Float32Array | null> {
    const { vectorOffset, count } = this.#layout;
    let place = this.#places === null ? label - 1 : (this.#places.get(label) ?? -1);
    let element = place >= 0 && place < count ? await this.#element(place) : null;
    if (this.#places === null && (element === null || this.#labelOf(element) !== label)) {
      this.#places = await this.#scan();
      place = this.#places.get(label) ?? -1;
      element = place < 0 ? null : await this.#element(place);
    }
    if (element === null || (element[2]! & deletedBit) !== 0) return null;
    const vector = floats(element, vectorOffset, this.dims);
    const at = place * 4;
    const length = at + 4 <= this.#lengths.length ? this.#lengths.readFloatLE(at) : 0;
    if (length > 0) for (let i = 0; i < vector.length; i++) vector[i]! *= length;
    return vector;
  }

  #labelOf(element: Buffer): number {
    return Number(element.readBigUInt64LE(this.#layout.labelOffset));
  }

  async #element(place: number): Promise<Buffer> {
    const { elementBytes, count } = this.#layout;
    const held = this.#block.length / elementBytes;
    if (place < this.#first || place >= this.#first + held) {
      const rows = place === this.#first + held ? Math.min(ahead, count - place) : 1;
      const block = Buffer.alloc(rows * elementBytes);
      this.#data ??= await open(join(this.#folder, "data_level0.bin"));
      const { bytesRead } = await this.#data.read(block, 0, block.length, place * elementBytes);
      if (bytesRead !== block.length)
        throw invalid(`${this.#folder}/data_level0.bin ends before element ${place}`);
      this.#block = block;
      this.#first = place;
    }
    const start = (place - this.#first) * elementBytes;
    return this.#block.subarray(start, start + elementBytes);
  }

  async #scan(): Promise<Map<number, number>> {
    const places = new Map<number, number>();
    for (let place = 0; place < this.#layout.count; place++)
      places.set(this.#labelOf(await this.#element(place)), place);
    return places;
  }

  async close(): Promise<void> {
    await this.#data?.close();
    this.#data = null;
  }
}

function layoutOf(folder: string): Layout {
  const path = join(folder, "header.bin");
  const header = readFileSync(path);
  if (header.length < headerBytesMin)
    throw invalid(`${path} has ${header.length} bytes; it is no index of Chroma`);
  const [count, elementBytes, labelOffset, vectorOffset] = [20, 28, 36, 44].map((at) =>
    Number(header.readBigUInt64LE(at)),
  ) as [number, number, number, number];
  const isSound =
    vectorOffset > 0 &&
    labelOffset > vectorOffset &&
    (labelOffset - vectorOffset) % 4 === 0 &&
    elementBytes === labelOffset + 8 &&
    elementBytes < 1 << 20;
  if (isSound) return { count, elementBytes, labelOffset, vectorOffset };
  throw invalid(
    `${path} has a layout that is not known: elements of ${elementBytes} bytes, vectors at ${vectorOffset}, labels at ${labelOffset}`,
  );
}

function metadataIn(path: string): { labels: Map<string, number>; lastWrite: number | null } {
  const content = readPickle(basename(path), readFileSync(path), new Set(["label_to_id", "id_to_seq_id"]));
  const labels = content instanceof Map ? content.get("id_to_label") : null;
  if (!(content instanceof Map) || !(labels instanceof Map)) throw invalid(`${path} has no id_to_label`);
  for (const [id, label] of labels)
    if (typeof id !== "string" || typeof label !== "number")
      throw invalid(`${path}: id_to_label is not of texts and numbers`);
  const lastWrite = content.get("max_seq_id");
  return {
    labels: labels as Map<string, number>,
    lastWrite: typeof lastWrite === "number" ? lastWrite : null,
  };
}
