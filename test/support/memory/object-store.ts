/**
 * The object store in memory: exactly the contract of ObjectStore, and as unforgiving as S3 where code could come to
 * rely on more. Each page of a list is read when it is asked for, so that writes between two pages show as they do on
 * S3. Bytes are copied in and out. No timers: everything is answered in a microtask.
 */
import { readFileSync } from "node:fs";
import { deltaBytesMax } from "../../../lib/core/format/delta-header.ts";
import { corrupt, invalid, SiltstoneError } from "../../../lib/core/model/errors.ts";
import type {
  BoundedGetResult,
  ByteRange,
  Clock,
  GetOptions,
  GetResult,
  Level,
  ObjectEntry,
  ObjectStore,
  PutCondition,
  PutResult,
} from "../../../lib/engine/ports.ts";
import type { Traffic } from "../../../lib/engine/traffic.ts";

interface StoredObject {
  readonly body: Buffer;
  readonly etag: string;
  readonly modifiedMs: number;
}

export class MemoryObjectStore implements ObjectStore {
  readonly #objects = new Map<string, StoredObject>();
  /** Keys in byte order; always the same set as #objects. */
  readonly #keys: string[] = [];
  readonly #traffic: Traffic;
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #pageKeys: number;
  #writes = 0;

  constructor(traffic: Traffic, clock: Pick<Clock, "nowMs">, options: { pageKeys: number }) {
    this.#traffic = traffic;
    this.#clock = clock;
    this.#pageKeys = options.pageKeys;
  }

  /** Every key there is, in byte order: for assertions. */
  keys(prefix = ""): string[] {
    return this.#keys.filter((key) => key.startsWith(prefix));
  }
  /** The stored bytes themselves, not a copy: for assertions, and for tests that damage an object in place. */
  bytes(key: string): Buffer | null {
    return this.#objects.get(key)?.body ?? null;
  }

  async get(key: string, options: GetOptions = {}): Promise<GetResult> {
    this.#traffic.request();
    checkRange(key, options.range);
    const object = this.#objects.get(key);
    if (object === undefined) return { kind: "absent" };
    if (options.ifNoneMatch === object.etag) return { kind: "notModified" };
    const { start, limit } = options.range ?? { start: 0, limit: object.body.length };
    const bytesMax = options.bytesMax ?? deltaBytesMax;
    if (!options.range && object.body.length > bytesMax)
      throw corrupt(key, `it has ${object.body.length} bytes; at most ${bytesMax} are read`);
    if (options.range && start >= object.body.length) {
      throw corrupt(key, `it has ${object.body.length} bytes, bytes ${start} to ${limit - 1} were asked for`);
    }
    const body = Buffer.from(object.body.subarray(start, limit));
    this.#traffic.read(body.length);
    return { kind: "found", body, etag: object.etag, modifiedMs: object.modifiedMs };
  }

  async getBounded(key: string, bytesMax: number): Promise<BoundedGetResult> {
    const object = this.#objects.get(key);
    if (object !== undefined && object.body.length > bytesMax) {
      this.#traffic.request();
      return { kind: "tooLarge", bytes: object.body.length };
    }
    const found = await this.get(key);
    if (found.kind !== "found") return { kind: "absent" };
    return { kind: "found", body: found.body, modifiedMs: object!.modifiedMs };
  }

  async head(key: string): Promise<{ bytes: number; etag: string } | null> {
    this.#traffic.request();
    const object = this.#objects.get(key);
    return object ? { bytes: object.body.length, etag: object.etag } : null;
  }

  async put(key: string, body: Uint8Array, condition?: PutCondition): Promise<PutResult> {
    return this.#put(key, Buffer.from(body), condition);
  }

