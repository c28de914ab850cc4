import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Table, tableFromIPC, tableToIPC } from "apache-arrow";
import fc from "fast-check";
import { decodeDelta, encodeDelta } from "../../../lib/core/format/delta.ts";
import type { DeltaHeader } from "../../../lib/core/format/delta-header.ts";
import { isKind, SiltstoneError } from "../../../lib/core/model/errors.ts";
import { deltaId } from "../../../lib/core/model/ids.ts";
import type { DeltaRow } from "../../../lib/core/model/row.ts";
import { goldenDeltaHeader, goldenDeltaRows } from "../../golden/content.ts";

const delta = deltaId("01JD0000000000000000000001");
const at = { key: "notes/0/deltas/x.arrow", delta };
const golden = readFileSync(join(import.meta.dirname, "../../golden/delta-v1.arrow"));
/** Rows as they are read: of a delete, only that it is one. */
const withOrder = (rows: readonly DeltaRow[]) =>
  rows.map((row, i) => ({
    ...row,
    ...(row.vector === null ? { document: null, metadata: null } : {}),
    delta,
    row: i,
  }));

const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
const rowOf = (dims: number): fc.Arbitrary<DeltaRow> =>
  fc.record({
    id: fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" }),
    version: fc.maxSafeNat(),
    vector: fc.option(
      fc.array(finite, { minLength: dims, maxLength: dims }).map((v) => Float32Array.from(v)),
    ),
    document: fc.option(fc.string({ unit: "grapheme" })),
    metadata: fc.option(fc.dictionary(fc.string(), fc.string()).map((value) => JSON.stringify(value))),
  });
const header = (dims: number): DeltaHeader => ({ ...goldenDeltaHeader, dims });

/** The decoded delta, or "corrupt". Anything else that is thrown fails the test. */
function outcome(bytes: Uint8Array): unknown {
  try {
    return decodeDelta(bytes, at);
  } catch (error) {
    if (isKind(error, "corrupt") && error.message.startsWith(`${at.key} is corrupt: `)) return "corrupt";
    throw error;
  }
}

test("rows are read as they were written", () => {
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 9 })
        .chain((dims) => fc.tuple(fc.constant(dims), fc.array(rowOf(dims), { minLength: 1, maxLength: 20 }))),
      ([dims, rows]) => {
        const decoded = decodeDelta(encodeDelta(header(dims), rows), at);
        expect(decoded).toEqual({ header: header(dims), rows: withOrder(rows) });
      },
    ),
    { numRuns: 200 },
  );
});

test("the golden delta of format 1 is read for ever, and still written byte for byte", () => {
  expect(decodeDelta(golden, at)).toEqual({ header: goldenDeltaHeader, rows: withOrder(goldenDeltaRows) });
  expect(Buffer.from(encodeDelta(goldenDeltaHeader, goldenDeltaRows)).equals(golden)).toBe(true);
});

test("a delta that pyarrow wrote, in two batches with its own layout, is read", () => {
  const foreign = readFileSync(join(import.meta.dirname, "../../golden/delta-v1-pyarrow.arrow"));
  expect(decodeDelta(foreign, at)).toEqual({ header: goldenDeltaHeader, rows: withOrder(goldenDeltaRows) });
});

test("a buffer that begins at any byte of its memory is read", () => {
  for (let shift = 0; shift < 9; shift++) {
    const memory = Buffer.alloc(golden.length + shift);
    golden.copy(memory, shift);
    expect(decodeDelta(memory.subarray(shift), at).rows).toEqual(withOrder(goldenDeltaRows));
  }
});

test("any flipped bit gives the same delta or corrupt, never other rows, never another error", () => {
  const expected = decodeDelta(golden, at);
  let found = 0;
  for (let i = 0; i < golden.length; i++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const bytes = Buffer.from(golden);
      bytes[i]! ^= mask;
      const got = outcome(bytes);
      if (got === "corrupt") found++;
      else expect(got).toEqual(expected);
    }
  }
  expect(found).toBeGreaterThan(golden.length);
});

test("a flipped bit of a delta that was renamed leaves its rows where they were in the order, or is corrupt", () => {
  const writtenAs = deltaId("01JC0000000000000000000001");
  const renamed = encodeDelta({ ...goldenDeltaHeader, writtenAs }, goldenDeltaRows);
  const whole = decodeDelta(renamed, at);
  expect(whole.rows[0]!.delta).toBe(writtenAs);
  const other: string[] = [];
  // What is read of the header is the footer's: one bit of each byte there, every bit about the name, a sample before.
  const footerStart = renamed.length - 10 - Buffer.from(renamed).readInt32LE(renamed.length - 10);
  const named = Buffer.from(renamed).indexOf(writtenAs, footerStart);
  expect(named).toBeGreaterThan(footerStart);
  const damage = (byte: number, bit: number) => {
    const damaged = Uint8Array.from(renamed);
    damaged[byte]! ^= 1 << bit;
    const found = outcome(damaged);
    if (found !== "corrupt" && !isDeepStrictEqual(found, whole)) other.push(`byte ${byte}, bit ${bit}`);
  };
  for (let byte = 0; byte < renamed.length; byte++) {
    if (Math.abs(byte - named) < 64) for (let bit = 0; bit < 8; bit++) damage(byte, bit);
    else if (byte >= footerStart || byte % 4 === 0) damage(byte, byte % 7);
  }
  expect(other).toEqual([]);
});

