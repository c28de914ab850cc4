/**
 * The pages of a SQLite file, as far as they lead to each other. SQLite reads whatever a file says without harm, but not
 * in bounded time and memory: pages that lead to the same page many times over, level by level, make a table of a few
 * kilobytes endless, an overflow chain that bites its tail is a text of a gigabyte, and a thousand rows may share one chain.
 * Here each table and index is seen to be a tree, whose cells are no larger than ours are and together no larger than the
 * file: no scan meets more than that holds.
 *
 * One pass reads what each page is and where it leads; `walk` then follows a tree from its root.
 * (https://www.sqlite.org/fileformat2.html)
 */
import { open } from "node:fs/promises";
import { documentBytesMax } from "../core/model/check-records.ts";
import { metadataBytesMax } from "../core/model/metadata.ts";

const headBytes = 100;
const pagesAtOnce = 256;
/** Kinds of pages: of indexes and of tables. Only a table's interior pages have no content. */
const [interiorIndex, interiorTable, leafIndex, leafTable] = [2, 5, 10, 13];
const isInterior = (kind: number): boolean => kind === interiorIndex || kind === interiorTable;
/** A page of another kind, or one that does not fit together. */
const noKind = 0;
/** A row: its document, its metadata, these once more in columns, and what is short. */
const contentBytesMax = documentBytesMax + 2 * metadataBytesMax + 8 * 1024;

export class SqlitePages {
  /** The kind of each page, by its number from 1. */
  readonly #kinds: Uint8Array;
  /** Where interior pages lead. */
  readonly #children = new Map<number, readonly number[]>();
  /** What the cells of each page say that they hold, overflow pages included. */
  readonly #contentBytes: Float64Array;
  readonly #met: Uint8Array;
  /** That the pages which were met may hold. */
  #bytesLeft: number;

  private constructor(count: number, bytes: number) {
    this.#kinds = new Uint8Array(count + 1);
    this.#contentBytes = new Float64Array(count + 1);
    this.#met = new Uint8Array(count + 1);
    this.#bytesLeft = bytes;
  }

  /** Throws an Error that says what is wrong. */
  static async read(path: string): Promise<SqlitePages> {
    const file = await open(path, "r");
    try {
      const head = Buffer.alloc(headBytes);
      await file.read(head, 0, headBytes, 0);
      if (head.toString("latin1", 0, 16) !== "SQLite format 3\0") throw new Error("it is not a SQLite file");
      const size = head.readUInt16BE(16) === 1 ? 65_536 : head.readUInt16BE(16);
      const { size: bytes } = await file.stat();
      if (
        size < 512 ||
        (size & (size - 1)) !== 0 ||
        bytes % size !== 0 ||
        head.readUInt32BE(28) !== bytes / size
      )
        throw new Error(`its ${bytes} bytes are not the pages of ${size} bytes that it counts`);
      const pages = new SqlitePages(bytes / size, bytes);
      const block = Buffer.alloc(size * pagesAtOnce);
      for (let first = 1; first <= bytes / size; first += pagesAtOnce) {
        const { bytesRead } = await file.read(block, 0, block.length, (first - 1) * size);
        for (let at = 0; at < bytesRead; at += size)
          pages.#see(first + at / size, block.subarray(at, at + size));
      }
      return pages;
    } finally {
      await file.close();
    }
  }

  /** A freed page's content means nothing: what is wrong with a page is said where a tree leads to it. */
  #see(page: number, content: Buffer): void {
    const start = page === 1 ? headBytes : 0;
    const kind = content[start]!;
    if (!isInterior(kind) && kind !== leafIndex && kind !== leafTable) return;
    const cells = content.readUInt16BE(start + 3);
    const pointers = start + (isInterior(kind) ? 12 : 8);
    if (pointers + cells * 2 > content.length) return;
    const children = isInterior(kind) ? [content.readUInt32BE(start + 8)] : [];
    let contentBytes = 0;
    for (let cell = 0; cell < cells; cell++) {
      const at = content.readUInt16BE(pointers + cell * 2);
      if (at + 4 > content.length) return;
      if (isInterior(kind)) children.push(content.readUInt32BE(at));
      if (kind === interiorTable) continue;
      const held = smallVarint(content, isInterior(kind) ? at + 4 : at);
      if (held > contentBytesMax) return;
      contentBytes += held;
    }
    this.#kinds[page] = kind;
    this.#contentBytes[page] = contentBytes;
    if (isInterior(kind)) this.#children.set(page, children);
  }

  /** Follows the tree whose root this is; how many pages it has. Throws when it meets a page that was met before. */
  walk(root: number): number {
    let pages = 0;
    for (const next = [root]; next.length > 0; pages++) {
      const page = next.pop()!;
      const kind = this.#kinds[page];
      if (kind === undefined || this.#met[page] === 1)
        throw new Error(`its pages lead to page ${page} twice, or out of it`);
      if (kind === noKind) throw new Error(`its page ${page} is not part of a table or index of ours`);
      this.#met[page] = 1;
      this.#bytesLeft -= this.#contentBytes[page]!;
      if (this.#bytesLeft < 0) throw new Error("its rows say that they hold more than the file does");
      next.push(...(this.#children.get(page) ?? []));
    }
    return pages;
  }
}

/** SQLite's varint, of which three bytes are enough for whatever is small; infinity for all else. */
function smallVarint(content: Buffer, at: number): number {
  let value = 0;
  for (let i = at; i < Math.min(at + 3, content.length); i++) {
    value = value * 128 + (content[i]! & 0x7f);
    if (content[i]! < 0x80) return value;
  }
  return Number.POSITIVE_INFINITY;
}
