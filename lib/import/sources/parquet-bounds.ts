/**
 * What a Parquet file says of itself, compared with the bytes that are there, before hyparquet reads them: it trusts every count. Lists
 * in the footer and in headers (Thrift) have as many entries as they say; a page's runs have no more values than the page, and a page
 * no more than its chunk; values of known width are there. What takes no bytes (runs of one value) is bounded by number.
 *
 * Everything here throws an Error that says what is wrong.
 */
import type { ColumnMetaData, DataReader, FileMetaData, PageHeader, SchemaTree } from "hyparquet";
import { deltaBinaryUnpack } from "hyparquet/src/delta.js";
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from "hyparquet/src/schema.js";
import { readVarInt } from "hyparquet/src/thrift.js";

const thriftLevelsMax = 32;
/** Of a footer: 400,000 column chunks have about as many. */
const structsMax = 2_000_000;
const schemaElementsMax = 10_000;
const schemaLevelsMax = 32;
/** Of a page, unpacked. */
const pageBytesMax = 256 * 1024 * 1024;
const pageValuesMax = 16 * 1024 * 1024;
/** Of what is read at a time, in all columns together. */
export const readBytesMax = 1024 * 1024 * 1024;
const readValuesMax = 128 * 1024 * 1024;
/** Of a file, and eight for each byte: rows that are all alike take next to none. */
const alikeRowsMax = 1024 * 1024;

/** Walks one Thrift struct and gives the byte behind it. */
export function thriftLimit(bytes: Uint8Array, start: number): number {
  let at = start;
  let structs = 0;
  const byte = (): number => {
    const value = bytes[at++];
    if (value === undefined) throw new Error(`its metadata ends within a struct, at byte ${at}`);
    return value;
  };
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const part = byte();
      value += (part & 0x7f) * 2 ** (7 * shift);
      if (part < 0x80) return value;
    }
    throw new Error("its metadata has a number of more than ten bytes");
  };
  const skip = (size: number): void => {
    if (size > bytes.length - at)
      throw new Error(`its metadata has ${size} bytes or entries where ${bytes.length - at} bytes are left`);
    at += size;
  };
  const element = (type: number, level: number, isListed: boolean): void => {
    if (level > thriftLevelsMax)
      throw new Error(`its metadata is nested more than ${thriftLevelsMax} levels deep`);
    switch (type) {
      case 1:
      case 2:
        if (isListed) skip(1);
        return;
      case 3:
        skip(1);
        return;
      case 4:
      case 5:
      case 6:
        varint();
        return;
      case 7:
        skip(8);
        return;
      case 8:
        skip(varint());
        return;
      case 9: {
        const head = byte();
        const size = head >> 4 === 15 ? varint() : head >> 4;
        // Each entry takes a byte at least.
        if (size > bytes.length - at) skip(size);
        for (let i = 0; i < size; i++) element(head & 15, level + 1, true);
        return;
      }
      case 12:
        struct(level + 1);
        return;
      default:
        throw new Error(`its metadata has a value of type ${type}`);
    }
  };
  const struct = (level: number): void => {
    structs += 1;
    if (structs > structsMax) throw new Error(`its metadata has more than ${structsMax} structs`);
    for (let head = byte(); (head & 15) !== 0; head = byte()) {
      if (head >> 4 === 0) varint();
      element(head & 15, level, false);
    }
  };
  struct(1);
  return at;
}

/** A footer, as it was read from a file of so many bytes. */
export function checkMetadata(
  { schema, row_groups: groups, num_rows }: FileMetaData,
  fileBytes: number,
): void {
  checkSchema(schema);
  const rows = groups.reduce((sum, group) => sum + atLeastZero(group.num_rows, "rows of a row group"), 0);
  if (rows !== Number(num_rows))
    throw new Error(`it says it has ${num_rows} rows, and its row groups ${rows}`);
  if (rows > alikeRowsMax + 8 * fileBytes)
    throw new Error(`it says it has ${rows} rows in ${fileBytes} bytes`);
  let bytes = 0;
  for (const { columns } of groups)
    for (const { meta_data: of } of columns)
      bytes += atLeastZero(of?.total_compressed_size ?? 0, "bytes of a column chunk");
  if (bytes > fileBytes) throw new Error(`its column chunks have ${bytes} bytes, and it has ${fileBytes}`);
}

