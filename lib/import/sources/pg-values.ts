/**
 * Values of Postgres, as its text output and its binary COPY have them, as JSON has them: vectors as float32, numbers where those are exact
 * (else text), times in ISO 8601 to the microsecond, bytes as base64, arrays as lists.
 */

import { parseWithIntegers } from "../exact-integers.ts";
import { float16 } from "./fixed-rows.ts";

export const vectorTypes: ReadonlySet<string> = new Set(["vector", "halfvec", "sparsevec"]);
const sparseDimsMax = 65_536;

/** A type's plain name: public.vector(384) is vector, character varying(20) is character varying. */
export const typeName = (declared: string): string =>
  declared
    .trim()
    .toLowerCase()
    .replace(/^"?[a-z_0-9]+"?\.(?=[a-z])/, "")
    .replaceAll(/\s*\([^)]*\)/g, "");

/** Throws when the text is none of the type's. */
export function ofText(type: string, text: string): unknown {
  if (type.endsWith("[]")) return arrayOf(text).map((one) => nested(type.slice(0, -2), one));
  switch (type) {
    case "vector":
    case "halfvec":
      return vectorOf(text);
    case "sparsevec":
      return sparseOf(text);
    case "smallint":
    case "integer":
    case "bigint":
    case "int2":
    case "int4":
    case "int8":
      return integerOf(text);
    case "real":
    case "double precision":
    case "float4":
    case "float8":
      return Number(text);
    case "numeric":
    case "decimal":
      return numericOf(text);
    case "boolean":
    case "bool":
      return text === "t" || text === "true";
    case "json":
    case "jsonb":
      return parseWithIntegers(text);
    case "timestamp with time zone":
    case "timestamptz":
      return timeOf(text);
    case "timestamp without time zone":
    case "timestamp":
      return text.replace(" ", "T");
    case "bytea":
      return text.startsWith("\\x") ? Buffer.from(text.slice(2), "hex").toString("base64") : text;
    default:
      return text;
  }
}

const nested = (type: string, one: ArrayItem): unknown =>
  Array.isArray(one) ? one.map((inner) => nested(type, inner)) : one === null ? null : ofText(type, one);

function integerOf(text: string): number | bigint {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}

/** A number that says the same; the text where it would be rounded. */
function numericOf(text: string): number | string {
  const plain = text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  return String(Number(text)) === plain ? Number(text) : text;
}

/** 2026-11-26 22:00:00.123456+00 */
function timeOf(text: string): string {
  const iso = text.replace(" ", "T");
  return iso.replace(/([+-]\d\d)(?::?(\d\d))?$/, (_, hours: string, minutes = "00") =>
    hours === "+00" && minutes === "00" ? "Z" : `${hours}:${minutes}`,
  );
}

function vectorOf(text: string): Float32Array {
  if (!/^\[.*\]$/s.test(text)) throw new Error(`is no vector: ${text.slice(0, 40)}`);
  return Float32Array.from(text.slice(1, -1).split(","), Number);
}

/** {1:0.5,3:2}/5, counted from 1. */
function sparseOf(text: string): Float32Array {
  const [, entries, dims] = /^\{(.*)\}\/(\d+)$/s.exec(text) ?? [];
  if (entries === undefined || Number(dims) > sparseDimsMax)
    throw new Error(`is no sparse vector of at most ${sparseDimsMax} dimensions: ${text.slice(0, 40)}`);
  const vector = new Float32Array(Number(dims));
  for (const entry of entries === "" ? [] : entries.split(",")) {
    const [at, value] = entry.split(":").map(Number) as [number, number];
    vector[at - 1] = value;
  }
  return vector;
}

type ArrayItem = string | null | ArrayItem[];

