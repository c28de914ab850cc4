/**
 * The messages of Arrow streams and files, each looked at (arrow-layout.ts) before the Arrow library has it. A file is given to the
 * library as one of which only such bytes can be read; of a stream it gets message after message.
 *
 *   message: FF FF FF FF · int32 length of the metadata · metadata · body        (before version 0.15 without the first four)
 *   file:    "ARROW1" 00 00 · messages · footer, which says where they are · int32 length of the footer · "ARROW1"
 */
import type { FileHandle } from "node:fs/promises";
import { type Field, Message, Schema } from "apache-arrow";
import { Block } from "apache-arrow/fb/block";
import { DictionaryBatch } from "apache-arrow/fb/dictionary-batch";
import { Footer } from "apache-arrow/fb/footer";
import { Message as FlatMessage } from "apache-arrow/fb/message";
import { MessageHeader } from "apache-arrow/fb/message-header";
import { RecordBatch } from "apache-arrow/fb/record-batch";
import { Schema as FlatSchema } from "apache-arrow/fb/schema";
import { ByteBuffer } from "flatbuffers";
import type { InputFile } from "../inputs.ts";
import { type BatchHeader, batchBytesMax, checkBatch, checkLists, checkSchema } from "./arrow-layout.ts";

const magic = Buffer.from("ARROW1");
const headBytes = 8;
/** After the footer: its length and the magic. */
const tailBytes = 4 + magic.length;
/** Of a message, and of a file's footer. */
const metadataBytesMax = 64 * 1024 * 1024;
const dictionariesMax = 10_000;

/** What is known from the messages before. */
class MessageChecks {
  #schema: Schema | null;
  /** Longest text of each dictionary. */
  readonly #dictionaries = new Map<number, number>();
  #dictionaryBatches = 0;

  constructor(schema: Schema | null) {
    this.#schema = schema;
  }

  /** Bytes of the body that the metadata names. */
  bodyBytes(metadata: Buffer): number {
    const message = FlatMessage.getRootAsMessage(new ByteBuffer(metadata));
    const bytes = Number(message.bodyLength());
    if (!(bytes >= 0 && bytes <= batchBytesMax))
      throw new Error(
        `a message of it has a body of ${bytes} bytes; at most ${batchBytesMax} are read: write batches of 50,000 rows or fewer`,
      );
    return bytes;
  }

