/**
 * How the file descriptors that a process may have are shared out: 1,024 in a Lambda. A process without one left answers
 * nothing any more, so everything that holds them is bounded.
 */
import { readFileSync } from "node:fs";
import { s3SocketsMax } from "./request-handler.ts";

/** Where the system does not say: Lambda's. */
const limitDefault = 1_024;
/** Descriptors that the process itself takes: Node, the runtime's connections, pipes, modules that are being read. */
const ownMax = 48;

export interface DescriptorShares {
  /** Connections to S3. */
  readonly sockets: number;
  /** For a reader's files. */
  readonly files: number;
}

export function shareDescriptors(limit = descriptorLimit()): DescriptorShares {
  const left = Math.max(0, limit - ownMax);
  const sockets = Math.min(s3SocketsMax, Math.max(4, Math.floor(left / 6)));
  return { sockets, files: Math.max(8, left - sockets) };
}

function descriptorLimit(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === undefined ? limitDefault : Number(soft);
  } catch {
    return limitDefault;
  }
}
