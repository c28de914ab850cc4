/**
 * Where files of import sources lie: a file, a folder with files of one kind (taken in the order of their names), standard input,
 * or the same of S3. gzip and zstd are undone on the way.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { invalid, SiltstoneError } from "../core/model/errors.ts";
import { foreignFormat, unreadable } from "./input-text.ts";

const chunkBytes = 1024 * 1024;
/** Of one location. */
const filesMax = 10_000;
/** Objects that are looked at below a prefix; of another kind, most of them. */
const listedMax = 200_000;
const gzip = [0x1f, 0x8b];
const zstd = [0x28, 0xb5, 0x2f, 0xfd];

/** Bytes with a size, of which any part can be read. */
export interface InputFile {
  /** As it is named in messages. */
  readonly name: string;
  /** Null for standard input. */
  readonly bytes: number | null;
  /** Changes when the content has; null where nothing tells. */
  readonly identity: string | null;
  stream(): AsyncIterable<Uint8Array>;
  /** Null where only a stream can be had. */
  readonly read: ((start: number, limit: number) => Promise<Buffer>) | null;
  close(): Promise<void>;
}

/** An object as it was listed. */
export interface BucketFile {
  readonly bucket: string;
  readonly key: string;
  readonly bytes: number;
  readonly etag: string;
}

/** What lies in S3, in any bucket. Reading what was overwritten since it was listed is a `conflict`. */
export interface BucketFiles {
  /** Objects whose keys begin with the prefix, in the order of their keys, as they are asked for. */
  list(bucket: string, prefix: string): AsyncIterable<BucketFile>;
  read(file: BucketFile, range: { start: number; limit: number }): Promise<Buffer>;
  stream(file: BucketFile): AsyncIterable<Uint8Array>;
  /** Over whatever the key holds. */
  write(bucket: string, key: string, body: Readable): Promise<void>;
  /** False, and nothing written, where the key has an object. */
  create(bucket: string, key: string, body: Uint8Array): Promise<boolean>;
}

export interface Inputs {
  readonly stdin: AsyncIterable<Buffer | string> & { readonly isTTY?: boolean };
  /** Asked for when a location of S3 is named. */
  readonly bucketFiles: () => Promise<BucketFiles>;
}

/** The files of a location. `extensions` says which of a folder's are meant. Throws `invalid` where there is none. */
export async function openInputs(
  inputs: Inputs,
  location: string,
  extensions: readonly string[],
): Promise<InputFile[]> {
  if (location === "-") return [standardInput(inputs)];
  const matches = (name: string) =>
    extensions.some((end) => ["", ".gz", ".zst"].some((packed) => name.endsWith(end + packed)));
  const found = location.startsWith("s3://")
    ? await ofBucket(await inputs.bucketFiles(), location, matches)
    : await ofDisk(location, matches);
  if (found.length > 0) return found;
  throw invalid(`${location}: there is no file of ${extensions.join(", ")} in it`);
}

function standardInput({ stdin }: Inputs): InputFile {
  if (stdin.isTTY === true) throw invalid("-: pipe the rows into the command");
  let isRead = false;
  return {
    name: "standard input",
    bytes: null,
    identity: null,
    read: null,
    async *stream() {
      // What had ended would look like a source without rows.
      if (isRead) throw readOnce("this source is read more than once");
      isRead = true;
      for await (const chunk of stdin) yield Buffer.from(chunk);
    },
    close: async () => {},
  };
}

/** `what` reads a source a second time. */
export const readOnce = (what: string): SiltstoneError =>
  invalid(
    `${what}, and standard input can be read only once: write it to a file first (… > rows), and name that file instead of -`,
  );

async function ofDisk(path: string, matches: (name: string) => boolean): Promise<InputFile[]> {
  const found = await stat(path).catch(unreadable("--from", path));
  if (!found.isDirectory()) return [await diskFile(path)];
  const names = (await readdir(path, { recursive: true })).filter((name) => matches(name)).sort();
  if (names.length > filesMax) throw tooMany(path);
  const files: InputFile[] = [];
  for (const name of names) files.push(await diskFile(join(path, name)));
  return files;
}

/** `option`: which of the command line named it. */
export async function diskFile(path: string, option = "--from"): Promise<InputFile> {
  const failed = unreadable(option, path);
  const { size, mtimeMs } = await stat(path).then((found) => {
    if (!found.isFile()) throw invalid(`${option}: ${path} is not a file`);
    return found;
  }, failed);
  // Opened when it is read: a folder may have many.
  let file: FileHandle | null = null;
  return {
    name: path,
    bytes: size,
    identity: `${basename(path)} ${size} ${mtimeMs}`,
    async read(start, limit) {
      file ??= await open(path).catch(failed);
      const part = Buffer.alloc(limit - start);
      const { bytesRead } = await file.read(part, 0, part.length, start).catch(failed);
      if (bytesRead !== part.length) throw invalid(`${path} ends before byte ${limit}`);
      return part;
    },
    async *stream() {
      try {
        yield* createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer>;
      } catch (error) {
        failed(error);
      }
    },
    async close() {
      await file?.close();
      file = null;
    },
  };
}

