/**
 * The checksums a client may send with a body, in a header or in the trailer of an aws-chunked body. The server
 * computes the ones that were announced and refuses the body when one differs.
 */
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { crc32 } from "node:zlib";
import { S3Error } from "./error.ts";

export const checksumAlgorithms = ["crc32", "crc32c", "sha1", "sha256"] as const;
export type ChecksumAlgorithm = (typeof checksumAlgorithms)[number];
export type Checksums = Readonly<Partial<Record<ChecksumAlgorithm, string>>>;

const digestBytes: Readonly<Record<ChecksumAlgorithm, number>> = {
  crc32: 4,
  crc32c: 4,
  sha1: 20,
  sha256: 32,
};

/** A checksum under way. */
export interface RunningChecksum {
  update(chunk: Buffer): void;
  digest(): Buffer;
}

export function startChecksum(algorithm: ChecksumAlgorithm): RunningChecksum {
  if (algorithm === "sha1" || algorithm === "sha256") {
    const hash = createHash(algorithm);
    return { update: (chunk) => void hash.update(chunk), digest: () => hash.digest() };
  }
  const step = algorithm === "crc32" ? crc32 : crc32c;
  let value = 0;
  return {
    update(chunk) {
      value = step(chunk, value);
    },
    digest() {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value >>> 0);
      return bytes;
    },
  };
}

const crc32cTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

function crc32c(chunk: Buffer, previous: number): number {
  let value = ~previous;
  for (const byte of chunk) value = crc32cTable[(value ^ byte) & 0xff]! ^ (value >>> 8);
  return ~value >>> 0;
}

/** The algorithms a request announces by header, by trailer, or by naming one. */
export function announcedAlgorithms(headers: IncomingHttpHeaders): ChecksumAlgorithm[] {
  const named = [
    ...Object.keys(headers),
    ...String(headers["x-amz-trailer"] ?? "").split(","),
    `x-amz-checksum-${headers["x-amz-sdk-checksum-algorithm"] ?? ""}`,
  ].map((name) => name.trim().toLowerCase());
  if (named.includes("x-amz-checksum-crc64nvme")) {
    throw new S3Error("NotImplemented", "The local S3 server does not compute CRC64NVME; use CRC32.");
  }
  return checksumAlgorithms.filter((algorithm) => named.includes(`x-amz-checksum-${algorithm}`));
}

/** Compares what arrived with what the request's headers and trailers claim. Content-MD5 is the caller's. */
export function verifyChecksums(
  computed: Checksums,
  headers: IncomingHttpHeaders,
  trailers: ReadonlyMap<string, string>,
): void {
  for (const algorithm of checksumAlgorithms) {
    const name = `x-amz-checksum-${algorithm}`;
    const claimed = trailers.get(name) ?? (headers[name] as string | undefined);
    if (claimed === undefined) continue;
    if (Buffer.from(claimed, "base64").length !== digestBytes[algorithm]) {
      throw new S3Error("InvalidRequest", `Value for ${name} header is invalid.`);
    }
    if (claimed !== computed[algorithm]) {
      throw new S3Error(
        "BadDigest",
        `The ${algorithm.toUpperCase()} you specified did not match the calculated checksum.`,
      );
    }
  }
}

/** Response headers, and XML elements, that carry stored checksums. */
export function checksumHeaders(checksums: Checksums): Record<string, string> {
  return Object.fromEntries(
    Object.entries(checksums).map(([name, value]) => [`x-amz-checksum-${name}`, value]),
  );
}
export function checksumElements(checksums: Checksums): Record<string, string> {
  return Object.fromEntries(
    Object.entries(checksums).map(([name, value]) => [`Checksum${name.toUpperCase()}`, value]),
  );
}