function checkSchema(schema: FileMetaData["schema"]): void {
  if (schema.length > schemaElementsMax)
    throw new Error(`its schema has ${schema.length} elements; at most ${schemaElementsMax} are read`);
  /** Children that are to come, of each element that is open. */
  const open: number[] = [];
  for (const { num_children: children = 0, logical_type: logical, name } of schema) {
    // Its values name others of theirs, as often as they like.
    if (logical?.type === "VARIANT")
      throw new Error(`column ${quoted(name)} is a variant, which is not read`);
    if (open.length > 0) open[open.length - 1]! -= 1;
    if (children > 0) open.push(children);
    while (open.at(-1) === 0) open.pop();
    if (open.length > schemaLevelsMax)
      throw new Error(`its columns are nested more than ${schemaLevelsMax} levels deep`);
  }
}

export const quoted = (name: string): string => JSON.stringify(name.slice(0, 80));

function atLeastZero(value: bigint | number | undefined, what: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new Error(`it says it has ${value} ${what}`);
}

/** What is read at a time, counted over its columns. */
export class ReadBudget {
  #values = 0;
  #bytes = 0;

  take(values: number, bytes: number): void {
    this.#values += values;
    this.#bytes += bytes;
    if (this.#values > readValuesMax || this.#bytes > readBytesMax)
      throw new Error(
        `what has to be read at a time has more than ${readValuesMax} values or ${readBytesMax} bytes; ` +
          "write it again with row groups of 50,000 rows or fewer",
      );
  }
}

/** The pages of one column chunk, each before it is decoded. */
export class ChunkPages {
  readonly #column: ColumnMetaData;
  readonly #typeLength: number | undefined;
  readonly #levels: { readonly repetition: number; readonly definition: number };
  readonly #budget: ReadBudget;
  #values = 0;

  constructor(column: ColumnMetaData, schemaPath: SchemaTree[], budget: ReadBudget) {
    const { type, type_length } = schemaPath.at(-1)!.element;
    if (type !== column.type) throw new Error(`its chunk is of ${column.type}, and the schema says ${type}`);
    this.#column = column;
    this.#typeLength = type_length;
    this.#levels = {
      repetition: getMaxRepetitionLevel(schemaPath),
      definition: getMaxDefinitionLevel(schemaPath),
    };
    this.#budget = budget;
  }

