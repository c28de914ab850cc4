/**
 * Compares what the metadata of Arrow messages says with the bytes that are there, before the Arrow library reads either: the library trusts
 * every count. A text, a list or a row that is named takes bytes of the message's body, and no byte of it is named twice; what takes
 * none (columns of nulls) is no longer than the rest. So what is read grows with the file, and with nothing that it says of itself.
 *
 * Everything here throws an Error that says what is wrong.
 */
import { type DataType, DateUnit, type Field, IntervalUnit, Type } from "apache-arrow";
import type { Field as FlatField } from "apache-arrow/fb/field";
import type { RecordBatch as FlatBatch } from "apache-arrow/fb/record-batch";
import type { Schema as FlatSchema } from "apache-arrow/fb/schema";
import { Timestamp } from "apache-arrow/fb/timestamp";
import { Type as FlatType } from "apache-arrow/fb/type";
import { Encoding } from "flatbuffers";

/** Of a record batch with its metadata: it is held whole. */
export const batchBytesMax = 1024 * 1024 * 1024;
/** Of one text or binary value. */
const valueBytesMax = 8 * 1024 * 1024;
const fieldsMax = 10_000;
const fieldLevelsMax = 32;
/** Entries of key-value metadata. */
const entriesMax = 100_000;
/** Names, time zones and key-value metadata, each counted as often as it is named. */
const textBytesMax = 16 * 1024 * 1024;
/** Of a batch whose columns take no bytes. */
const emptyRowsMax = 65_536;

/** What a schema adds up to: it names its parts by offsets, and may name one part again and again. */
class SchemaTotals {
  #fields = 0;
  #entries = 0;
  #textBytes = 0;