async function ofBucket(
  files: BucketFiles,
  location: string,
  matches: (name: string) => boolean,
): Promise<InputFile[]> {
  const [, bucket, prefix] = /^s3:\/\/([^/]+)\/(.*)$/.exec(location) ?? [];
  if (bucket === undefined || prefix === undefined)
    throw invalid(`${location}: a location of S3 is s3://BUCKET/KEY, or s3://BUCKET/PREFIX/`);
  const meant: BucketFile[] = [];
  let listed = 0;
  for await (const file of files.list(bucket, prefix)) {
    // The prefix itself comes before all that it begins.
    if (file.key === prefix) return [bucketInput(files, file)];
    if (isBelow(file.key, prefix) && matches(file.key)) meant.push(file);
    if (++listed > listedMax || meant.length > filesMax) throw tooMany(location);
  }
  return meant.map((file) => bucketInput(files, file));
}

const bucketInput = (files: BucketFiles, file: BucketFile): InputFile => ({
  name: `s3://${file.bucket}/${file.key}`,
  bytes: file.bytes,
  identity: `${file.key} ${file.bytes} ${file.etag}`,
  read: (start, limit) => files.read(file, { start, limit }),
  stream: () => files.stream(file),
  close: async () => {},
});

const tooMany = (location: string): SiltstoneError =>
  invalid(
    `${location}: there are more than ${filesMax} files, or ${listedMax} objects, below it; import it in parts, folder by folder`,
  );

const isBelow = (key: string, prefix: string): boolean =>
  prefix === "" || prefix.endsWith("/") || key.startsWith(`${prefix}/`);

/** The content of a file, unpacked, and how many of its bytes have been read. Throws `invalid` for another compression. */
export class ContentStream {
  read = 0;
  readonly #file: InputFile;

  constructor(file: InputFile) {
    this.#file = file;
  }

  /** `isText`: what is a well-known format of another kind is refused by name. */
  async *chunks({ isText }: { isText: boolean }): AsyncGenerator<Buffer> {
    const raw = this.#raw();
    const first = await raw.next();
    if (first.done === true) return;
    const head = first.value;
    const unpack = startsWith(head, gzip)
      ? createGunzip()
      : startsWith(head, zstd)
        ? createZstdDecompress()
        : null;
    if (unpack === null) {
      const problem = isText ? foreignFormat(head) : null;
      if (problem !== null) throw invalid(`${this.#file.name} ${problem}`);
      yield head;
      return yield* raw;
    }
    const all = async function* () {
      yield head;
      yield* raw;
    };
    const source = Readable.from(all(), { objectMode: false });
    // A failure of either ends the other with it.
    source.on("error", (error) => unpack.destroy(error));
    source.pipe(unpack);
    try {
      yield* unpack as AsyncIterable<Buffer>;
    } catch (error) {
      if (error instanceof SiltstoneError) throw error;
      throw invalid(`${this.#file.name} cannot be unpacked: ${(error as Error).message}`);
    } finally {
      source.destroy();
    }
  }

  async *#raw(): AsyncGenerator<Buffer> {
    for await (const chunk of this.#file.stream()) {
      this.read += chunk.length;
      if (chunk.length > 0) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    }
  }
}

const startsWith = (bytes: Uint8Array, prefix: readonly number[]): boolean =>
  prefix.every((byte, i) => bytes[i] === byte);

/** The content of files, one after the other, and how far it is. */
export class Contents {
  readonly #files: readonly InputFile[];
  readonly #isText: boolean;
  #done = 0;
  #now: ContentStream | null = null;

  constructor(files: readonly InputFile[], kind: "text" | "binary") {
    this.#files = files;
    this.#isText = kind === "text";
  }

  async *each(): AsyncGenerator<{ readonly file: InputFile; readonly chunks: AsyncIterable<Buffer> }> {
    for (const file of this.#files) {
      this.#now = new ContentStream(file);
      yield { file, chunks: this.#now.chunks({ isText: this.#isText }) };
      this.#done += this.#now.read;
      this.#now = null;
    }
  }

  get progress(): { done: number; all: number } | null {
    const sizes = this.#files.map(({ bytes }) => bytes);
    if (sizes.includes(null)) return null;
    return {
      done: this.#done + (this.#now?.read ?? 0),
      all: sizes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0),
    };
  }
}

/** Of all files together; null where one of them may change unseen. */
export const identityOf = (files: readonly InputFile[]): string | null =>
  files.some(({ identity }) => identity === null) ? null : files.map(({ identity }) => identity).join("\n");