  /** A page's header, and what of its content (`raw`) is not packed. */
  checkHeader(header: PageHeader, raw: Uint8Array): void {
    const { values, isDictionary } = countsOf(header);
    const bytes = atLeastZero(header.uncompressed_page_size, "bytes of a page");
    atLeastZero(values, "values of a page");
    if (values > pageValuesMax || bytes > pageBytesMax)
      throw new Error(
        `a page of it has ${values} values in ${bytes} bytes; at most ${pageValuesMax} in ${pageBytesMax} are read`,
      );
    this.#budget.take(values, bytes);
    if (!isDictionary) this.#values += values;
    if (this.#values > Number(this.#column.num_values))
      throw new Error(`its pages have ${this.#values} values, and its chunk ${this.#column.num_values}`);
    const { data_page_header_v2: v2 } = header;
    if (v2 === undefined) {
      if (this.#column.codec === "UNCOMPRESSED") this.checkContent(header, raw);
      return;
    }
    const levelBytes = this.#checkLevels(v2, raw);
    if (this.#column.codec === "UNCOMPRESSED" || v2.is_compressed === false)
      this.checkContent(header, raw.subarray(levelBytes));
  }

  /** Of a page of the second version levels are never packed. */
  #checkLevels(v2: NonNullable<PageHeader["data_page_header_v2"]>, raw: Uint8Array): number {
    const repetition = atLeastZero(v2.repetition_levels_byte_length, "bytes of levels");
    const limit = repetition + atLeastZero(v2.definition_levels_byte_length, "bytes of levels");
    if (limit > raw.length) throw new Error(`a page of it has ${limit} bytes of levels in ${raw.length}`);
    if (!(v2.num_nulls >= 0 && v2.num_nulls <= v2.num_values))
      throw new Error(`a page of it has ${v2.num_nulls} nulls in ${v2.num_values} values`);
    const { num_values: count } = v2;
    const levels = this.#levels;
    if (levels.repetition > 0)
      checkRuns(raw, { start: 0, limit: repetition, width: widthOf(levels.repetition), count });
    if (levels.definition > 0)
      checkRuns(raw, { start: repetition, limit, width: widthOf(levels.definition), count });
    return limit;
  }

  /** A page's content as it is unpacked: with levels, but for a page of the second version. */
  checkContent(header: PageHeader, bytes: Uint8Array): void {
    const { data_page_header: v1, data_page_header_v2: v2 } = header;
    const { values: all, encoding } = countsOf(header);
    let start = 0;
    let count = v2 === undefined ? all : all - v2.num_nulls;
    if (v1 !== undefined) {
      for (const max of [this.#levels.repetition, this.#levels.definition]) {
        if (max === 0) continue;
        const from = start + 4;
        const limit = from + lengthAt(bytes, start);
        count = checkRuns(bytes, { start: from, limit, width: widthOf(max), count: all, level: max });
        start = limit;
      }
      if (this.#levels.definition === 0) count = all;
    }
    checkValues(bytes, { start, count, encoding, type: this.#column.type, typeLength: this.#typeLength });
  }
}

interface PageCounts {
  readonly values: number;
  readonly encoding: string;
  readonly isDictionary: boolean;
}

/** The library goes by the type: what a header of another type says is not looked at. */
function countsOf({ type, ...of }: PageHeader): PageCounts {
  const counts = {
    DATA_PAGE: of.data_page_header,
    DATA_PAGE_V2: of.data_page_header_v2,
    DICTIONARY_PAGE: of.dictionary_page_header,
    INDEX_PAGE: undefined,
  }[type];
  const headers = [of.data_page_header, of.data_page_header_v2, of.dictionary_page_header];
  if (counts === undefined || headers.filter((header) => header !== undefined).length !== 1)
    throw new Error(`a page of it is of type ${type}, and its header is not`);
  const isDictionary = type === "DICTIONARY_PAGE";
  return { values: counts.num_values, encoding: isDictionary ? "PLAIN" : counts.encoding, isDictionary };
}

const widthOf = (level: number): number => 32 - Math.clz32(level);

function lengthAt(bytes: Uint8Array, start: number): number {
  if (start + 4 > bytes.length) throw new Error("a page of it ends within its levels");
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(start, true);
}

interface Runs {
  readonly start: number;
  readonly limit: number;
  readonly width: number;
  readonly count: number;
  readonly level?: number;
}

/** Runs of `count` values, packed by bits or repeated. Gives how many are `level`. */
function checkRuns(bytes: Uint8Array, { start, limit, width, count, level }: Runs): number {
  if (limit > bytes.length || width > 32)
    throw new Error(`a page of it has runs of ${width} bits up to byte ${limit} of ${bytes.length}`);
  let at = start;
  let matches = 0;
  for (let seen = 0; seen < count; ) {
    let head = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= limit || shift > 28)
        throw new Error(`a page of it has ${seen} of ${count} values in its runs`);
      const part = bytes[at++]!;
      head += (part & 0x7f) * 2 ** shift;
      if (part < 0x80) break;
    }
    const half = Math.floor(head / 2);
    const isPacked = head % 2 === 1;
    const values = isPacked ? half * 8 : half;
    const wanted = Math.min(values, count - seen);
    const room = limit - at;
    // What goes beyond the page fills up the last eight; the library reads over more of it, if there is more.
    const isTooLong = isPacked
      ? values - wanted > 7 && !(width > 0 && half * width <= room)
      : values > wanted;
    const taken = isPacked ? Math.ceil((wanted * width) / 8) : (width + 7) >> 3;
    if (isTooLong || taken > room || (isPacked && half === 0))
      throw new Error(`a page of it has a run of ${values} values where ${count - seen} are left`);
    if (level !== undefined)
      matches += isPacked
        ? packedMatches(bytes, { at, width, count: wanted, level })
        : repeatedValue(bytes, at, taken) === level
          ? values
          : 0;
    at += isPacked ? half * width : taken;
    seen += wanted;
  }
  return matches;
}

function repeatedValue(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value += bytes[at + i]! * 256 ** i;
  return value;
}

function packedMatches(
  bytes: Uint8Array,
  { at, width, count, level }: { at: number; width: number; count: number; level: number },
): number {
  let matches = 0;
  let bit = 8 * at;
  for (let i = 0; i < count; i++) {
    let value = 0;
    for (let j = 0; j < width; j++, bit++) value |= ((bytes[bit >> 3]! >> (bit & 7)) & 1) << j;
    if (value === level) matches += 1;
  }
  return matches;
}

interface Values {
  readonly start: number;
  readonly count: number;
  readonly encoding: string;
  readonly type: string;
  readonly typeLength: number | undefined;
}

function checkValues(bytes: Uint8Array, { start, count, encoding, type, typeLength }: Values): void {
  const limit = bytes.length;
  switch (encoding) {
    case "PLAIN":
    case "BYTE_STREAM_SPLIT": {
      const bits = type === "BYTE_ARRAY" ? 32 : 8 * (plainBytes[type] ?? typeLength ?? 0);
      if (count > 0 && !(bits > 0 && count * bits <= 8 * (limit - start)))
        throw new Error(`a page of it has ${count} values of ${type} in ${limit - start} bytes`);
      return;
    }
    case "PLAIN_DICTIONARY":
    case "RLE_DICTIONARY":
    case "RLE": {
      if (count === 0) return;
      const isBoolean = type === "BOOLEAN";
      const width = isBoolean ? 1 : (bytes[start] ?? 33);
      // Where all values are one, the library reads no runs.
      if (width > 0) checkRuns(bytes, { start: start + (isBoolean ? 4 : 1), limit, width, count });
      return;
    }
    case "DELTA_BYTE_ARRAY":
      checkPrefixes(bytes, start, count);
      return;
    case "DELTA_BINARY_PACKED":
    case "DELTA_LENGTH_BYTE_ARRAY":
      // Beyond its head it takes its bytes as they are read, and no more values than the page says.
      if (count > 0) checkDeltaHead(readerOf(bytes, start));
      return;
    default:
      // What is unknown is refused.
      return;
  }
}

const plainBytes: Readonly<Record<string, number>> = {
  BOOLEAN: 1 / 8,
  INT32: 4,
  INT64: 8,
  INT96: 12,
  FLOAT: 4,
  DOUBLE: 8,
};

const readerOf = (bytes: Uint8Array, offset: number): DataReader => ({
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
  offset,
});

/** The library makes room for the widths of a block's parts before it reads them: each takes a byte. */
function checkDeltaHead({ view, offset }: DataReader): void {
  const reader = { view, offset };
  const values = readVarInt(reader);
  const parts = readVarInt(reader);
  const left = view.byteLength - reader.offset;
  // The library's numbers have 32 bits, with a sign.
  if (!(parts > 0 && parts <= left && values >= parts))
    throw new Error(
      `a page of it has blocks of ${values} values in ${parts} parts, where ${left} bytes are left`,
    );
}

/** Each text repeats the beginning of the one before, which may be of any length. */
function checkPrefixes(bytes: Uint8Array, start: number, count: number): void {
  if (count === 0) return;
  const reader = readerOf(bytes, start);
  const prefixes = new Int32Array(count);
  const suffixes = new Int32Array(count);
  for (const lengths of [prefixes, suffixes]) {
    checkDeltaHead(reader);
    deltaBinaryUnpack(reader, count, lengths);
  }
  let before = 0;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const [prefix, suffix] = [prefixes[i]!, suffixes[i]!];
    if (prefix < 0 || suffix < 0 || prefix > before)
      throw new Error(`a page of it has a text that repeats ${prefix} of ${before} bytes`);
    before = prefix + suffix;
    sum += before;
    if (sum > pageBytesMax) throw new Error(`a page of it has texts of more than ${pageBytesMax} bytes`);
  }
}
