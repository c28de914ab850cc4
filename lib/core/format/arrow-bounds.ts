/**
 * Looks over the metadata of an Arrow IPC file before the Arrow library reads it. The library trusts every count in the
 * file: one flipped bit in the length of a list makes it loop over, or allocate, billions of entries. What passes here
 * holds one flat schema of known width, uncompressed record batches without dictionaries, and lengths that fit the file.
 *
 * Everything in the file refers to bytes by offset, so that a small file may name the same bytes again and again: a text
 * hundreds of times in its metadata, a body in each of a thousand batches. What is read of it grows with the names. So
 * texts count as often as they are named, and no byte of the bodies may be named twice: what passes here becomes at most
 * a few times the file's own size in memory.
 *
 *   "ARROW1" 00 00 · schema message · record batch messages · footer · int32 footer length · "ARROW1"
 */
import { Block } from "apache-arrow/fb/block";
import { Footer } from "apache-arrow/fb/footer";
import { Message } from "apache-arrow/fb/message";
import { MessageHeader } from "apache-arrow/fb/message-header";
import { RecordBatch } from "apache-arrow/fb/record-batch";
import type { Schema } from "apache-arrow/fb/schema";
import { Type } from "apache-arrow/fb/type";
import { ByteBuffer, Encoding } from "flatbuffers";

const magic = Buffer.from("ARROW1");
const magicPaddedBytes = 8;
/** After the footer: its length and the magic. */
const tailBytes = 4 + magic.length;
const batchesMax = 1024;
const metadataEntriesMax = 64;
/** Largest footer, and largest metadata of a batch: ours have 1 KiB. */
export const metadataBytesMax = 256 * 1024;
/** Largest sum of all texts in footer and batches, each counted as often as it is named. */
const textBytesMax = 256 * 1024;
/** Most bytes read of a text that is looked for by itself. */
const shortTextBytesMax = 64;
/** The continuation mark 0xFFFFFFFF and the length, before each message. */
const messagePrefixBytes = 8;

export interface ArrowShape {
  /** Columns of the schema, in order. A FixedSizeList counts as one, its only child is not counted. */
  readonly columns: number;
  readonly rowsMax: number;
}

/** What batch after batch adds up to. */
interface Totals {
  textBytes: number;
  rows: number;
  bodyBytes: number;
}

/** What is wrong with the file's structure, or null. Reads nothing outside `bytes`, and never throws. */
export function arrowFileProblem(bytes: Uint8Array, shape: ArrowShape): string | null {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const footer = footerOf(file);
  if (typeof footer === "string") return footer;
  if (footer.dictionariesLength() !== 0) return "it has dictionaries";
  const schema = footer.schema();
  if (schema === null) return "it has no schema";
  const totals: Totals = { textBytes: 0, rows: 0, bodyBytes: 0 };
  const schemaFault = schemaProblem(schema, shape, totals) ?? textProblem(totals);
  if (schemaFault !== null) return schemaFault;
  const batches = footer.recordBatchesLength();
  if (batches < 1 || batches > batchesMax)
    return `it has ${batches} record batches; 1 to ${batchesMax} are allowed`;
  for (let i = 0; i < batches; i++) {
    const block = footer.recordBatches(i, new Block());
    const start = Number(block?.offset() ?? -1n);
    const fault = batchProblem(file, start, shape, totals) ?? textProblem(totals);
    if (fault !== null) return `record batch ${i}: ${fault}`;
  }
  return null;
}

/** A text of the schema's metadata, cut, whatever else is in the file; null when there is none. */
export function schemaText(bytes: Uint8Array, key: string): string | null {
  const footer = footerOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const schema = typeof footer === "string" ? null : footer.schema();
  for (let i = 0; schema !== null && i < Math.min(schema.customMetadataLength(), metadataEntriesMax); i++) {
    const entry = schema.customMetadata(i);
    const name = entry?.key(Encoding.UTF8_BYTES) as Uint8Array | null | undefined;
    const text = entry?.value(Encoding.UTF8_BYTES) as Uint8Array | null | undefined;
    if (name && text && Buffer.from(name).toString() === key)
      return Buffer.from(text.subarray(0, shortTextBytesMax)).toString();
  }
  return null;
}

/** The footer, or what is wrong with the file that it is looked for in. */
function footerOf(file: Buffer): Footer | string {
  if (file.length < magicPaddedBytes + tailBytes) return `it has only ${file.length} bytes`;
  if (!file.subarray(0, magic.length).equals(magic)) return "it does not begin with ARROW1";
  if (!file.subarray(-magic.length).equals(magic)) return "it does not end with ARROW1";
  const footerLimit = file.length - tailBytes;
  const footerBytes = file.readInt32LE(footerLimit);
  if (footerBytes < 8 || footerBytes > footerLimit - magicPaddedBytes) {
    return `its footer length ${footerBytes} does not fit its ${file.length} bytes`;
  }
  if (footerBytes > metadataBytesMax)
    return `its footer has ${footerBytes} bytes; at most ${metadataBytesMax} are allowed`;
  return Footer.getRootAsFooter(new ByteBuffer(file.subarray(footerLimit - footerBytes, footerLimit)));
}