/** {a,"b,c",NULL,{d}} */
function arrayOf(text: string): ArrayItem[] {
  let at = text.indexOf("{") + 1;
  const list = (): ArrayItem[] => {
    const items: ArrayItem[] = [];
    if (text[at] === "}") {
      at += 1;
      return items;
    }
    for (;;) {
      items.push(item());
      const end = text[at++];
      if (end === "}") return items;
      if (end !== ",") throw new Error(`is no array: ${text.slice(0, 40)}`);
    }
  };
  const item = (): ArrayItem => {
    if (text[at] === "{") {
      at += 1;
      return list();
    }
    if (text[at] === '"') return quoted();
    const start = at;
    while (at < text.length && text[at] !== "," && text[at] !== "}") at += 1;
    const word = text.slice(start, at);
    return word === "NULL" ? null : word;
  };
  const quoted = (): string => {
    let value = "";
    for (at += 1; at < text.length && text[at] !== '"'; at += 1) {
      if (text[at] === "\\") at += 1;
      value += text[at];
    }
    at += 1;
    return value;
  };
  return list();
}

/** Microseconds from 1970 to 2000. */
const epochMicroseconds = 946_684_800_000_000n;

/** Of binary COPY. Throws for types whose binary form is not read. */
export function ofBinary(type: string, bytes: Buffer): unknown {
  switch (type) {
    case "vector":
      return Float32Array.from({ length: bytes.readUInt16BE(0) }, (_, i) => bytes.readFloatBE(4 + i * 4));
    case "halfvec":
      return Float32Array.from({ length: bytes.readUInt16BE(0) }, (_, i) =>
        float16(bytes.readUInt16BE(4 + i * 2)),
      );
    case "sparsevec":
      return sparseBinary(bytes);
    case "smallint":
    case "int2":
      return bytes.readInt16BE(0);
    case "integer":
    case "int4":
      return bytes.readInt32BE(0);
    case "bigint":
    case "int8":
      return bytes.readBigInt64BE(0);
    case "real":
    case "float4":
      return bytes.readFloatBE(0);
    case "double precision":
    case "float8":
      return bytes.readDoubleBE(0);
    case "boolean":
    case "bool":
      return bytes[0] === 1;
    case "text":
    case "character varying":
    case "varchar":
    case "character":
      return bytes.toString("utf8");
    case "json":
      return parseWithIntegers(bytes.toString("utf8"));
    case "jsonb":
      return parseWithIntegers(bytes.toString("utf8", 1));
    case "uuid":
      return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
    case "timestamp with time zone":
    case "timestamptz":
      return `${timeOfMicroseconds(bytes.readBigInt64BE(0))}Z`;
    case "timestamp without time zone":
    case "timestamp":
      return timeOfMicroseconds(bytes.readBigInt64BE(0));
    case "bytea":
      return Buffer.from(bytes).toString("base64");
    default:
      if (type.endsWith("[]")) return arrayBinary(type.slice(0, -2), bytes);
      throw new Error(`the binary form of ${type} is not read; copy it as text`);
  }
}

function sparseBinary(bytes: Buffer): Float32Array {
  const [dims, count] = [bytes.readInt32BE(0), bytes.readInt32BE(4)];
  if (dims > sparseDimsMax) throw new Error(`has ${dims} dimensions; at most ${sparseDimsMax} are read`);
  const vector = new Float32Array(dims);
  for (let i = 0; i < count; i++)
    vector[bytes.readInt32BE(12 + i * 4)] = bytes.readFloatBE(12 + count * 4 + i * 4);
  return vector;
}

/** Of one dimension, or none. */
function arrayBinary(type: string, bytes: Buffer): unknown[] {
  const dimensions = bytes.readInt32BE(0);
  if (dimensions === 0) return [];
  if (dimensions > 1) throw new Error("arrays of several dimensions are not read in binary; copy it as text");
  const items: unknown[] = [];
  let at = 20;
  for (let i = bytes.readInt32BE(12); i > 0; i--) {
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < 0) items.push(null);
    else items.push(ofBinary(type, bytes.subarray(at, at + length)));
    at += Math.max(0, length);
  }
  return items;
}

function timeOfMicroseconds(since2000: bigint): string {
  const all = since2000 + epochMicroseconds;
  const rest = ((all % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const iso = new Date(Number((all - rest) / 1000n)).toISOString().slice(0, 19);
  return rest === 0n ? iso : `${iso}.${String(rest).padStart(6, "0").replace(/0+$/, "")}`;
}