  field(): void {
    this.#fields += 1;
    if (this.#fields > fieldsMax) throw new Error(`its schema has more than ${fieldsMax} fields`);
  }

  text(text: string | Uint8Array | null | undefined): void {
    this.#textBytes += text?.length ?? 0;
    if (this.#textBytes > textBytesMax)
      throw new Error(`its metadata names texts of more than ${textBytesMax} bytes`);
  }

  entries(of: Pick<FlatSchema, "customMetadata" | "customMetadataLength">): void {
    const entries = of.customMetadataLength();
    this.#entries += entries;
    if (this.#entries > entriesMax) throw new Error(`its metadata has more than ${entriesMax} entries`);
    for (let i = 0; i < entries; i++) {
      const entry = of.customMetadata(i);
      this.text(entry?.key(Encoding.UTF8_BYTES));
      this.text(entry?.value(Encoding.UTF8_BYTES));
    }
  }
}

/** `schema`, before it is decoded; `of` is the message or footer that holds it. */
export function checkSchema(
  schema: FlatSchema,
  of: Pick<FlatSchema, "customMetadata" | "customMetadataLength">,
): void {
  const totals = new SchemaTotals();
  totals.entries(of);
  totals.entries(schema);
  for (let i = 0; i < schema.fieldsLength(); i++) checkField(schema.fields(i), totals, 1);
}

function checkField(field: FlatField | null, totals: SchemaTotals, level: number): void {
  totals.field();
  if (field === null || level > fieldLevelsMax)
    throw new Error(`its fields are nested more than ${fieldLevelsMax} levels deep`);
  totals.text(field.name(Encoding.UTF8_BYTES));
  totals.entries(field);
  if (field.typeType() === FlatType.Union) throw new Error("it has a column of a union, which is not read");
  if (field.typeType() === FlatType.Timestamp)
    totals.text((field.type(new Timestamp()) as Timestamp | null)?.timezone(Encoding.UTF8_BYTES));
  for (let i = 0; i < field.childrenLength(); i++) checkField(field.children(i), totals, level + 1);
}

/** The lists of a batch's metadata, before they are decoded. */
export function checkLists(batch: FlatBatch, metadataBytes: number): void {
  const bytes = 16 * (batch.nodesLength() + batch.buffersLength()) + 8 * batch.variadicBufferCountsLength();
  if (!(bytes <= metadataBytes))
    throw new Error(
      `its metadata of ${metadataBytes} bytes says it has ${batch.nodesLength()} nodes and ${batch.buffersLength()} buffers`,
    );
  if (batch.compression() !== null)
    throw new Error(
      "it is compressed; write it without, with pyarrow by IpcWriteOptions(compression=None) or " +
        'write_feather(…, compression="uncompressed")',
    );
}

/** A batch's metadata as the library decodes it. */
export interface BatchHeader {
  readonly length: number;
  readonly nodes: readonly { readonly length: number; readonly nullCount: number }[];
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
  readonly variadicBufferCounts?: readonly (number | bigint)[];
}

/** Longest text of each dictionary, by its number. */
export type Dictionaries = ReadonlyMap<number, number>;

/** Compares a batch with its body, column by column, as the library is going to take them. Gives the longest text. */
export function checkBatch(
  header: BatchHeader,
  body: Buffer,
  { fields, dictionaries }: { fields: readonly Field[]; dictionaries: Dictionaries },
): number {
  const layout = new BatchLayout(header, body, dictionaries);
  for (const { name, type } of fields) {
    try {
      layout.column(type, header.length);
    } catch (error) {
      throw new Error(`column ${JSON.stringify(name.slice(0, 80))}: ${(error as Error).message}`);
    }
  }
  const { length: rows } = header;
  if (rows > emptyRowsMax && fields.every(({ type }) => takesNoBytes(type)))
    throw new Error(`it has ${rows} rows of columns that hold nothing`);
  return layout.longestText;
}

class BatchLayout {
  longestText = 0;
  readonly #header: BatchHeader;
  readonly #body: Buffer;
  readonly #dictionaries: Dictionaries;
  #node = 0;
  #buffer = 0;
  #variadic = 0;
  #namedBytes = 0;
  #viewedBytes = 0;

  constructor(header: BatchHeader, body: Buffer, dictionaries: Dictionaries) {
    this.#header = header;
    this.#body = body;
    this.#dictionaries = dictionaries;
  }

  /** A column of the batch, with `rows`. */
  column(type: DataType, rows: number): void {
    const length = this.#take(type, { least: rows, isBelowList: false });
    if (length !== rows) throw new Error(`it has ${length} rows, and the batch says ${rows}`);
  }

  /** Takes the nodes and buffers of a column, in the library's order. `least`: what its parent names of it. */
  #take(type: DataType, { least, isBelowList }: { least: number; isBelowList: boolean }): number {
    const { length, nullCount } = this.#nextNode();
    if (length < least) throw new Error(`${least} of its values are named, and it has ${length}`);
    if (type.typeId === Type.Null) {
      this.#checkEmpty(length);
      return length;
    }
    const validity = this.#nextBuffer();
    if (nullCount !== 0 && validity.length > 0) holds(validity, length, 1);
    this.#takeValues(type, length, isBelowList);
    return length;
  }

  #takeValues(type: DataType, length: number, isBelowList: boolean): void {
    const bits = bitsOf(type);
    if (bits !== null) {
      if (bits === 0) this.#checkEmpty(length);
      holds(this.#nextBuffer(), length, bits);
      if (type.typeId === Type.Dictionary && isBelowList)
        this.#checkRepeats((type as DataType & { id: number }).id, length);
      return;
    }
    const below = { isBelowList: true };
    const children = (type.children ?? []) as readonly Field[];
    switch (type.typeId) {
      case Type.Utf8:
      case Type.Binary:
      case Type.LargeUtf8:
      case Type.LargeBinary: {
        const offsets = this.#nextBuffer();
        const limit = this.#nextBuffer().length;
        this.#checkOffsets(offsets, length, { type, limit, valueMax: valueBytesMax });
        return;
      }
      case Type.Utf8View:
      case Type.BinaryView:
        this.#takeViews(length);
        return;
      case Type.List:
      case Type.LargeList:
      case Type.Map: {
        const last = this.#checkOffsets(this.#nextBuffer(), length, { type });
        this.#take(children[0]!.type, { least: last, ...below });
        return;
      }
      case Type.FixedSizeList: {
        const { listSize } = type as DataType & { listSize: number };
        if (!(listSize >= 0)) throw new Error(`its lists have ${listSize} values`);
        if (takesNoBytes(type)) this.#checkEmpty(length);
        this.#take(children[0]!.type, { least: length * listSize, ...below });
        return;
      }
      case Type.Struct: {
        if (children.every((child) => takesNoBytes(child.type))) this.#checkEmpty(length);
        for (const child of children) this.#take(child.type, { least: length, isBelowList });
        return;
      }
      default:
        throw new Error(`it is of Arrow type ${type}, which is not read`);
    }
  }

  /** Texts of twelve bytes are within the views themselves; the others may be named by as many as like. */
  #takeViews(length: number): void {
    const views = this.#nextBuffer();
    holds(views, length, 128);
    const count = Number(this.#header.variadicBufferCounts?.[this.#variadic++] ?? 0);
    const sizes: number[] = [];
    for (let i = 0; i < count; i++) sizes.push(this.#nextBuffer().length);
    for (let at = 0; at < 16 * length; at += 16) {
      const bytes = views.readInt32LE(at);
      if (bytes < 0 || bytes > valueBytesMax) throw tooLong(bytes);
      this.#viewedBytes += bytes;
      this.longestText = Math.max(this.longestText, bytes);
      if (bytes > 12 && !(views.readUInt32LE(at + 12) + bytes <= (sizes[views.readInt32LE(at + 8)] ?? -1)))
        throw new Error("it names a text outside its buffers");
    }
    if (this.#viewedBytes > batchBytesMax)
      throw new Error(`the batch's texts are of more than ${batchBytesMax} bytes together`);
  }

  /** Offsets grow, so that no byte is in two values. Gives the last one. */
  #checkOffsets(
    offsets: Buffer,
    length: number,
    { type, limit = Infinity, valueMax = Infinity }: { type: DataType; limit?: number; valueMax?: number },
  ): number {
    if (length === 0) return 0;
    const isWide =
      type.typeId === Type.LargeUtf8 || type.typeId === Type.LargeBinary || type.typeId === Type.LargeList;
    holds(offsets, length + 1, isWide ? 64 : 32);
    let before: number | null = null;
    for (let i = 0; i <= length; i++) {
      const offset = isWide
        ? offsets.readUInt32LE(8 * i) + 2 ** 32 * offsets.readInt32LE(8 * i + 4)
        : offsets.readInt32LE(4 * i);
      if (offset < (before ?? 0) || offset > limit) throw new Error(`its offset ${i} is ${offset}`);
      const bytes = offset - (before ?? offset);
      if (bytes > valueMax) throw tooLong(bytes);
      if (valueMax < Infinity) this.longestText = Math.max(this.longestText, bytes);
      before = offset;
    }
    return before ?? 0;
  }

  /** One row may have a list that names a dictionary's text again and again. */
  #checkRepeats(dictionary: number, length: number): void {
    const bytes = length * (this.#dictionaries.get(dictionary) ?? 0);
    if (bytes > batchBytesMax)
      throw new Error(`its lists may name ${bytes} bytes of a dictionary; at most ${batchBytesMax} are read`);
  }

  /** What takes no bytes of its own is no longer than the body could be otherwise. */
  #checkEmpty(length: number): void {
    const most = Math.max(this.#header.length, this.#body.length + emptyRowsMax);
    if (length > most) throw new Error(`it has ${length} values of no bytes`);
  }

  #nextNode(): { readonly length: number; readonly nullCount: number } {
    const node = this.#header.nodes[this.#node++];
    if (node === undefined) throw new Error("the batch's metadata says nothing of it");
    if (!Number.isSafeInteger(node.length) || node.length < 0)
      throw new Error(`it has the length ${node.length}`);
    return node;
  }

  #nextBuffer(): Buffer {
    const { offset, length } = this.#header.buffers[this.#buffer++] ?? { offset: -1, length: -1 };
    if (!(offset >= 0 && length >= 0 && offset + length <= this.#body.length))
      throw new Error(
        `its buffer of ${length} bytes at ${offset} is outside the body of ${this.#body.length}`,
      );
    this.#namedBytes += length;
    if (this.#namedBytes > this.#body.length)
      throw new Error("it names bytes that others have named already");
    return this.#body.subarray(offset, offset + length);
  }
}

const tooLong = (bytes: number): Error =>
  new Error(`it has a value of ${bytes} bytes; at most ${valueBytesMax} are read`);

function holds(buffer: Buffer, values: number, bits: number): void {
  if (!(8 * buffer.length >= values * bits))
    throw new Error(`its buffer of ${buffer.length} bytes cannot hold ${values} values`);
}

/** Bits of each value; null where that depends on the value. */
function bitsOf(type: DataType): number | null {
  const { bitWidth, byteWidth, precision, unit, indices } = type as unknown as Record<string, number> & {
    indices: DataType;
  };
  switch (type.typeId) {
    case Type.Bool:
      return 1;
    case Type.Int:
    case Type.Time:
    case Type.Decimal:
      return positive(bitWidth);
    case Type.Float:
      return 16 << Number(precision);
    case Type.Date:
      return unit === DateUnit.DAY ? 32 : 64;
    case Type.Timestamp:
    case Type.Duration:
      return 64;
    case Type.Interval:
      return unit === IntervalUnit.YEAR_MONTH ? 32 : unit === IntervalUnit.DAY_TIME ? 64 : 128;
    case Type.FixedSizeBinary:
      return byteWidth === 0 ? 0 : positive(byteWidth) * 8;
    case Type.Dictionary:
      return bitsOf(indices);
    default:
      return null;
  }
}

function positive(size: number | undefined): number {
  if (size === undefined || !(size > 0)) throw new Error(`its values have the size ${size}`);
  return size;
}

function takesNoBytes(type: DataType): boolean {
  const children = (type.children ?? []) as readonly Field[];
  switch (type.typeId) {
    case Type.Null:
      return true;
    case Type.FixedSizeBinary:
      return (type as DataType & { byteWidth: number }).byteWidth === 0;
    case Type.FixedSizeList:
      return (
        (type as DataType & { listSize: number }).listSize === 0 ||
        children.every((child) => takesNoBytes(child.type))
      );
    case Type.Struct:
      return children.every((child) => takesNoBytes(child.type));
    default:
      return false;
  }
}
