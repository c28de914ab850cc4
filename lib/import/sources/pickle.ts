/**
 * A strict reader of Python's pickles, for the one that Chroma keeps beside its index: dicts, lists, tuples, texts, integers,
 * floats, booleans and None. Nothing is called and nothing is looked up: the only class that it meets without an error is
 * Chroma's own, whose state is read as a dict.
 */
import { invalid } from "../../core/model/errors.ts";

export type Pickled = null | boolean | number | bigint | string | Pickled[] | Map<Pickled, Pickled>;

const op = {
  proto: 0x80,
  frame: 0x95,
  stop: 0x2e,
  mark: 0x28,
  none: 0x4e,
  true: 0x88,
  false: 0x89,
  binInt: 0x4a,
  binInt1: 0x4b,
  binInt2: 0x4d,
  long1: 0x8a,
  binFloat: 0x47,
  shortText: 0x8c,
  text: 0x58,
  longText: 0x8d,
  emptyDict: 0x7d,
  emptyList: 0x5d,
  emptyTuple: 0x29,
  setItem: 0x73,
  setItems: 0x75,
  append: 0x61,
  appends: 0x65,
  memoize: 0x94,
  put: 0x71,
  longPut: 0x72,
  get: 0x68,
  longGet: 0x6a,
  stackGlobal: 0x93,
  global: 0x63,
  newObject: 0x81,
  build: 0x62,
} as const;

const mark = Symbol("mark");
const chromaClass = Symbol("class");
type Held = Pickled | typeof mark | typeof chromaClass;

/** `ignored`: values of these keys are read over, and come out empty. Throws `invalid` for anything else than plain data. */
export function readPickle(name: string, bytes: Buffer, ignored: ReadonlySet<string> = new Set()): Pickled {
  try {
    return new PickleReader(bytes, ignored).read();
  } catch (error) {
    throw invalid(`${name} is not a pickle of plain data: ${(error as Error).message}`);
  }
}

/** What is kept of an ignored value. */
class Sink extends Map<Pickled, Pickled> {
  override set(): this {
    return this;
  }
}

class PickleReader {
  readonly #bytes: Buffer;
  readonly #ignored: ReadonlySet<string>;
  readonly #stack: Held[] = [];
  readonly #memo: Held[] = [];
  #at = 0;

  constructor(bytes: Buffer, ignored: ReadonlySet<string>) {
    this.#bytes = bytes;
    this.#ignored = ignored;
  }

  read(): Pickled {
    for (;;) {
      const code = this.#byte();
      if (code === op.stop) return this.#pop();
      if (!this.#scalar(code) && !this.#memory(code)) this.#structure(code);
    }
  }

  #scalar(code: number): boolean {
    const push = (value: Pickled) => {
      this.#stack.push(value);
      return true;
    };
    switch (code) {
      case op.none:
        return push(null);
      case op.true:
        return push(true);
      case op.false:
        return push(false);
      case op.binInt:
        return push(this.#take(4).readInt32LE());
      case op.binInt1:
        return push(this.#byte());
      case op.binInt2:
        return push(this.#take(2).readUInt16LE());
      case op.long1:
        return push(this.#integer(this.#byte()));
      case op.binFloat:
        return push(this.#take(8).readDoubleBE());
      case op.shortText:
        return push(this.#text(this.#byte()));
      case op.text:
        return push(this.#text(this.#take(4).readUInt32LE()));
      case op.longText:
        return push(this.#text(Number(this.#take(8).readBigUInt64LE())));
      default:
        return false;
    }
  }

  #memory(code: number): boolean {
    switch (code) {
      case op.proto:
        this.#byte();
        return true;
      case op.frame:
        this.#take(8);
        return true;
      case op.memoize:
        this.#memo.push(this.#top());
        return true;
      case op.put:
        this.#memo[this.#byte()] = this.#top();
        return true;
      case op.longPut:
        this.#memo[this.#take(4).readUInt32LE()] = this.#top();
        return true;
      case op.get:
        this.#recall(this.#byte());
        return true;
      case op.longGet:
        this.#recall(this.#take(4).readUInt32LE());
        return true;
      default:
        return false;
    }
  }

  #structure(code: number): void {
    switch (code) {
      case op.mark:
        this.#stack.push(mark);
        return;
      case op.emptyDict: {
        const key = this.#stack.at(-1);
        this.#stack.push(typeof key === "string" && this.#ignored.has(key) ? new Sink() : new Map());
        return;
      }
      case op.emptyList:
      case op.emptyTuple:
        this.#stack.push([]);
        return;
      case op.setItem:
        this.#setItems([this.#pop(), this.#pop()].reverse());
        return;
      case op.setItems:
        this.#setItems(this.#sinceMark());
        return;
      case op.append:
        this.#append([this.#pop()]);
        return;
      case op.appends:
        this.#append(this.#sinceMark());
        return;
      case op.global:
        this.#class(this.#line(), this.#line());
        return;
      case op.stackGlobal: {
        const [name, module] = [this.#pop(), this.#pop()];
        this.#class(module, name);
        return;
      }
      case op.newObject: {
        const made = this.#pop();
        if (!Array.isArray(made) || made.length > 0 || this.#stack.pop() !== chromaClass)
          throw new Error("it makes an object");
        this.#stack.push(new Map());
        return;
      }
      case op.build: {
        const state = this.#pop();
        const object = this.#top();
        if (!(state instanceof Map) || !(object instanceof Map)) throw new Error("it builds an object");
        for (const [key, value] of state) object.set(key, value);
        return;
      }
      default:
        throw new Error(`operation 0x${code.toString(16)} at byte ${this.#at - 1}`);
    }
  }

  #class(module: Pickled, name: Pickled): void {
    if (name !== "PersistentData" || typeof module !== "string" || !module.startsWith("chromadb."))
      throw new Error(`it names ${String(module)}.${String(name)}`);
    this.#stack.push(chromaClass);
  }

  #setItems(items: readonly Pickled[]): void {
    const dict = this.#top();
    if (!(dict instanceof Map) || items.length % 2 !== 0) throw new Error("items are set of no dict");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i]!, items[i + 1]!);
  }

  #append(items: readonly Pickled[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw new Error("items are appended to no list");
    for (const item of items) list.push(item);
  }

  #sinceMark(): Pickled[] {
    const start = this.#stack.lastIndexOf(mark);
    if (start < 0) throw new Error("a mark is missing");
    return this.#stack.splice(start).slice(1).map(plain);
  }

  #recall(at: number): void {
    const known = this.#memo[at];
    if (known === undefined) throw new Error(`nothing was kept as ${at}`);
    this.#stack.push(known);
  }

  #top(): Held {
    const top = this.#stack.at(-1);
    if (top === undefined) throw new Error("it takes more than there is");
    return top;
  }

  #pop(): Pickled {
    const top = this.#top();
    this.#stack.pop();
    return plain(top);
  }

  /** Little endian, in two's complement. */
  #integer(length: number): number | bigint {
    let value = 0n;
    for (const [i, byte] of this.#take(length).entries()) value |= BigInt(byte) << BigInt(i * 8);
    const signed = BigInt.asIntN(Math.max(1, length * 8), value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  }

  #text(length: number): string {
    return this.#take(length).toString("utf8");
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new Error("it ends too early");
    const line = this.#take(end - this.#at).toString("utf8");
    this.#at += 1;
    return line;
  }

  #byte(): number {
    return this.#take(1)[0]!;
  }

  #take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new Error("it ends too early");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

function plain(held: Held): Pickled {
  if (held === mark || held === chromaClass) throw new Error("a mark or a class is used as a value");
  return held;
}