test("any truncation, and anything appended, is corrupt", () => {
  for (let limit = 0; limit < golden.length; limit++)
    expect(outcome(golden.subarray(0, limit))).toBe("corrupt");
  expect(outcome(Buffer.concat([golden, Buffer.from([0])]))).toBe("corrupt");
});

/** Noise in several places at once may make a delta of a newer format, of which nothing else can be judged: it is left alone. */
function outcomeOfNoise(bytes: Uint8Array): unknown {
  try {
    return outcome(bytes);
  } catch (error) {
    if (error instanceof SiltstoneError && error.isOfNewerFormat) return "corrupt";
    throw error;
  }
}

test("random damage of larger deltas: several bytes, swapped pieces, noise", () => {
  const rows = Array.from(
    { length: 40 },
    (_, i): DeltaRow => ({
      id: `id-${i}`,
      version: i,
      vector: i % 7 === 3 ? null : Float32Array.of(i, -i),
      document: i % 2 ? `document ${i}` : null,
      metadata: null,
    }),
  );
  const whole = Buffer.from(encodeDelta(header(2), rows));
  const expected = decodeDelta(whole, at);
  const position = fc.nat(whole.length - 1);
  const damage = fc.array(fc.tuple(position, fc.uint8Array({ minLength: 1, maxLength: 8 })), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(damage, (pieces) => {
      const bytes = Buffer.from(whole);
      for (const [start, piece] of pieces) bytes.set(piece.subarray(0, bytes.length - start), start);
      const got = outcomeOfNoise(bytes);
      if (got !== "corrupt") expect(got).toEqual(expected);
    }),
    { numRuns: 1500 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => outcomeOfNoise(bytes) === "corrupt"));
});

/** The golden table written again with other schema metadata. */
function rewritten(changes: Record<string, string>): Uint8Array {
  const table = tableFromIPC(golden);
  for (const [name, value] of Object.entries(changes)) table.schema.metadata.set(`siltstone.${name}`, value);
  return tableToIPC(new Table(table.schema, table.batches), "file");
}

/** A table that no format 1 is, of the format that it says. */
function ofFormat(format: string): Uint8Array {
  const table = tableFromIPC(golden).select(["id", "op", "version"]);
  table.schema.metadata.set("siltstone.format", format);
  return tableToIPC(new Table(table.schema, table.batches), "file");
}

test.each(["2", "3", "40", "999999"])("a newer format, %s, is no damage", (format) => {
  expect(() => decodeDelta(ofFormat(format), at)).toThrow(
    expect.objectContaining({
      kind: "unavailable",
      isOfNewerFormat: true,
      message: `${at.key} has format ${format} and this version reads 1: newer code wrote it. It is left as it is; upgrade this function or command`,
    }),
  );
});

test.each(["0", "-1", "1.0", "01", "x", "", "1 ", "1000000", "2".repeat(300)])(
  "%j is no format",
  (format) => {
    expect(outcome(ofFormat(format))).toBe("corrupt");
    expect(outcome(rewritten({ format }))).toBe("corrupt");
  },
);

test("content that proves itself as format 1 is that, whatever number a flipped bit has made of it", () => {
  for (const format of ["2", "3", "9"])
    expect(() => decodeDelta(rewritten({ format }), at)).toThrow(
      `${at.key} is corrupt: its format version is "${format}", and its content is of format 1`,
    );
});

test("a file without a format is no delta", () => {
  const table = tableFromIPC(golden);
  table.schema.metadata.delete("siltstone.format");
  const bytes = tableToIPC(new Table(table.schema, table.batches), "file");
  expect(() => decodeDelta(bytes, at)).toThrow("its format version is null, and its content is of format 1");
});

test.each([
  [{ count: "4" }, "it says it has 4 rows and has 3"],
  [{ sha256: "0".repeat(64) }, "its content has the sha256 "],
  [{ shard: "1" }, "its content has the sha256 "],
  [{ embeddingVersion: "2" }, "its content has the sha256 "],
  [{ dims: "5" }, "column vector is FixedSizeList[4]<Float32> instead of FixedSizeList[5]<Float32>"],
  [{ createdAtMs: "-1" }, 'siltstone.createdAtMs is "-1", not an integer'],
])("a header of %j is refused", (changes, reason) => {
  expect(() => decodeDelta(rewritten(changes), at)).toThrow(reason);
});

test("an Arrow stream and another table are corrupt", () => {
  expect(() => decodeDelta(tableToIPC(tableFromIPC(golden), "stream"), at)).toThrow(
    "it does not begin with ARROW1",
  );
  expect(() => decodeDelta(tableToIPC(tableFromIPC(golden).select(["id", "op"]), "file"), at)).toThrow(
    "it has 2 columns instead of 6",
  );
});

test("rows that cannot be written are refused before they are", () => {
  const row = goldenDeltaRows[0]!;
  const encode = (change: Partial<DeltaRow>) => () => encodeDelta(goldenDeltaHeader, [{ ...row, ...change }]);
  expect(encode({ vector: Float32Array.of(1, 2) })).toThrow(
    'id "note-1#0": its vector has 2 values instead of 4',
  );
  expect(encode({ vector: Float32Array.of(1, 2, 3, Number.NaN) })).toThrow("not finite");
  expect(encode({ version: 2 ** 53 })).toThrow("version 9007199254740992 is not an integer");
  expect(() => encodeDelta(goldenDeltaHeader, [])).toThrow("a delta has 1 to 65536 rows, got 0");
});