  async putFile(key: string, path: string): Promise<void> {
    const body = readFileSync(path);
    if (this.#put(key, body, { ifAbsent: true }).kind === "written") return;
    if (this.#objects.get(key)!.body.length !== body.length)
      throw new SiltstoneError("unavailable", `${key} is there already`);
  }

  async copy(from: string, to: string): Promise<{ bytes: number } | null> {
    const source = this.#objects.get(from);
    this.#traffic.request();
    if (source === undefined) return null;
    this.#store(to, Buffer.from(source.body));
    return { bytes: source.body.length };
  }

  #put(key: string, body: Buffer, condition?: PutCondition): PutResult {
    this.#traffic.request();
    this.#traffic.wrote(body.length);
    const current = this.#objects.get(key);
    if (condition && "ifAbsent" in condition && current) return { kind: "preconditionFailed" };
    if (condition && "ifMatch" in condition && current?.etag !== condition.ifMatch) {
      return { kind: "preconditionFailed" };
    }
    return { kind: "written", etag: this.#store(key, body) };
  }

  #store(key: string, body: Buffer): string {
    const etag = `"${(++this.#writes).toString(16).padStart(8, "0")}"`;
    if (!this.#objects.has(key)) this.#keys.splice(this.#lowerBound(key), 0, key);
    // To the second, as S3 says it.
    const modifiedMs = Math.floor(this.#clock.nowMs() / 1_000) * 1_000;
    this.#objects.set(key, { body, etag, modifiedMs });
    return etag;
  }

  async *list(prefix: string, options: { startAfter?: string } = {}): AsyncIterable<readonly ObjectEntry[]> {
    let after = options.startAfter ?? "";
    for (;;) {
      this.#traffic.request();
      const page = this.#keysAfter(prefix, after, this.#pageKeys);
      if (page.length > 0) yield page.map((key) => this.#entry(key));
      if (page.length < this.#pageKeys) return;
      after = page.at(-1)!;
    }
  }

  #entry(key: string): ObjectEntry {
    const { body, modifiedMs } = this.#objects.get(key)!;
    return { key, bytes: body.length, modifiedMs };
  }

  async listLevel(prefix: string): Promise<Level> {
    this.#traffic.request();
    const folders = new Set<string>();
    const keys: string[] = [];
    for (const key of this.#keysAfter(prefix, "", Number.POSITIVE_INFINITY)) {
      const slash = key.indexOf("/", prefix.length);
      if (slash >= 0) folders.add(key.slice(prefix.length, slash));
      else keys.push(key);
    }
    return { folders: [...folders].sort(compareUtf8), keys };
  }

  async delete(keys: readonly string[]): Promise<void> {
    this.#traffic.request();
    for (const key of keys) {
      if (this.#objects.delete(key)) this.#keys.splice(this.#lowerBound(key), 1);
    }
  }

  #keysAfter(prefix: string, after: string, countMax: number): string[] {
    const page: string[] = [];
    const first = compareUtf8(after, prefix) >= 0 ? after : prefix;
    for (let i = this.#lowerBound(first); i < this.#keys.length && page.length < countMax; i++) {
      const key = this.#keys[i]!;
      if (!key.startsWith(prefix)) break;
      if (compareUtf8(key, after) > 0) page.push(key);
    }
    return page;
  }

  /** Position of the first key that is not below `key`. */
  #lowerBound(key: string): number {
    let start = 0;
    let limit = this.#keys.length;
    while (start < limit) {
      const middle = (start + limit) >>> 1;
      if (compareUtf8(this.#keys[middle]!, key) < 0) start = middle + 1;
      else limit = middle;
    }
    return start;
  }
}

/** An empty range is a mistake of the caller: S3 ignores such a header and sends the whole object. */
function checkRange(key: string, range: ByteRange | undefined): void {
  if (range && !(Number.isSafeInteger(range.start) && range.start >= 0 && range.limit > range.start)) {
    throw invalid(`${key}: ${range.start} to ${range.limit} is not a byte range`);
  }
}

/** Order of the UTF-8 bytes of two strings. JavaScript compares UTF-16 units, which differs above U+D7FF only. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return byteRank(left) - byteRank(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above all other units, so they move behind U+E000 to U+FFFF. */
function byteRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}