  /** Throws an Error that says what is wrong. */
  check(metadata: Buffer, body: Buffer): void {
    const message = FlatMessage.getRootAsMessage(new ByteBuffer(metadata));
    switch (message.headerType()) {
      case MessageHeader.Schema:
        checkSchema(headerOf(message, new FlatSchema()), message);
        this.#schema = Message.decode(metadata).header() as unknown as Schema;
        return;
      case MessageHeader.RecordBatch: {
        checkLists(headerOf(message, new RecordBatch()), metadata.length);
        const header = Message.decode(metadata).header() as unknown as BatchHeader;
        checkBatch(header, body, { fields: this.#known.fields, dictionaries: this.#dictionaries });
        return;
      }
      case MessageHeader.DictionaryBatch: {
        const data = headerOf(message, new DictionaryBatch()).data();
        if (data === null) throw new Error("a dictionary of it has no data");
        checkLists(data, metadata.length);
        this.#checkDictionary(Message.decode(metadata), body);
        return;
      }
      default:
        throw new Error(`it has a message of type ${message.headerType()}`);
    }
  }

  #checkDictionary(message: Message, body: Buffer): void {
    this.#dictionaryBatches += 1;
    if (this.#dictionaryBatches > dictionariesMax)
      throw new Error(`it has more than ${dictionariesMax} dictionary batches`);
    const { id, data } = message.header() as unknown as { id: number; data: BatchHeader };
    const type = this.#known.dictionaries.get(id);
    if (type === undefined) throw new Error(`it has a dictionary ${id}, which no column has`);
    // Values that name values of others would multiply.
    if ((type.children ?? []).length > 0) throw new Error(`its dictionary ${id} has values that are nested`);
    const fields = [{ name: `dictionary ${id}`, type } as Field];
    const longest = checkBatch(data, body, { fields, dictionaries: this.#dictionaries });
    this.#dictionaries.set(id, Math.max(longest, this.#dictionaries.get(id) ?? 0));
  }

  get #known(): Schema {
    if (this.#schema === null) throw new Error("it begins without a schema");
    return this.#schema;
  }
}

function headerOf<T>(message: FlatMessage, into: T): T {
  const header = message.header(into) as T | null;
  if (header === null) throw new Error("a message of it has no header");
  return header;
}

/** The length of the metadata that follows, and where it begins; null at the end. */
function prefixOf(bytes: Buffer): { metadataStart: number; metadataBytes: number } | null {
  const isCurrent = bytes.readInt32LE(0) === -1;
  const metadataBytes = isCurrent ? bytes.readInt32LE(4) : bytes.readInt32LE(0);
  if (metadataBytes === 0) return null;
  if (metadataBytes < 8 || metadataBytes > metadataBytesMax)
    throw new Error(
      `a message of it has metadata of ${metadataBytes} bytes; 8 to ${metadataBytesMax} are read`,
    );
  return { metadataStart: isCurrent ? 8 : 4, metadataBytes };
}

/** The messages of a stream, or of what is in a file. */
export async function* checkedMessages(chunks: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  const bytes = new ByteQueue(chunks);
  const checks = new MessageChecks(null);
  try {
    if ((await bytes.peek(magic.length)).equals(magic)) await bytes.take(headBytes);
    for (;;) {
      const start = await bytes.peek(8);
      if (start.length < 4 || (start.length < 8 && start.readInt32LE(0) === -1)) return;
      const prefix = prefixOf(start);
      if (prefix === null) return;
      const head = await bytes.take(prefix.metadataStart + prefix.metadataBytes);
      const metadata = head.subarray(prefix.metadataStart);
      const body = await bytes.take(checks.bodyBytes(metadata));
      checks.check(metadata, body);
      yield head;
      if (body.length > 0) yield body;
    }
  } finally {
    await bytes.close();
  }
}

/** Bytes that arrive in chunks, taken by lengths: no more is held than was asked for and is there. */
class ByteQueue {
  readonly #chunks: AsyncIterator<Buffer>;
  #held: Buffer[] = [];
  #bytes = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Nothing more is wanted: what the chunks come from is closed. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** What comes next, fewer bytes at the end. */
  async peek(bytes: number): Promise<Buffer> {
    while (this.#bytes < bytes) {
      const next = await this.#chunks.next();
      if (next.done === true) break;
      this.#held.push(next.value);
      this.#bytes += next.value.length;
    }
    if (this.#held.length !== 1) this.#held = [Buffer.concat(this.#held)];
    return this.#held[0]!.subarray(0, bytes);
  }

  async take(bytes: number): Promise<Buffer> {
    const taken = await this.peek(bytes);
    if (taken.length < bytes) throw new Error("it ends within a message");
    this.#held = [this.#held[0]!.subarray(bytes)];
    this.#bytes -= bytes;
    return taken;
  }
}

/** What the library takes for an open file, where any part of it can be read; null for a stream. */
export async function checkedFile({ bytes, read }: InputFile): Promise<FileHandle | null> {
  if (bytes === null || read === null || bytes < headBytes + tailBytes) return null;
  if (!(await read(0, magic.length)).equals(magic)) return null;
  const { start, footer } = await footerOf(bytes, read);
  const blocks = blocksOf(footer, start);
  const schema = footer.schema();
  if (schema === null) throw new Error("its footer has no schema");
  checkSchema(schema, footer);
  const checks = new MessageChecks(Schema.decode(schema, new Map(), footer.version()));
  const outer = [
    { start: 0, held: await read(0, headBytes) },
    { start, held: await read(start, bytes) },
  ];
  let message = null as { readonly start: number; readonly held: Buffer } | null;
  const find = async (position: number): Promise<Buffer> => {
    const limit = blocks.get(position);
    if (limit !== undefined && message?.start !== position) {
      const held = await read(position, limit);
      checkBlock(held, checks);
      message = { start: position, held };
    }
    for (const { start: from, held } of [...outer, ...(message === null ? [] : [message])])
      if (position >= from && position < from + held.length) return held.subarray(position - from);
    throw new Error("a message of it goes beyond its block");
  };
  const handle = {
    fd: 0,
    stat: async () => ({ size: bytes }),
    async read(into: Uint8Array, offset: number, length: number, position: number) {
      const part = (await find(position)).subarray(0, length);
      into.set(part, offset);
      return { bytesRead: part.length, buffer: into };
    },
    close: async () => {},
  };
  return handle as unknown as FileHandle;
}

async function footerOf(
  fileBytes: number,
  read: NonNullable<InputFile["read"]>,
): Promise<{ start: number; footer: Footer }> {
  const limit = fileBytes - tailBytes;
  const tail = await read(limit, fileBytes);
  if (!tail.subarray(4).equals(magic)) throw new Error("it does not end with ARROW1");
  const footerBytes = tail.readInt32LE(0);
  if (footerBytes < 8 || footerBytes > Math.min(limit - headBytes, metadataBytesMax))
    throw new Error(`its footer cannot be of ${footerBytes} bytes`);
  const start = limit - footerBytes;
  return { start, footer: Footer.getRootAsFooter(new ByteBuffer(await read(start, limit))) };
}

/** Where messages begin, and the byte behind each: before the footer, and together no longer than that. */
function blocksOf(footer: Footer, footerStart: number): Map<number, number> {
  const count = footer.recordBatchesLength() + footer.dictionariesLength();
  if (8 * count > footerStart) throw new Error(`its footer says it has ${count} messages`);
  const limits = new Map<number, number>();
  let sum = 0;
  const add = (block: Block | null) => {
    const start = Number(block?.offset() ?? -1);
    const bytes = (block?.metaDataLength() ?? -1) + Number(block?.bodyLength() ?? -1);
    sum += bytes;
    if (!(start >= headBytes && bytes >= 8 && start + bytes <= footerStart && sum <= footerStart))
      throw new Error(
        `its footer names a message of ${bytes} bytes at ${start}, and begins at ${footerStart}`,
      );
    if (bytes > batchBytesMax + metadataBytesMax)
      throw new Error(
        `a message of it has ${bytes} bytes; at most ${batchBytesMax} are read: write batches of 50,000 rows or fewer`,
      );
    limits.set(start, start + bytes);
  };
  for (let i = 0; i < footer.recordBatchesLength(); i++) add(footer.recordBatches(i, new Block()));
  for (let i = 0; i < footer.dictionariesLength(); i++) add(footer.dictionaries(i, new Block()));
  return limits;
}

function checkBlock(block: Buffer, checks: MessageChecks): void {
  const prefix = prefixOf(block);
  if (prefix === null) throw new Error("a message of it is empty");
  const bodyStart = prefix.metadataStart + prefix.metadataBytes;
  if (bodyStart > block.length) throw new Error("a message of it goes beyond its block");
  const metadata = block.subarray(prefix.metadataStart, bodyStart);
  const bodyBytes = checks.bodyBytes(metadata);
  if (bodyBytes > block.length - bodyStart) throw new Error("a message of it goes beyond its block");
  checks.check(metadata, block.subarray(bodyStart, bodyStart + bodyBytes));
}
