/**
 * Deltas as no Arrow library writes them: a good file's body under a footer of our own, whose texts are stored once and
 * named as often as wanted, and whose batches may be one and the same.
 */
import { Block } from "apache-arrow/fb/block";
import { Field } from "apache-arrow/fb/field";
import { FixedSizeList } from "apache-arrow/fb/fixed-size-list";
import { FloatingPoint } from "apache-arrow/fb/floating-point";
import { Footer } from "apache-arrow/fb/footer";
import { Int } from "apache-arrow/fb/int";
import { KeyValue } from "apache-arrow/fb/key-value";
import { Message } from "apache-arrow/fb/message";
import { MetadataVersion } from "apache-arrow/fb/metadata-version";
import { Precision } from "apache-arrow/fb/precision";
import { RecordBatch } from "apache-arrow/fb/record-batch";
import { Schema } from "apache-arrow/fb/schema";
import { Timestamp } from "apache-arrow/fb/timestamp";
import { Type } from "apache-arrow/fb/type";
import { Utf8 } from "apache-arrow/fb/utf8";
import { Builder, ByteBuffer } from "flatbuffers";

export interface Craft {
  /** A text that is stored once, and named as key and value by this many entries of the schema and of each field. */
  readonly shared?: { readonly text: string; readonly entries: number };
  /** Names the shared text as every column's name, or as the time zone of a column's type. */
  readonly sharedAs?: "column names" | "time zones";
  /** How often each batch is named. @default 1 */
  readonly batchTimes?: number;
  /** Changed header fields. */
  readonly header?: Readonly<Record<string, string>>;
  /** Bytes that nothing names, in the footer. */
  readonly padding?: number;
}

const tailBytes = 10;
const columns = ["op", "id", "version", "vector", "document", "metadata"];

/** Nodes and buffers of a batch's columns, in the order of the file: `vector` has a child, and texts have three buffers. */
const texts = { document: { node: 5, bitmap: 11 }, metadata: { node: 6, bitmap: 14 } } as const;

/**
 * Says of a column, of which the good file has a null and a text, that all its rows are null, and that none is: the count of
 * nulls is one thing, the bitmap another. Its offsets, which a column of nulls needs not, are left out.
 */
export function craftNulls(good: Uint8Array, column: keyof typeof texts): Buffer {
  const { file, footer } = footerOfFile(good);
  const start = Number(footer.recordBatches(0)!.offset());
  const [metadataStart, metadataBytes] = [start + 8, file.readInt32LE(start + 4)];
  const bodyStart = metadataStart + metadataBytes;
  const metadata = new ByteBuffer(file.subarray(metadataStart, bodyStart));
  const batch = Message.getRootAsMessage(metadata).header(new RecordBatch()) as RecordBatch;
  const { node, bitmap } = texts[column];
  const valid = batch.buffers(bitmap)!;
  const bits = [valid.offset(), valid.offset() + valid.length()].map((at) => bodyStart + Number(at));
  file.fill(0xff, bits[0], bits[1]);
  // A node is {length, nullCount}, a buffer {offset, length}.
  file.writeBigInt64LE(batch.length(), metadataStart + batch.nodes(node)!.bb_pos + 8);
  file.writeBigInt64LE(0n, metadataStart + batch.buffers(bitmap + 1)!.bb_pos + 8);
  return file;
}

function footerOfFile(good: Uint8Array): { file: Buffer; footer: Footer; footerStart: number } {
  const file = Buffer.from(good);
  const footerLimit = file.length - tailBytes;
  const footerStart = footerLimit - file.readInt32LE(footerLimit);
  const footer = Footer.getRootAsFooter(new ByteBuffer(file.subarray(footerStart, footerLimit)));
  return { file, footer, footerStart };
}

export function craftDelta(good: Uint8Array, craft: Craft): Buffer {
  const { file, footer, footerStart } = footerOfFile(good);
  const made = Buffer.from(footerOf(footer, craft));
  const length = Buffer.alloc(4);
  length.writeInt32LE(made.length);
  return Buffer.concat([file.subarray(0, footerStart), made, length, Buffer.from("ARROW1")]);
}

