/**
 * JSON objects on the store that prove themselves: their last field, `seal`, is the sha256 of the whole text with the
 * seal's own 64 digits as zeros. So a flipped byte anywhere is found, also in a field that nothing else depends on.
 */
import { isUtf8 } from "node:buffer";
import { createHash, hash } from "node:crypto";
import { corrupt, newerFormat } from "../model/errors.ts";

/** Largest sealed object but for manifests, whose lists are long: ours have 10 KiB at most. */
export const sealedBytesMax = 64 * 1024;

/** A manifest has 6 levels, and some 15 objects for each of its 1,000 segments. */
export const sealedLevelsMax = 32;
export const sealedPartsMax = 128 * 1024;

const blank = "0".repeat(64);
const sealPattern = /"seal": "([0-9a-f]{64})"\n\}\n$/;
const sealedEndBytes = `"seal": "${blank}"\n}\n`.length;

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
  // Before anything is parsed: bytes without their seal cost a digest, and no more.
  if (!isIntact(bytes)) throw corrupt(key, "its seal does not fit its content");
  refuseParts(bytes, key);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw corrupt(key, "it is not JSON", error);
  }
  if (typeof value !== "object" || value === null) throw corrupt(key, "it is not an object");
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

function isIntact(bytes: Uint8Array): boolean {
  const end = Buffer.from(bytes.subarray(-sealedEndBytes)).toString("latin1");
  const found = sealPattern.exec(end)?.[1];
  // Text that is no UTF-8 decodes to something else.
  if (found === undefined || !isUtf8(bytes)) return false;
  const sealed = createHash("sha256").update(bytes.subarray(0, -sealedEndBytes));
  return sealed.update(withSeal(end, blank)).digest("hex") === found;
}

/** A seal proves no author, since every writer can make one: what parsing makes of brackets takes many times their bytes. */
function refuseParts(bytes: Uint8Array, key: string): void {
  let level = 0;
  let parts = 0;
  let inText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === 0x22) inText = !inText;
    else if (inText) {
      if (byte === 0x5c) at++;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++level > sealedLevelsMax) throw corrupt(key, `it is nested deeper than ${sealedLevelsMax} levels`);
      if (++parts > sealedPartsMax)
        throw corrupt(key, `it has more than ${sealedPartsMax} objects and lists`);
    } else if (byte === 0x7d || byte === 0x5d) level--;
  }
}