const textProblem = ({ textBytes }: Totals): string | null =>
  textBytes > textBytesMax
    ? `its metadata names texts of ${textBytes} bytes and more; at most ${textBytesMax} are allowed`
    : null;

/** Adds the texts of key-value metadata; false when it has too many entries. */
function countEntries(metadata: Pick<Schema, "customMetadata" | "customMetadataLength">, totals: Totals) {
  const entries = metadata.customMetadataLength();
  if (entries > metadataEntriesMax) return false;
  for (let i = 0; i < entries; i++) {
    const entry = metadata.customMetadata(i);
    totals.textBytes +=
      lengthOf(entry?.key(Encoding.UTF8_BYTES)) + lengthOf(entry?.value(Encoding.UTF8_BYTES));
  }
  return true;
}

/** Bytes of a text, which is not decoded for that. */
const lengthOf = (text: string | Uint8Array | null | undefined): number => text?.length ?? 0;

/** Types without texts or lists of their own. */
const plainTypes: ReadonlySet<Type> = new Set([Type.Utf8, Type.Int, Type.FloatingPoint, Type.FixedSizeList]);

function schemaProblem(schema: Schema, { columns }: ArrowShape, totals: Totals): string | null {
  if (!countEntries(schema, totals)) return "its schema has too many metadata entries";
  if (schema.fieldsLength() !== columns)
    return `it has ${schema.fieldsLength()} columns instead of ${columns}`;
  for (let i = 0; i < columns; i++) {
    const field = schema.fields(i);
    const children = field?.childrenLength() ?? -1;
    if (field == null || children < 0 || children > 1) return `column ${i} is nested`;
    const child = children === 1 ? field.children(0) : null;
    if (child?.childrenLength()) return `column ${i} is nested`;
    for (const one of [field, ...(child ? [child] : [])]) {
      if (one.dictionary() !== null) return `column ${i} has a dictionary`;
      if (!plainTypes.has(one.typeType())) return `column ${i} is of Arrow type ${one.typeType()}`;
      if (!countEntries(one, totals)) return `column ${i} has too many metadata entries`;
      totals.textBytes += lengthOf(one.name(Encoding.UTF8_BYTES));
    }
  }
  return null;
}

function batchProblem(
  file: Buffer,
  start: number,
  { columns, rowsMax }: ArrowShape,
  totals: Totals,
): string | null {
  if (!(start >= magicPaddedBytes && start + messagePrefixBytes <= file.length))
    return `its offset ${start} is outside the file`;
  const current = file.readInt32LE(start) === -1;
  const metadataStart = current ? start + messagePrefixBytes : start + 4;
  const metadataBytes = file.readInt32LE(metadataStart - 4);
  if (metadataBytes < 8 || metadataBytes > file.length - metadataStart)
    return `its metadata length is ${metadataBytes}`;
  if (metadataBytes > metadataBytesMax)
    return `its metadata has ${metadataBytes} bytes; at most ${metadataBytesMax} are allowed`;
  const bodyStart = metadataStart + metadataBytes;
  const message = Message.getRootAsMessage(new ByteBuffer(file.subarray(metadataStart, bodyStart)));
  if (!countEntries(message, totals)) return "it has too many metadata entries";
  if (message.headerType() !== MessageHeader.RecordBatch)
    return `it is a message of type ${message.headerType()}`;
  const bodyBytes = Number(message.bodyLength());
  if (bodyBytes < 0 || bodyBytes > file.length - bodyStart) return `its body length is ${bodyBytes}`;
  const batch: RecordBatch | null = message.header(new RecordBatch());
  if (batch === null) return "it has no header";
  if (batch.compression() !== null) return "it is compressed; deltas are written uncompressed";
  if (batch.variadicBufferCountsLength() !== 0) return "it has variadic buffers";
  if (batch.length() < 0n || batch.length() > BigInt(rowsMax))
    return `it has ${batch.length()} rows; at most ${rowsMax} are allowed`;
  totals.rows += Number(batch.length());
  if (totals.rows > rowsMax) return `it is beyond the ${rowsMax} rows that are allowed in all`;
  // One node a column and one for the child of a list; at most three buffers each.
  if (batch.nodesLength() > columns * 2) return `it has ${batch.nodesLength()} nodes`;
  if (batch.buffersLength() > columns * 6) return `it has ${batch.buffersLength()} buffers`;
  for (let i = 0; i < batch.nodesLength(); i++) {
    const length = batch.nodes(i)!.length();
    if (length < 0n || length > BigInt(file.length)) return `node ${i} has the length ${length}`;
  }
  for (let i = 0; i < batch.buffersLength(); i++) {
    const { offset, length } = { offset: batch.buffers(i)!.offset(), length: batch.buffers(i)!.length() };
    if (offset < 0n || length < 0n || offset + length > BigInt(bodyBytes))
      return `buffer ${i} is outside its body`;
    totals.bodyBytes += Number(length);
  }
  if (totals.bodyBytes > file.length) return "its buffers name bytes that others have named already";
  return null;
}
