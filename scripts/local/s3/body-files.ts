/**
 * Bodies of objects and parts. A small body lies in the catalog's own row; a larger one is a file under blobs/ with a
 * random name, written and fsynced before the catalog names it. The catalog's commit is what makes a body exist: a
 * crash before it leaves a nameless file, which the next start sweeps away. Files are never changed once written.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type ChecksumAlgorithm, type Checksums, startChecksum } from "./checksums.ts";

/** Where a body's bytes are: in the row, or in files one after the other (the parts of a multipart upload). */
export type Body =
  | { readonly kind: "inline"; readonly data: Buffer }
  | { readonly kind: "files"; readonly files: readonly BodyFile[] };
export interface BodyFile {
  readonly name: string;
  /** Where the body's bytes begin in the file. @default 0 */
  readonly start?: number;
  readonly bytes: number;
}
export interface ReceivedBody {
  readonly body: Body;
  readonly bytes: number;
  readonly md5: Buffer;
  readonly sha256: string | null;
  readonly checksums: Checksums;
}

/** Bodies up to this size need no file of their own. */
const inlineBytesMax = 64 * 1024;

export class BodyFiles {
  private readonly folder: string;
  /** Readers per file, so that an overwritten body stays readable for those who are reading it. */
  private readonly readers = new Map<string, number>();
  private readonly doomed = new Set<string>();

  constructor(folder: string) {
    this.folder = join(folder, "blobs");
    mkdirSync(this.folder, { recursive: true });
  }

  /** Removes every file that the catalog does not name: what crashed writers left. */
  sweep(isNamed: (file: string) => boolean): void {
    for (const name of readdirSync(this.folder)) if (!isNamed(name)) rmSync(join(this.folder, name));
  }

  /** Takes a body in, hashing on the way; on return it is durable but nothing names it yet. */
  async receive(
    source: AsyncIterable<Buffer>,
    want: { algorithms: readonly ChecksumAlgorithm[]; sha256: boolean; asFile: boolean },
  ): Promise<ReceivedBody> {
    const md5 = createHash("md5");
    const sha256 = want.sha256 ? createHash("sha256") : null;
    const sums = want.algorithms.map((algorithm) => ({ algorithm, sum: startChecksum(algorithm) }));
    const small: Buffer[] = [];
    let bytes = 0;
    let file: { handle: FileHandle; name: string } | null = null;
    try {
      for await (const chunk of source) {
        bytes += chunk.length;
        md5.update(chunk);
        sha256?.update(chunk);
        for (const { sum } of sums) sum.update(chunk);
        small.push(chunk);
        if (file === null && bytes <= inlineBytesMax) continue;
        file ??= await this.create();
        for (const held of small.splice(0)) await file.handle.writeFile(held);
      }
      if (want.asFile && file === null) {
        file = await this.create();
        for (const held of small) await file.handle.writeFile(held);
      }
      await file?.handle.sync();
      await file?.handle.close();
    } catch (error) {
      if (file) {
        await file.handle.close().catch(() => {});
        rmSync(join(this.folder, file.name), { force: true });
      }
      throw error;
    }
    if (file) this.syncFolder();
    return {
      body: file
        ? { kind: "files", files: [{ name: file.name, bytes }] }
        : { kind: "inline", data: Buffer.concat(small) },
      bytes,
      md5: md5.digest(),
      sha256: sha256?.digest("hex") ?? null,
      checksums: Object.fromEntries(
        sums.map(({ algorithm, sum }) => [algorithm, sum.digest().toString("base64")]),
      ),
    };
  }

  private async create(): Promise<{ handle: FileHandle; name: string }> {
    const name = randomUUID();
    return { handle: await open(join(this.folder, name), "wx"), name };
  }

  /** A second body of bytes `start` to `limit - 1`, without copying them: new names for the same files. */
  duplicate(body: Body, start: number, limit: number): Body {
    if (body.kind === "inline") return { kind: "inline", data: body.data.subarray(start, limit) };
    const files = slices(body.files, start, limit).map(({ name, ...slice }) => {
      const copy = randomUUID();
      linkSync(join(this.folder, name), join(this.folder, copy));
      return { name: copy, ...slice };
    });
    this.syncFolder();
    return { kind: "files", files };
  }

  /** The same bytes, in a file of their own where they had none. */
  async asFiles(body: Body): Promise<Body> {
    if (body.kind === "files") return body;
    const want = { algorithms: [], sha256: false, asFile: true };
    return (await this.receive(Readable.from([body.data]), want)).body;
  }

  /** Bytes start to limit - 1 as a stream. The files are held until the stream closes. */
  read(body: Body, start: number, limit: number): Readable {
    const stream = Readable.from(this.pieces(body, start, limit), { objectMode: false });
    const files = body.kind === "files" ? body.files : [];
    for (const { name } of files) this.readers.set(name, (this.readers.get(name) ?? 0) + 1);
    return stream.once("close", () => {
      for (const { name } of files) this.letGo(name);
    });
  }

  private async *pieces(body: Body, start: number, limit: number): AsyncGenerator<Buffer> {
    if (body.kind === "inline") {
      if (limit > start) yield body.data.subarray(start, limit);
      return;
    }
    for (const { name, start: from, bytes } of slices(body.files, start, limit))
      yield* createReadStream(join(this.folder, name), { start: from, end: from + bytes - 1 });
  }

  private letGo(name: string): void {
    const left = this.readers.get(name)! - 1;
    if (left > 0) this.readers.set(name, left);
    else {
      this.readers.delete(name);
      if (this.doomed.delete(name)) rmSync(join(this.folder, name), { force: true });
    }
  }

  /** Deletes a body that the catalog no longer names; files in use go with their last reader. */
  discard(body: Body): void {
    if (body.kind === "inline") return;
    for (const { name } of body.files) {
      if (this.readers.has(name)) this.doomed.add(name);
      else rmSync(join(this.folder, name), { force: true });
    }
  }

  /** Makes new file names themselves durable. */
  private syncFolder(): void {
    const descriptor = openSync(this.folder, "r");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}

/** Bytes `start` to `limit - 1` of files one after the other. */
function slices(files: readonly BodyFile[], start: number, limit: number): Required<BodyFile>[] {
  let offset = 0;
  return files.flatMap(({ name, start: begins = 0, bytes }) => {
    const from = Math.max(start - offset, 0);
    const until = Math.min(limit - offset, bytes);
    offset += bytes;
    return from < until ? [{ name, start: begins + from, bytes: until - from }] : [];
  });
}
