/**
 * Vectors that callers give: arrays, Float32Arrays and base64 text become float32 values that the index can take. It refuses
 * what the index would swallow: NaN breaks the graph for its neighbours, and a norm that overflows float32 turns a
 * vector into nothing (in cosine space 1e30 becomes the zero vector).
 */
import { vectorBase64Bytes } from "./answer-size.ts";
import type { Metric } from "./collection.ts";

/**
 * Largest squared norm: a quarter of the float32 maximum, so that the squared distance of two vectors (at most four
 * times the larger squared norm) still is a float32.
 */
const squaredNormMax = 2 ** 126;
/** Smallest squared norm under cosine: the smallest normal float32. Below, normalising divides by a rounding error. */
const squaredNormMin = 2 ** -126;
const float32Max = 3.4028234663852886e38;

export interface VectorSpace {
  readonly dims: number;
  readonly metric: Metric;
}

/** The vector, or what is wrong with it. Takes number[], Float32Array, or base64 of little-endian float32. */
export function checkVector({ dims, metric }: VectorSpace, value: unknown): Float32Array | string {
  const vector = typeof value === "string" ? fromBase64(value, dims) : fromList(value, dims);
  return typeof vector === "string" ? vector : (vectorProblem({ dims, metric }, vector) ?? vector);
}

/** What keeps float32 values out of the index, or null. */
export function vectorProblem({ dims, metric }: VectorSpace, vector: Float32Array): string | null {
  if (vector.length !== dims) return `has ${vector.length} values instead of ${dims}`;
  let squaredNorm = 0;
  for (let i = 0; i < dims; i++) {
    const one = vector[i]!;
    if (!Number.isFinite(one)) return `value ${i} is ${one}; every value must be finite`;
    squaredNorm += one * one;
  }
  if (squaredNorm > squaredNormMax) {
    return `its squared norm ${squaredNorm.toExponential(3)} is above ${squaredNormMax.toExponential(3)}, where float32 distances overflow`;
  }
  if (metric === "cosine" && squaredNorm < squaredNormMin) {
    return `its squared norm ${squaredNorm.toExponential(3)} is too close to zero for cosine (at least ${squaredNormMin.toExponential(3)})`;
  }
  return null;
}

function fromList(value: unknown, dims: number): Float32Array | string {
  if (!Array.isArray(value) && !(value instanceof Float32Array)) {
    return `must be an array of ${dims} numbers or base64 of ${dims * 4} bytes, got ${value === null ? "null" : typeof value}`;
  }
  if (value.length !== dims) return `has ${value.length} values instead of ${dims}`;
  // A copy: the caller's array may change before the delta is written.
  if (value instanceof Float32Array) return new Float32Array(value);
  const vector = new Float32Array(dims);
  for (let i = 0; i < dims; i++) {
    // Digits of a large integer, which a float32 rounds like any other number.
    const one: unknown = typeof value[i] === "bigint" ? Number(value[i]) : value[i];
    if (typeof one !== "number")
      return `value ${i} is ${one === null ? "null" : typeof one} instead of a number`;
    if (!Number.isFinite(one)) return `value ${i} is ${one}; every value must be finite`;
    if (Math.abs(one) > float32Max) return `value ${i} is ${one}, outside the range of float32 (±3.4028e38)`;
    vector[i] = one;
  }
  return vector;
}

function fromBase64(text: string, dims: number): Float32Array | string {
  const bytes = dims * 4;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const given = Math.floor(((text.length - padding) * 3) / 4);
  // The length comes first, so that what is looked at is as long as a vector.
  if (text.length > vectorBase64Bytes(dims) || given !== bytes)
    return `base64 of ${given} bytes instead of ${bytes} (${dims} float32)`;
  // Copied into memory of its own: a buffer from Node's pool may begin at any byte, a Float32Array only at every fourth.
  const vector = new Float32Array(dims);
  // Node passes over what is no base64, and takes the letters of URLs as well: of a text with either there are fewer bytes, or those.
  const decoded = Buffer.from(vector.buffer).write(text, "base64");
  if (decoded !== bytes || text.includes("-") || text.includes("_"))
    return "is not base64 (A-Z a-z 0-9 + / and = at the end)";
  return vector;
}

/** Base64 of the little-endian float32 values. */
export const vectorToBase64 = (vector: Float32Array): string =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64");

/** An array by its own loop: Array.from asks a typed array's iterator for each number, which takes ten times as long. */
export function vectorToList(vector: Float32Array): number[] {
  const list = new Array<number>(vector.length);
  for (let i = 0; i < vector.length; i++) list[i] = vector[i]!;
  return list;
}

/** A sum is finite only when every value is: 0 × NaN and 0 × Infinity are NaN. */
export function allFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * 0;
  return sum === 0;
}

/** A copy of unit length, in float32, as hnswlib normalises. */
export const normalised = (vector: Float32Array): Float32Array => normalise(new Float32Array(vector));

/** The same, in place. */
export function normalise(vector: Float32Array): Float32Array {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += vector[i]! * vector[i]!;
  const scale = sum > 0 ? 1 / Math.sqrt(sum) : 0;
  for (let i = 0; i < vector.length; i++) vector[i]! *= scale;
  return vector;
}
