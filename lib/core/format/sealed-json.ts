/**
 * JSON objects on the store that prove themselves: their last field, `seal`, is the sha256 of the whole text with the
 * seal's own 64 digits as zeros. So a flipped byte anywhere is found, also in a field that nothing else depends on.
 */
import { hash } from "node:crypto";
import { corrupt, newerFormat } from "../model/errors.ts";

/** Of all sealed objects but manifests, whose lists are long: ours have 10 KiB at most. */
export const sealedBytesMax = 64 * 1024;

const blank = "0".repeat(64);
const sealPattern = /"seal": "([0-9a-f]{64})"\n\}\n$/;

export function encodeSealed(value: object): Buffer {
  const text = `${JSON.stringify({ ...value, seal: blank }, null, 1)}\n`;
  return Buffer.from(withSeal(text, hash("sha256", text)));
}

/**
 * The object without its seal. Throws `corrupt`, naming `key`, and `unavailable` for a newer format: every format to come
 * has its number and its seal where they are now, so that a flipped byte is told from it.
 */
export function decodeSealed(bytes: Uint8Array, key: string, format: number, oldest = format): object {
  if (bytes.length === 0) throw corrupt(key, "it is empty");
  const text = Buffer.from(bytes).toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw corrupt(key, "it is not JSON", error);
  }
  if (typeof value !== "object" || value === null) throw corrupt(key, "it is not an object");
  const found = sealPattern.exec(text)?.[1];
  // Compared as bytes: text that is no UTF-8 decodes to something else.
  const intact =
    found !== undefined && Buffer.from(text).equals(bytes) && hash("sha256", withSeal(text, blank)) === found;
  if (!intact) throw corrupt(key, "its seal does not fit its content");
  const { seal: _seal, ...rest } = value as { seal?: unknown; format?: unknown };
  if (Number.isSafeInteger(rest.format) && (rest.format as number) > format)
    throw newerFormat(key, rest.format as number, format);
  if (!Number.isSafeInteger(rest.format) || (rest.format as number) < oldest) {
    const read = oldest === format ? `${format}` : `${oldest} to ${format}`;
    throw corrupt(key, `its format version is ${JSON.stringify(rest.format)}; this version reads ${read}`);
  }
  return rest;
}

const withSeal = (text: string, seal: string): string =>
  text.replace(sealPattern, () => `"seal": "${seal}"\n}\n`);