function footerOf(footer: Footer, { shared, sharedAs, batchTimes = 1, header = {}, padding = 0 }: Craft) {
  const builder = new Builder(1024);
  const sharedText = shared ? builder.createString(shared.text) : 0;
  if (padding > 0) builder.createString("x".repeat(padding));
  const sharedEntries = () =>
    Array.from({ length: shared?.entries ?? 0 }, () =>
      KeyValue.createKeyValue(builder, sharedText, sharedText),
    );
  const dims = vectorDims(footer.schema()!);
  const fieldOf = (name: string): number => {
    const item = name === "vector" ? [floatField(builder, sharedEntries())] : [];
    const nameText = sharedAs === "column names" ? sharedText : builder.createString(name);
    const children = Field.createChildrenVector(builder, item);
    const entries = Field.createCustomMetadataVector(builder, sharedEntries());
    const [kind, type] = typeOf(builder, name, dims, sharedAs === "time zones" ? sharedText : null);
    Field.startField(builder);
    Field.addName(builder, nameText);
    Field.addNullable(builder, true);
    Field.addTypeType(builder, kind);
    Field.addType(builder, type);
    Field.addChildren(builder, children);
    Field.addCustomMetadata(builder, entries);
    return Field.endField(builder);
  };
  const fields = Schema.createFieldsVector(builder, columns.map(fieldOf));
  const texts = { ...textsOf(footer.schema()!), ...header };
  const entries = Object.entries(texts).map(([key, value]) =>
    KeyValue.createKeyValue(builder, builder.createString(key), builder.createString(value)),
  );
  const custom = Schema.createCustomMetadataVector(builder, [...entries, ...sharedEntries()]);
  Schema.startSchema(builder);
  Schema.addFields(builder, fields);
  Schema.addCustomMetadata(builder, custom);
  const schema = Schema.endSchema(builder);
  const blocks = Array.from({ length: footer.recordBatchesLength() }, (_, i) => footer.recordBatches(i)!);
  Footer.startRecordBatchesVector(builder, blocks.length * batchTimes);
  for (const block of blocks)
    for (let i = 0; i < batchTimes; i++)
      Block.createBlock(builder, block.offset(), block.metaDataLength(), block.bodyLength());
  const batches = builder.endVector();
  Footer.startFooter(builder);
  Footer.addVersion(builder, MetadataVersion.V5);
  Footer.addSchema(builder, schema);
  Footer.addRecordBatches(builder, batches);
  Footer.finishFooterBuffer(builder, Footer.endFooter(builder));
  return builder.asUint8Array();
}

function floatField(builder: Builder, shared: number[]): number {
  const name = builder.createString("item");
  const entries = Field.createCustomMetadataVector(builder, shared);
  const type = FloatingPoint.createFloatingPoint(builder, Precision.SINGLE);
  const children = Field.createChildrenVector(builder, []);
  Field.startField(builder);
  Field.addName(builder, name);
  Field.addTypeType(builder, Type.FloatingPoint);
  Field.addType(builder, type);
  Field.addChildren(builder, children);
  Field.addCustomMetadata(builder, entries);
  return Field.endField(builder);
}

function typeOf(builder: Builder, name: string, dims: number, zone: number | null): [Type, number] {
  if (name === "version") {
    if (zone !== null) return [Type.Timestamp, Timestamp.createTimestamp(builder, 1, zone)];
    return [Type.Int, Int.createInt(builder, 64, true)];
  }
  if (name === "vector") return [Type.FixedSizeList, FixedSizeList.createFixedSizeList(builder, dims)];
  Utf8.startUtf8(builder);
  return [Type.Utf8, Utf8.endUtf8(builder)];
}

const vectorDims = (schema: Schema): number =>
  (schema.fields(3)!.type(new FixedSizeList()) as FixedSizeList).listSize();

const textsOf = (schema: Schema): Record<string, string> =>
  Object.fromEntries(
    Array.from({ length: schema.customMetadataLength() }, (_, i) => {
      const entry = schema.customMetadata(i)!;
      return [entry.key()!, entry.value()!];
    }),
  );
